package sandbox

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// mailName is the mail server's name in faults: rcpt and data are its operations.
const mailName = "mail"

const (
	bucketMails     = "mails"       // sequence -> caughtMail
	bucketMailIndex = "mails_index" // id -> sequence
	// mailsKept is how many mails stay; older ones go.
	mailsKept = 5000
	mailLimit = 10 << 20
)

// caughtMail is a mail that somebody sent through the sandbox. It goes nowhere.
type caughtMail struct {
	ID         string    `json:"id"`
	ReceivedAt time.Time `json:"received_at"`
	// Envelope is what the SMTP conversation said, the rest what the mail says.
	EnvelopeFrom string   `json:"envelope_from"`
	EnvelopeTo   []string `json:"envelope_to"`
	From         string   `json:"from"`
	To           string   `json:"to"`
	ReplyTo      string   `json:"reply_to"`
	Subject      string   `json:"subject"`
	MessageID    string   `json:"message_id"`
	Text         string   `json:"text"`
	HTML         string   `json:"html"`
	Source       []byte   `json:"source,omitempty"`
}

// ServeMail catches the mail that comes in on the listener until the sandbox is
// closed: each is on disk before it is accepted. Faults of the provider "mail"
// apply: an error without acting is a 451, rate_limited a 450 as of a server that
// greylists, refuse a 550 for a recipient and a 554 for a text.
func (s *Server) ServeMail(l net.Listener) {
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &mailSession{s: s, conn: c}, nil }))
	server.Domain = "sandbox.localhost"
	server.MaxMessageBytes = mailLimit
	server.MaxRecipients = 50
	server.ReadTimeout, server.WriteTimeout = time.Minute, time.Minute
	server.EnableSMTPUTF8 = true
	server.ErrorLog = quietLog{s}
	s.running.Go(func() {
		if err := server.Serve(l); err != nil && !errors.Is(err, smtp.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.log.Error("the mail catcher has stopped", "error", err)
		}
	})
	s.running.Go(func() {
		<-s.done
		if err := errors.Join(server.Close(), l.Close()); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, smtp.ErrServerClosed) {
			s.log.Debug("the mail catcher closes", "error", err)
		}
	})
}

// quietLog takes what the library says of broken conversations: tests break many.
type quietLog struct{ s *Server }

func (q quietLog) Printf(format string, v ...any) {
	q.s.log.Debug("mail", "says", fmt.Sprintf(format, v...))
}
func (q quietLog) Println(v ...any) { q.s.log.Debug("mail", "says", fmt.Sprint(v...)) }

// mailSession is one connection.
type mailSession struct {
	s    *Server
	conn *smtp.Conn
	from string
	to   []string
}

func (m *mailSession) Reset() { m.from, m.to = "", nil }

func (m *mailSession) Logout() error { return nil }

func (m *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	m.from = from
	return nil
}

var errCut = errors.New("the connection is cut")

// cut closes the connection without a word.
func (m *mailSession) cut() error { return errors.Join(m.conn.Conn().Close(), errCut) }

func (m *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	plan, err := m.s.faults[mailName].draw("rcpt")
	if err != nil {
		return err
	}
	m.s.pause(plan.latency)
	switch plan.kind {
	case faultError500, faultError503:
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Try again later"}
	case faultRateLimited:
		return &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "<" + to + ">: greylisted, try again later"}
	case faultRefuse:
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "<" + to + ">: there is no such mailbox"}
	case faultCutBefore:
		return m.cut()
	}
	m.to = append(m.to, to)
	return nil
}

func (m *mailSession) Data(r io.Reader) error {
	source, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	plan, err := m.s.faults[mailName].draw("data")
	if err != nil {
		return err
	}
	m.s.pause(plan.latency)
	switch plan.kind {
	case faultError500, faultError503, faultRateLimited:
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Try again later"}
	case faultRefuse:
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Nobody wants this text of <" + m.from + ">"}
	case faultCutBefore:
		return m.cut()
	}
	caught := caughtMail{ID: randomText(20, hexDigits), ReceivedAt: m.s.now(), EnvelopeFrom: m.from, EnvelopeTo: m.to, Source: source}
	caught.read()
	if err := m.s.keepMail(caught); err != nil {
		return err
	}
	switch plan.kind {
	case faultCutAfter, faultCutDuring, faultTimeout, faultHold:
		return m.cut()
	}
	return nil
}

