package sandbox

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mailbox is a sandbox with its door for mail.
func mailbox(t *testing.T, dir string) (s *Server, at string, base string) {
	t.Helper()
	s, err := Open(Options{Dir: dir, NoSync: true})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.ServeMail(l)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return s, l.Addr().String(), server.URL
}

func fetch(t *testing.T, method, address, accept, body string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Accept", accept)
	a, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	raw, err := io.ReadAll(a.Body)
	require.NoError(t, err)
	require.NoError(t, a.Body.Close())
	return a.StatusCode, a.Header, string(raw)
}

const evilMail = "From: =?utf-8?q?Tienda_=C3=91?= <shop@shop.example>\r\nTo: ana@example.cl\r\nSubject: =?utf-8?q?Pag=C3=B3?= <script>\r\nMessage-ID: <m1@shop.example>\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nPag=C3=B3 </pre><script>\r\n" +
	"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0PjxwPkhvbGE8L3A+\r\n--b--\r\n"

func TestMail_IsKeptReadAndShownWithoutHarm(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, at, base := mailbox(t, dir)
	require.NoError(t, smtp.SendMail(at, nil, "shop@shop.example", []string{"ana@example.cl"}, []byte(evilMail)))
	require.NoError(t, smtp.SendMail(at, nil, "shop@shop.example", []string{"luis@example.cl"}, []byte("not a mail at all")))

	var list struct{ Mails []caughtMail }
	_, _, raw := fetch(t, "GET", base+"/mail.json?to=ANA@example.cl", "*/*", "")
	require.NoError(t, json.Unmarshal([]byte(raw), &list))
	require.Len(t, list.Mails, 1)
	m := list.Mails[0]
	require.Equal(t, "Pagó <script>", m.Subject)
	require.Equal(t, "m1@shop.example", m.MessageID)
	require.Equal(t, "Pagó </pre><script>", m.Text)
	require.Equal(t, "<script>alert(1)</script><p>Hola</p>", m.HTML)
	require.Nil(t, m.Source)

	status, header, page := fetch(t, "GET", base+"/mail/"+m.ID, "text/html", "")
	require.Equal(t, 200, status)
	require.NotContains(t, page, "<script")
	require.Contains(t, page, `<iframe sandbox="allow-popups" src="/mail/`+m.ID+`/html"`)
	require.Contains(t, header.Get("Content-Security-Policy"), "default-src 'none'")
	_, header, body := fetch(t, "GET", base+"/mail/"+m.ID+"/html", "text/html", "")
	require.Equal(t, m.HTML, body)
	require.Contains(t, header.Get("Content-Security-Policy"), "sandbox allow-popups;")
	_, header, body = fetch(t, "GET", base+"/mail/"+m.ID+"/source", "text/html", "")
	require.Contains(t, body, "boundary=b")
	require.Contains(t, header.Get("Content-Type"), "text/plain")
	status, _, page = fetch(t, "GET", base+"/mail", "text/html", "")
	require.Equal(t, 200, status)
	require.NotContains(t, page, "<script")
	require.Contains(t, page, "(no subject)", "what is no mail is kept too")
	status, _, _ = fetch(t, "GET", base+"/mail/nothing", "*/*", "")
	require.Equal(t, 404, status)

	require.NoError(t, s.Close())
	s, _, base = mailbox(t, dir)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	_, _, raw = fetch(t, "GET", base+"/mail/"+m.ID, "application/json", "")
	require.Contains(t, raw, "m1@shop.example", "it outlives a restart")
}

func TestMail_OnlyTheNewestStay(t *testing.T) {
	t.Parallel()
	s, _, _ := mailbox(t, "")
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.keepMail(caughtMail{ID: "first"}))
	require.NoError(t, s.store.update(func(x *tx) { put(x, bucketCounters, bucketMails, uint64(mailsKept)) }))
	require.NoError(t, s.keepMail(caughtMail{ID: "one more"}))
	list, err := s.findMails("", 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "one more", list[0].ID)
	require.NoError(t, s.store.view(func(x *tx) {
		_, found := get[uint64](x, bucketMailIndex, "first")
		require.False(t, found)
	}))
}

func FuzzMail_AnySourceIsRead(f *testing.F) {
	f.Add([]byte(evilMail))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n"))
	f.Fuzz(func(t *testing.T, source []byte) {
		m := caughtMail{Source: source}
		m.read()
		require.Equal(t, source, m.Source)
	})
}

func TestTwilio_AnswersAsItsAPIDoes(t *testing.T) {
	t.Parallel()
	s, _, base := mailbox(t, "")
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	const account = "ACsandboxacme"
	send := func(token string, form url.Values) (int, map[string]any) {
		r, err := http.NewRequestWithContext(t.Context(), "POST", base+"/twilio/2010-04-01/Accounts/"+account+"/Messages.json", strings.NewReader(form.Encode()))
		require.NoError(t, err)
		r.SetBasicAuth(account, token)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		a, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer a.Body.Close()
		var out map[string]any
		require.NoError(t, json.NewDecoder(a.Body).Decode(&out))
		return a.StatusCode, out
	}
	const token = "sandbox-token-acme"
	form := func(to, from, body string) url.Values {
		return url.Values{"To": {to}, "From": {from}, "Body": {body}}
	}
	status, out := send(token, form("whatsapp:+56961234567", "whatsapp:+56912345678", "hola"))
	require.Equal(t, 201, status)
	require.Equal(t, "queued", out["status"])
	require.Equal(t, "whatsapp:+56961234567", out["to"])
	require.Regexp(t, "^SM[0-9a-f]{32}$", out["sid"])
	for code, refused := range map[float64]url.Values{
		21211: form("961234567", "+56912345678", "hola"), 21604: form("", "+56912345678", "hola"), 21603: form("+56961234567", "", "hola"), 21602: form("+56961234567", "+56912345678", ""),
		21910: form("whatsapp:+56961234567", "+56912345678", "hola"), 21617: form("+56961234567", "+56912345678", strings.Repeat("ñ", 1601)),
	} {
		status, out := send(token, refused)
		require.Equal(t, 400, status, code)
		require.Equal(t, code, out["code"])
		require.Equal(t, 400., out["status"])
		require.NotEmpty(t, out["message"])
	}
	status, out = send("sandbox-token-other", form("+56961234567", "+56912345678", "hola"))
	require.Equal(t, 401, status)
	require.Equal(t, 20003., out["code"])
	_, _, raw := fetch(t, "GET", base+"/ledger", "*/*", "")
	var ledger struct{ Messages []text }
	require.NoError(t, json.Unmarshal([]byte(raw), &ledger))
	require.Len(t, ledger.Messages, 1)
	require.Equal(t, "whatsapp", ledger.Messages[0].Channel)
}
