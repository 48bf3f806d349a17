package api

import (
	"bytes"
	"encoding/csv"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/problem"
)

const typeCSV = "text/csv; charset=utf-8"

// wantsCSV reads format, or the Accept header where there is none.
func wantsCSV(r *request, f *problem.Fields) bool {
	switch r.Query("format") {
	case "csv":
		return true
	case "json":
		return false
	case "":
	default:
		f.Add("format", "invalid", "json or csv")
	}
	for part := range strings.SplitSeq(r.GetHeader("Accept"), ",") {
		switch media, _, err := mime.ParseMediaType(part); {
		case err != nil:
		case media == "text/csv":
			return true
		case media == "application/json":
			return false
		}
	}
	return false
}

// sheet is a CSV table. Its text is safe to open in a spreadsheet program.
type sheet struct {
	b bytes.Buffer
	w *csv.Writer
}

func newSheet(header ...string) *sheet {
	s := &sheet{}
	s.w = csv.NewWriter(&s.b)
	s.row(toAny(header)...)
	return s
}

func toAny(list []string) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

// row adds a line of text, numbers, times, and nil for an empty cell. A buffer
// takes every line, so that writing cannot fail.
func (s *sheet) row(cells ...any) {
	record := make([]string, len(cells))
	for i, cell := range cells {
		switch v := cell.(type) {
		case string:
			record[i] = harmless(v)
		case *string:
			if v != nil {
				record[i] = harmless(*v)
			}
		case int:
			record[i] = strconv.Itoa(v)
		case int64:
			record[i] = strconv.FormatInt(v, 10)
		case time.Time:
			record[i] = v.UTC().Format(time.RFC3339)
		}
	}
	_ = s.w.Write(record)
}

func (s *sheet) reply() reply {
	s.w.Flush()
	return reply{status: http.StatusOK, text: s.b.Bytes(), contentType: typeCSV}
}

// harmless keeps a spreadsheet program from taking text for a formula
// (https://owasp.org/www-community/attacks/CSV_Injection). Numbers of ours may
// begin with a minus and stay numbers.
func harmless(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return "'" + text
	}
	return text
}