func (s *Server) keepMail(m caughtMail) error {
	return s.store.update(func(t *tx) {
		n := t.next(bucketMails)
		put(t, bucketMails, ordered(n), m)
		put(t, bucketMailIndex, m.ID, n)
		if n <= mailsKept {
			return
		}
		old := ordered(n - mailsKept)
		if gone, found := get[caughtMail](t, bucketMails, old); found {
			t.remove(bucketMailIndex, gone.ID)
			t.remove(bucketMails, old)
		}
	})
}

// read finds what people look at. A mail that is not as it should be is kept all
// the same: its source shows what it is.
func (m *caughtMail) read() {
	parsed, err := mail.ReadMessage(bytes.NewReader(m.Source))
	if err != nil {
		return
	}
	m.From, m.To, m.ReplyTo = decoded(parsed.Header.Get("From")), decoded(parsed.Header.Get("To")), decoded(parsed.Header.Get("Reply-To"))
	m.Subject, m.MessageID = decoded(parsed.Header.Get("Subject")), strings.Trim(parsed.Header.Get("Message-ID"), "<>")
	m.part(parsed.Header.Get("Content-Type"), parsed.Header.Get("Content-Transfer-Encoding"), parsed.Body, 5)
}

func decoded(header string) string {
	text, err := new(mime.WordDecoder).DecodeHeader(header)
	if err != nil {
		return header
	}
	return text
}

// part takes the first text of each kind; depth bounds parts within parts.
func (m *caughtMail) part(contentType, encoding string, body io.Reader, depth int) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		kind = "text/plain"
	}
	if strings.HasPrefix(kind, "multipart/") && depth > 0 {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			p, err := parts.NextRawPart()
			if err != nil {
				return
			}
			m.part(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p, depth-1)
		}
	}
	switch strings.ToLower(encoding) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return
	}
	switch text := strings.ReplaceAll(string(raw), "\r\n", "\n"); {
	case kind == "text/plain" && m.Text == "":
		m.Text = text
	case kind == "text/html" && m.HTML == "":
		m.HTML = text
	}
}

// openMailbox readies the mail server's faults and its part of the state.
func (s *Server) openMailbox() error {
	f, err := openFaults(s.store, mailName, s.opts.Seed)
	if err != nil {
		return err
	}
	s.faults[mailName] = f
	return s.store.makeBuckets([]string{bucketMails, bucketMailIndex})
}

func (s *Server) serveMailbox() {
	s.mux.HandleFunc("GET /mail", s.mailPage)
	s.mux.HandleFunc("GET /mail.json", s.mailList)
	s.mux.HandleFunc("GET /mail/{id}", s.oneMail)
	s.mux.HandleFunc("GET /mail/{id}/html", s.mailHTML)
	s.mux.HandleFunc("GET /mail/{id}/source", s.mailSource)
}

// findMails reads the newest mails, at most limit, of one recipient or of all.
func (s *Server) findMails(to string, limit int) (list []caughtMail, err error) {
	list = []caughtMail{}
	err = s.store.view(func(t *tx) {
		eachBack(t, bucketMails, "", func(_ string, m caughtMail) bool {
			if to == "" || m.sentTo(to) {
				list = append(list, m)
			}
			return len(list) < limit
		})
	})
	return list, err
}

func (m caughtMail) sentTo(address string) bool {
	for _, to := range m.EnvelopeTo {
		if strings.EqualFold(to, address) {
			return true
		}
	}
	return false
}

// mailList answers the newest mails first, of ?to= alone when it is given, at most
// ?limit= (200), without their sources.
func (s *Server) mailList(w http.ResponseWriter, r *http.Request) {
	limit, err := intParam(r, "limit", 200)
	if err != nil || limit < 1 {
		s.problem(w, http.StatusBadRequest, "invalid", "limit is a whole number from 1")
		return
	}
	list, err := s.findMails(r.URL.Query().Get("to"), limit)
	if err != nil {
		s.fail(w, err)
		return
	}
	for i := range list {
		list[i].Source = nil
	}
	s.writeJSON(w, http.StatusOK, map[string]any{"mails": list})
}

