package carriers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"justlogistics/internal/shipping"
)

// courier are the credentials of manual: the secret with which whoever carries the
// shop's parcels signs what happened to them.
type courier struct {
	WebhookSecret string `json:"webhook_secret"`
}

// ErrForged: a courier's message that is not signed, wrongly, or too long ago.
var ErrForged = errors.New("the signature is missing, wrong or too old")

// CheckCourier tells whether credentials of manual have the right form: {"webhook_secret":
// "whsec_..."}, 24 to 64 bytes in base64 as Standard Webhooks has them
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
func CheckCourier(credentials []byte) error {
	var c courier
	fields := json.NewDecoder(bytes.NewReader(credentials))
	fields.DisallowUnknownFields()
	if err := fields.Decode(&c); err != nil {
		return errors.New("manual takes {\"webhook_secret\": \"whsec_...\"}")
	}
	if len(c.WebhookSecret) < 30 {
		return errors.New("webhook_secret: whsec_ and 24 to 64 bytes in base64")
	}
	if _, err := webhooks.NewWebhook(c.WebhookSecret); err != nil {
		return errors.New("webhook_secret: whsec_ and 24 to 64 bytes in base64")
	}
	return nil
}

// VerifyCourier checks a courier's message over its exact bytes, in constant time.
// ErrNotConfigured: the tenant has given no secret; ErrForged.
func (r *Registry) VerifyCourier(ctx context.Context, tenantID string, header http.Header, body []byte) error {
	raw, _, err := r.credentials(ctx, key{tenantID, shipping.Manual})
	if err != nil {
		return err
	}
	var c courier
	if err := json.Unmarshal(raw, &c); err != nil {
		return fmt.Errorf("%w: manual of %s", ErrNotConfigured, tenantID)
	}
	w, err := webhooks.NewWebhook(c.WebhookSecret)
	if err != nil {
		return fmt.Errorf("%w: manual of %s", ErrNotConfigured, tenantID)
	}
	if err := w.Verify(body, header); err != nil {
		return ErrForged
	}
	return nil
}
