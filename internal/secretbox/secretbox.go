// Package secretbox encrypts with AES-256-GCM under a ring of keys, of which
// the first encrypts and all decrypt. To rotate, append the new key everywhere,
// then move it to the front, and drop the old one when nothing sealed with it is
// left.
package secretbox

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
)

// ErrUnknownKey tells that a box was sealed with a key that the ring lacks; the
// error's text names the key id. ErrTampered tells that a box, its additional
// data or its key is not what was sealed.
var (
	ErrUnknownKey = errors.New("unknown key id")
	ErrTampered   = errors.New("box can not be opened: it was changed, belongs elsewhere or its key differs")
)

const keySize = 32

var keyIDForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Keyring holds keys by their ids. It is safe for concurrent use. However it is
// printed, logged or marshalled, no key material comes out.
type Keyring struct {
	first string
	keys  map[string]cipher.AEAD
}

// ParseKeyring reads "id:base64[,id:base64...]", each key 32 bytes in standard
// base64, ids of 1 to 64 characters [A-Za-z0-9._-]. Errors name the position of
// the entry that is wrong, never its content.
func ParseKeyring(s string) (*Keyring, error) {
	k := &Keyring{keys: map[string]cipher.AEAD{}}
	for i, entry := range strings.Split(s, ",") {
		keyID, encoded, ok := strings.Cut(strings.TrimSpace(entry), ":")
		if !ok || !keyIDForm.MatchString(keyID) {
			return nil, fmt.Errorf("key %d: want id:base64, with an id of 1 to 64 letters, digits, dots, dashes or underscores", i+1)
		}
		if _, taken := k.keys[keyID]; taken {
			return nil, fmt.Errorf("key %d: its id is already used by an earlier one", i+1)
		}
		key, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err != nil || len(key) != keySize {
			return nil, fmt.Errorf("key %d: want %d bytes in base64, as openssl rand -base64 %d prints them", i+1, keySize, keySize)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		// A random nonce of 96 bits is good for 2^32 boxes per key: rotate before.
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		k.keys[keyID] = aead
		if i == 0 {
			k.first = keyID
		}
	}
	return k, nil
}

// GenerateKey returns a new random key in base64, to be given an id and written
// as "id:" + GenerateKey() into what ParseKeyring reads.
func GenerateKey() string {
	// crypto/rand.Read never returns an error: it ends the program instead.
	key := make([]byte, keySize)
	_, _ = rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

// EncryptionKeyID is the id of the key that Seal uses, so that a caller whose
// additional data include it can know it beforehand, and rows sealed with an
// older key can be found.
func (k *Keyring) EncryptionKeyID() string { return k.first }

// Seal encrypts plaintext with the ring's first key and binds it to aad, which
// Open must be given again and which is not part of the box. Sealing the same
// text twice gives different boxes.
func (k *Keyring) Seal(plaintext, aad []byte) (keyID string, box []byte, err error) {
	aead, ok := k.keys[k.first]
	if !ok {
		return "", nil, fmt.Errorf("seal: %w: the key ring is empty", ErrUnknownKey)
	}
	return k.first, aead.Seal(nil, nil, plaintext, aad), nil
}

// Open returns what Seal was given. It fails with ErrUnknownKey when the ring
// has no such key, which a retry on a process with the right configuration
// cures, and with ErrTampered, which nothing cures.
func (k *Keyring) Open(keyID string, box, aad []byte) ([]byte, error) {
	aead, ok := k.keys[keyID]
	if !ok {
		// A key id that was not ours may be anything, of any length.
		return nil, fmt.Errorf("open: %w %.64q: add it behind the first key of this process", ErrUnknownKey, keyID)
	}
	plaintext, err := aead.Open(nil, nil, box, aad)
	if err != nil {
		return nil, fmt.Errorf("open with key %q: %w", keyID, ErrTampered)
	}
	return plaintext, nil
}

const redacted = "[keyring]"

// String keeps the keys out of printed text.
func (k *Keyring) String() string { return redacted }

// GoString keeps the keys out of %#v.
func (k *Keyring) GoString() string { return redacted }

// Format keeps the keys out of every other verb, which would print the fields.
func (k *Keyring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue keeps the keys out of logs.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the keys out of JSON and configuration dumps.
func (k *Keyring) MarshalText() ([]byte, error) { return []byte(redacted), nil }
