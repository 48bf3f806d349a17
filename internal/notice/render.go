package notice

import (
	"embed"
	"fmt"
	html "html/template"
	"strings"
	text "text/template"
)

// message is what a buyer reads: as mail in two forms, or short.
type message struct {
	Subject, Text, HTML string
	// Short is for SMS and WhatsApp.
	Short string
}

//go:embed templates
var files embed.FS

var (
	asList = map[string]any{"list": func(all []string) string { return strings.Join(all, ", ") }}
	// words are the languages' texts. They know nothing of HTML: what they make is
	// escaped where it is put into a page.
	words = map[string]*text.Template{
		"es": text.Must(text.New("es").Funcs(asList).Option("missingkey=error").ParseFS(files, "templates/es.tmpl")),
		"en": text.Must(text.New("en").Funcs(asList).Option("missingkey=error").ParseFS(files, "templates/en.tmpl")),
	}
	plainMail = text.Must(text.New("mail.txt").Funcs(asList).ParseFS(files, "templates/mail.txt"))
	htmlMail  = html.Must(html.New("mail.html").Funcs(asList).ParseFS(files, "templates/mail.html"))
)

// page is what the two forms of a mail are made from.
type page struct {
	Language, Subject, Hello string
	Paragraphs               []string
	Words                    map[string]string
	Facts                    facts
}

// render writes a notice of a kind in a language, es or en.
func render(kind Kind, language string, f facts) (message, error) {
	t, known := words[language]
	if !known {
		return message{}, fmt.Errorf("notice %s: no language %q", kind, language)
	}
	var failed error
	say := func(name string) string {
		var out strings.Builder
		if err := t.ExecuteTemplate(&out, name, f); err != nil && failed == nil {
			failed = fmt.Errorf("notice %s: %w", kind, err)
		}
		return strings.TrimSpace(out.String())
	}
	m := message{Subject: oneLine(say(string(kind) + ".subject")), Short: oneLine(say(string(kind) + ".short"))}
	p := page{Language: language, Subject: m.Subject, Hello: say("hello"), Paragraphs: strings.Split(say(string(kind)+".body"), "\n\n"), Words: map[string]string{}, Facts: f}
	for _, w := range []string{"carrier", "tracking", "link", "shipping", "total"} {
		p.Words[w] = say("word." + w)
		if w == "link" && kind == ReturnLabel {
			p.Words[w] = say("word.label")
		}
	}
	if failed != nil {
		return message{}, failed
	}
	var plain, rich strings.Builder
	if err := plainMail.Execute(&plain, p); err != nil {
		return message{}, fmt.Errorf("notice %s: %w", kind, err)
	}
	if err := htmlMail.Execute(&rich, p); err != nil {
		return message{}, fmt.Errorf("notice %s: %w", kind, err)
	}
	m.Text, m.HTML = plain.String(), rich.String()
	return m, nil
}
