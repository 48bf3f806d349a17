package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	secretPrefix = "whsec_"
	secretSize   = 32
)

// newSecret returns a secret as Standard Webhooks writes it.
func newSecret() string {
	// crypto/rand.Read never returns an error: it ends the program instead.
	raw := make([]byte, secretSize)
	_, _ = rand.Read(raw)
	return secretPrefix + base64.StdEncoding.EncodeToString(raw)
}

// sign returns the value of webhook-signature: one signature per secret, so that
// a receiver which knows any of them is satisfied. The format is that of
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
func sign(secrets []string, id string, at time.Time, body []byte) (string, error) {
	var out []string
	for _, s := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, secretPrefix))
		if err != nil {
			// The decoder's own text would tell a part of the secret.
			return "", errors.New("an endpoint's secret is not base64")
		}
		mac := hmac.New(sha256.New, key)
		_, _ = fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
		out = append(out, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(out, " "), nil
}
