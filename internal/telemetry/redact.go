package telemetry

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

const redacted = "[redacted]"

// sensitive are words that, anywhere in a key, make its value secret or
// personal: "token" covers token_ws, accessToken and X-Auth-Token.
var sensitive = map[string]bool{
	"email": true, "mail": true, "phone": true, "telephone": true, "mobile": true, "rut": true, "street": true,
	"authorization": true, "cookie": true, "password": true, "passwd": true, "secret": true, "token": true,
	"apikey": true, "card": true, "cvv": true, "pan": true, "iban": true, "signature": true, "credential": true, "dsn": true,
}

// sensitivePairs are two words that are harmless alone.
var sensitivePairs = [][2]string{
	{"api", "key"}, {"private", "key"}, {"secret", "key"}, {"payload", "keys"}, {"credential", "keys"}, {"database", "url"},
	{"account", "number"}, {"customer", "name"}, {"buyer", "name"}, {"client", "ip"}, {"bank", "account"},
}

// Redact is the ReplaceAttr of every handler of this program. It replaces the
// value under a key that names something personal or secret (email, phone, rut,
// authorization, api_key, token, secret, card ...), wherever in a group,
// structure or map the key stands and however its words are joined. In what is
// left, it cuts e-mail addresses, bearer tokens, keys of the payment gateways,
// passwords in URLs and secret query parameters out of texts, because errors
// from libraries quote them.
func Redact(groups []string, a slog.Attr) slog.Attr {
	if sensitiveKey(a.Key) || slices.ContainsFunc(groups, sensitiveKey) {
		return slog.String(a.Key, redacted)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(scrub(a.Value.String()))
	case slog.KindAny:
		a.Value = redactAny(a.Value.Any())
	}
	return a
}

func redactAny(v any) slog.Value {
	switch v := v.(type) {
	case nil, slog.Level, *slog.Source:
		return slog.AnyValue(v)
	case error:
		return slog.StringValue(scrub(errorText(v)))
	}
	b, err := json.Marshal(v)
	if err != nil {
		// The JSON handler would print the value with %+v, unredacted.
		return slog.StringValue("[not loggable: " + scrub(err.Error()) + "]")
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber()
	var plain any
	if err := decoder.Decode(&plain); err != nil {
		return slog.StringValue("[not loggable: " + scrub(err.Error()) + "]")
	}
	return slog.AnyValue(redactTree(plain))
}

// errorText guards against a nil pointer in an error interface, which would
// turn a log line into a crash.
func errorText(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = "[error that can not be printed]"
		}
	}()
	return err.Error()
}

func redactTree(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if sensitiveKey(key) {
				v[key] = redacted
			} else {
				v[key] = redactTree(value)
			}
		}
	case []any:
		for i := range v {
			v[i] = redactTree(v[i])
		}
	case string:
		return scrub(v)
	}
	return v
}

func sensitiveKey(key string) bool {
	words := keyWords(key)
	for i, w := range words {
		if sensitive[w] || sensitive[strings.TrimSuffix(w, "s")] {
			return true
		}
		if i > 0 && slices.Contains(sensitivePairs, [2]string{words[i-1], w}) {
			return true
		}
	}
	return false
}

// keyWords splits api_key, X-Api-Key and apiKey alike into api and key.
func keyWords(key string) []string {
	var words []string
	var word []rune
	flush := func() {
		if len(word) > 0 {
			words = append(words, string(word))
			word = word[:0]
		}
	}
	afterLower := false
	for _, r := range key {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush()
			afterLower = false
			continue
		case unicode.IsUpper(r) && afterLower:
			flush()
		}
		afterLower = !unicode.IsUpper(r)
		word = append(word, unicode.ToLower(r))
	}
	flush()
	return words
}

var scrubbers = []struct {
	// hint is what a text contains when the pattern can match; most contain
	// none, and are not searched.
	hint    string
	pattern *regexp.Regexp
	keep    string
}{
	{"://", regexp.MustCompile(`(://[^/\s:@]*):[^/\s@]+@`), "${1}:" + redacted + "@"},
	{"=", regexp.MustCompile(`(?i)\b((?:access_?|ws_?)?token(?:_ws)?|api_?key|secret|password|signature|s)=[^&\s"']+`), "${1}=" + redacted},
	{"@", regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+`), redacted},
	{"earer", regexp.MustCompile(`(?i)\bbearer\s+\S+`), "Bearer " + redacted},
	{"_", regexp.MustCompile(`\b(?:(?:sk|rk|pk)_(?:live|test)|whsec)_[A-Za-z0-9_-]+`), redacted},
	// A RUT, and a phone number in its international form.
	{"-", regexp.MustCompile(`\b\d{1,2}\.?\d{3}\.?\d{3}-[\dkK]\b`), redacted},
	{"+", regexp.MustCompile(`\+\d[\d ()-]{7,}\d`), redacted},
	// Mercado Pago's access tokens.
	{"-", regexp.MustCompile(`\b(?:APP_USR|TEST)-\d{6,}[A-Za-z0-9_-]*`), redacted},
}

// Scrub takes out of a text of others what must not be kept: addresses, RUTs
// and phone numbers of people, credentials.
func Scrub(s string) string { return scrub(s) }

func scrub(s string) string {
	for _, sc := range scrubbers {
		if strings.Contains(s, sc.hint) {
			s = sc.pattern.ReplaceAllString(s, sc.keep)
		}
	}
	return s
}
