package httpclient

import (
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// RetryAfter reads the header of that name, as seconds or as a date (RFC 9110,
// 10.2.3); 0 when there is none, or none to believe (more than a day).
func RetryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 && seconds <= 86400 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) && at.Sub(now) <= 24*time.Hour {
		return at.Sub(now)
	}
	return 0
}

// Readable makes a provider's text fit to be kept: on one line, with nothing
// that does not print, e-mail addresses left out, and cut after 200 characters.
func Readable(text string) string {
	const most = 200
	words := strings.Fields(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "")))
	for i, word := range words {
		if strings.Contains(word, "@") {
			words[i] = "…"
		}
	}
	text = strings.Join(words, " ")
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}
