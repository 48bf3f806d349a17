package secretbox_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"justlogistics/internal/secretbox"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func ring(t require.TestingT, s string) *secretbox.Keyring {
	k, err := secretbox.ParseKeyring(s)
	require.NoError(t, err)
	return k
}

func TestOpen_ReturnsWhatWasSealed(t *testing.T) {
	t.Parallel()
	k := ring(t, "a:"+secretbox.GenerateKey())
	rapid.Check(t, func(t *rapid.T) {
		plaintext := rapid.SliceOf(rapid.Byte()).Draw(t, "plaintext")
		aad := rapid.SliceOf(rapid.Byte()).Draw(t, "aad")
		keyID, box, err := k.Seal(plaintext, aad)
		require.NoError(t, err)
		require.Equal(t, "a", keyID)
		if len(plaintext) >= 8 {
			require.NotContains(t, string(box), string(plaintext))
		}
		opened, err := k.Open(keyID, box, aad)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plaintext, opened))
	})
}

func TestOpen_RefusesEveryChangedBitAndOtherData(t *testing.T) {
	t.Parallel()
	k := ring(t, "a:"+secretbox.GenerateKey()+",b:"+secretbox.GenerateKey())
	keyID, box, err := k.Seal([]byte("sk_live_secret"), []byte("demo/stripe"))
	require.NoError(t, err)
	for i := range len(box) * 8 {
		changed := bytes.Clone(box)
		changed[i/8] ^= 1 << (i % 8)
		_, err := k.Open(keyID, changed, []byte("demo/stripe"))
		require.ErrorIs(t, err, secretbox.ErrTampered)
	}
	_, err = k.Open(keyID, box, []byte("other/stripe"))
	require.ErrorIs(t, err, secretbox.ErrTampered, "a row moved to another tenant")
	_, err = k.Open("b", box, []byte("demo/stripe"))
	require.ErrorIs(t, err, secretbox.ErrTampered, "another key")
	for _, short := range [][]byte{nil, {}, box[:5], box[:27]} {
		_, err = k.Open(keyID, short, []byte("demo/stripe"))
		require.ErrorIs(t, err, secretbox.ErrTampered)
	}
}

func TestSeal_NeverGivesTheSameBoxTwice(t *testing.T) {
	t.Parallel()
	k := ring(t, "a:"+secretbox.GenerateKey())
	seen := map[string]bool{}
	for range 1000 {
		_, box, err := k.Seal([]byte("same"), nil)
		require.NoError(t, err)
		require.False(t, seen[string(box)])
		seen[string(box)] = true
	}
}

func TestRotation_OpensOldBoxesUntilTheirKeyIsDropped(t *testing.T) {
	t.Parallel()
	oldKey, newKey := "2025:"+secretbox.GenerateKey(), "2026:"+secretbox.GenerateKey()
	keyID, box, err := ring(t, oldKey).Seal([]byte("text"), nil)
	require.NoError(t, err)

	both := ring(t, newKey+", "+oldKey)
	require.Equal(t, "2026", both.EncryptionKeyID())
	opened, err := both.Open(keyID, box, nil)
	require.NoError(t, err)
	require.Equal(t, "text", string(opened))
	newID, _, err := both.Seal([]byte("text"), nil)
	require.NoError(t, err)
	require.Equal(t, "2026", newID)

	_, err = ring(t, newKey).Open(keyID, box, nil)
	require.ErrorIs(t, err, secretbox.ErrUnknownKey)
	require.ErrorContains(t, err, `"2025"`)
}

func TestParseKeyring_SaysWhichEntryIsWrongAndNothingOfIt(t *testing.T) {
	t.Parallel()
	good := "a:" + secretbox.GenerateKey()
	short := base64.StdEncoding.EncodeToString([]byte("sixteen bytes!!!"))
	for name, s := range map[string]string{
		"empty": "", "no id": ":" + secretbox.GenerateKey(), "no key": "b:", "no colon": secretbox.GenerateKey(),
		"an id with a space": "b c:" + secretbox.GenerateKey(), "not base64": "b:" + strings.Repeat("!", 44), "16 bytes": "b:" + short,
		"a trailing comma": good + ",", "an id twice": good + ",a:" + secretbox.GenerateKey(),
		"a long id": strings.Repeat("b", 65) + ":" + secretbox.GenerateKey(),
	} {
		_, err := secretbox.ParseKeyring(s)
		require.Error(t, err, name)
		require.Contains(t, err.Error(), "key ")
		for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r == ':' || r == ',' }) {
			if len(part) > 8 {
				require.NotContains(t, err.Error(), part, name)
			}
		}
	}
	_, err := secretbox.ParseKeyring(good + ",b:" + short)
	require.ErrorContains(t, err, "key 2")
}

func TestOpen_NamesAnAbsurdKeyIDInBounds(t *testing.T) {
	t.Parallel()
	_, err := ring(t, "a:"+secretbox.GenerateKey()).Open(strings.Repeat("x", 1<<20), nil, nil)
	require.ErrorIs(t, err, secretbox.ErrUnknownKey)
	require.Less(t, len(err.Error()), 300)
}

func TestZeroKeyring_SealsNothing(t *testing.T) {
	t.Parallel()
	_, _, err := new(secretbox.Keyring).Seal([]byte("text"), nil)
	require.ErrorIs(t, err, secretbox.ErrUnknownKey)
}

func TestKeyring_PrintsNoKeyHoweverItIsPrinted(t *testing.T) {
	t.Parallel()
	raw := bytes.Repeat([]byte{0xAB}, 32)
	encoded := base64.StdEncoding.EncodeToString(raw)
	k := ring(t, "a:"+encoded)
	type config struct {
		Keys   *secretbox.Keyring
		hidden *secretbox.Keyring
	}
	c := config{k, k}
	var printed strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%T", "%p"} {
		fmt.Fprintf(&printed, verb+" ", k)
		fmt.Fprintf(&printed, verb+" ", *k) // a mistake that must stay harmless
		fmt.Fprintf(&printed, verb+" ", c)
		fmt.Fprintf(&printed, verb+" ", &c)
	}
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&printed, nil), slog.NewTextHandler(&printed, nil)} {
		slog.New(handler).Info("started", "keyring", k, "config", c, "hidden", c.hidden)
	}
	b, err := json.Marshal(c)
	require.NoError(t, err)
	printed.Write(b)

	text := strings.ToLower(printed.String())
	require.Contains(t, text, "[keyring]")
	for _, leak := range []string{strings.ToLower(encoded), "abababab", "171 171 171", "10101011 10101011", `\xab\xab`} {
		require.NotContains(t, text, leak)
	}
	require.Equal(t, "[keyring]", k.String())
	require.Equal(t, "[keyring]", k.GoString())
}

func TestGenerateKey_IsWhatParseKeyringWants(t *testing.T) {
	t.Parallel()
	require.NotEqual(t, secretbox.GenerateKey(), secretbox.GenerateKey())
	ring(t, "dev:"+secretbox.GenerateKey())
}