func (s *Server) findMail(w http.ResponseWriter, r *http.Request) (m caughtMail, found bool) {
	err := s.store.view(func(t *tx) {
		if n, known := get[uint64](t, bucketMailIndex, r.PathValue("id")); known {
			m, found = get[caughtMail](t, bucketMails, ordered(n))
		}
	})
	if err != nil {
		s.fail(w, err)
		return m, false
	}
	if !found {
		s.problem(w, http.StatusNotFound, "not_found", "no such mail, or one that is gone since")
	}
	return m, found
}

// oneMail answers a browser with the page and everybody else with JSON.
func (s *Server) oneMail(w http.ResponseWriter, r *http.Request) {
	m, found := s.findMail(w, r)
	if !found {
		return
	}
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		s.writeJSON(w, http.StatusOK, m)
		return
	}
	s.showMails(w, "", &m)
}

func (s *Server) mailPage(w http.ResponseWriter, r *http.Request) {
	s.showMails(w, r.URL.Query().Get("to"), nil)
}

// pagePolicy lets the page show mails in a frame and do nothing else.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self'; base-uri 'none'"

func (s *Server) showMails(w http.ResponseWriter, to string, open *caughtMail) {
	list, err := s.findMails(to, 200)
	if err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Content-Security-Policy", pagePolicy)
	s.render(w, http.StatusOK, mailsPage, map[string]any{"Mails": list, "Open": open, "To": to})
}

// mailHTML is a mail's own page, for the frame: without scripts, forms, an origin
// or anything from elsewhere.
func (s *Server) mailHTML(w http.ResponseWriter, r *http.Request) {
	m, found := s.findMail(w, r)
	if !found {
		return
	}
	s.send(w, reply{status: http.StatusOK, header: http.Header{
		"Content-Type": {"text/html; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"},
		"Content-Security-Policy": {"sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"},
	}, body: []byte(m.HTML)})
}

func (s *Server) mailSource(w http.ResponseWriter, r *http.Request) {
	m, found := s.findMail(w, r)
	if !found {
		return
	}
	s.send(w, reply{status: http.StatusOK, header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}}, body: m.Source})
}

var mailsPage = template.Must(template.New("mails").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>Mail</title><style>
body{font-family:system-ui,sans-serif;margin:0;color:#1f2430;background:#f4f5f7}
header{padding:12px 20px;background:#1f2430;color:#fff}main{display:flex;gap:16px;padding:16px;align-items:flex-start;flex-wrap:wrap}
nav{flex:1 1 22rem;background:#fff;border-radius:8px;overflow:auto;max-height:85vh}article{flex:2 1 32rem;background:#fff;border-radius:8px;padding:16px}
nav a{display:block;padding:10px 14px;border-bottom:1px solid #e3e5ea;color:inherit;text-decoration:none}nav a:hover,nav a.open{background:#eef1ff}
small{color:#5b6272}iframe{width:100%;height:60vh;border:1px solid #e3e5ea;border-radius:6px}pre{white-space:pre-wrap;overflow-wrap:anywhere}form{padding:10px 14px}
dl{display:grid;grid-template-columns:auto 1fr;gap:.2rem 1rem}dd{margin:0;overflow-wrap:anywhere}
</style></head><body><header><strong>Mail</strong> · caught here, sent to nobody</header><main>
<nav><form action="/mail"><label>To <input name="to" value="{{.To}}"></label> <button>Show</button></form>
{{range .Mails}}<a href="/mail/{{.ID}}"{{if $.Open}}{{if eq $.Open.ID .ID}} class="open"{{end}}{{end}}><strong>{{or .Subject "(no subject)"}}</strong><br><small>{{.To}} · {{.ReceivedAt.Format "2006-01-02 15:04:05"}}</small></a>
{{else}}<p style="padding:0 14px">No mail yet.</p>{{end}}</nav>
{{with .Open}}<article><h2>{{or .Subject "(no subject)"}}</h2><dl><dt>From</dt><dd>{{.From}}</dd><dt>To</dt><dd>{{.To}}</dd>{{with .ReplyTo}}<dt>Reply to</dt><dd>{{.}}</dd>{{end}}<dt>Message-ID</dt><dd>{{.MessageID}}</dd></dl>
{{if .HTML}}<p><iframe sandbox="allow-popups" src="/mail/{{.ID}}/html" title="The mail"></iframe></p>{{end}}
<h3>Plain text</h3><pre>{{.Text}}</pre><p><a href="/mail/{{.ID}}/source">Source</a></p></article>{{end}}
</main></body></html>
`))
