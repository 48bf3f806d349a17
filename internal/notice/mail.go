package notice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	stdmail "net/mail"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
)

// MailServer is where mail is given away, and as whom.
type MailServer struct {
	host    string
	options []mail.Option
	from    stdmail.Address
}

// conversation is how long the mail server may take for one mail, or for the
// greeting.
const conversation = 20 * time.Second

// ParseMailServer reads an address such as smtp://user:password@host:587 and the
// sender of tenants that have none. smtps is TLS from the first byte. With smtp the
// connection is encrypted when the server offers it; tls=mandatory in the query
// demands that, tls=none does without. With a password it is demanded, unless
// tls=none says otherwise. Errors never repeat the address.
func ParseMailServer(address, from string) (*MailServer, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "smtp" && u.Scheme != "smtps" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("SMTP_URL: want smtp://user:password@host:587 or smtps://user:password@host")
	}
	sender, err := stdmail.ParseAddress(from)
	if err != nil {
		return nil, errors.New("MAIL_FROM: want an address such as pedidos@tienda.example, or Tienda <pedidos@tienda.example>")
	}
	s := &MailServer{host: u.Hostname(), from: *sender}
	port := 587
	if u.Scheme == "smtps" {
		port = 465
		s.options = append(s.options, mail.WithSSL())
	}
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil || port < 1 || port > 65535 {
			return nil, errors.New("SMTP_URL: the port is none")
		}
	}
	password, signsIn := u.User.Password()
	policy := mail.TLSOpportunistic
	if signsIn {
		policy = mail.TLSMandatory
	}
	switch want := u.Query().Get("tls"); want {
	case "":
	case "mandatory":
		policy = mail.TLSMandatory
	case "opportunistic":
		policy = mail.TLSOpportunistic
	case "none":
		policy = mail.NoTLS
	default:
		return nil, errors.New("SMTP_URL: tls is mandatory, opportunistic or none")
	}
	if u.Scheme == "smtp" {
		s.options = append(s.options, mail.WithTLSPolicy(policy))
	}
	s.options = append(s.options, mail.WithPort(port), mail.WithTimeout(conversation), mail.WithoutNoop(), mail.WithHELO(domain(sender.Address)))
	if signsIn {
		s.options = append(s.options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(u.User.Username()), mail.WithPassword(password))
	}
	_, err = mail.NewClient(s.host, s.options...)
	if err != nil {
		return nil, fmt.Errorf("SMTP_URL: %w", err)
	}
	return s, nil
}

func domain(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

// mailConn is a connection for a batch. It dials when the first mail comes, and anew
// after the server has closed it.
type mailConn struct {
	server *MailServer
	client *mail.Client
}

// send gives one mail to the server and returns its Message-ID, which is the same
// each time that the notice is sent. Errors are *Failure.
func (c *mailConn) send(ctx context.Context, l letter) (messageID string, err error) {
	m, messageID, err := c.server.compose(l)
	if err != nil {
		return "", err
	}
	if c.client == nil {
		if err := c.dial(ctx); err != nil {
			return "", err
		}
	}
	err = c.client.Send(m)
	// The server has taken the mail even when what follows fails.
	if m.IsDelivered() {
		if err != nil {
			c.close()
		}
		return messageID, nil
	}
	if err == nil {
		return "", &Failure{Code: "smtp_not_taken"}
	}
	return "", c.refused(err)
}

func (c *mailConn) dial(ctx context.Context) error {
	client, err := mail.NewClient(c.server.host, c.server.options...)
	if err != nil {
		return &Failure{Code: "smtp_settings", Apart: true}
	}
	if err := client.DialWithContext(ctx); err != nil {
		return &Failure{Code: dialCode(err), Apart: true}
	}
	c.client = client
	return nil
}

// dialCode tells apart what an operator would do something else about.
func dialCode(err error) string {
	var unreachable *net.OpError
	var name *net.DNSError
	switch {
	case errors.As(err, &name), errors.As(err, &unreachable) && unreachable.Op == "dial":
		return "smtp_unreachable"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &unreachable) && unreachable.Timeout():
		return "smtp_timeout"
	}
	return "smtp_greeting" // TLS, sign-in, or a server that wants nobody
}

// refused says what a server's answer to one mail means. Only a no to the buyer's
// address or to the text is final: a no to our sender is a matter of settings.
func (c *mailConn) refused(err error) *Failure {
	var sent *mail.SendError
	if !errors.As(err, &sent) {
		c.close()
		return &Failure{Code: "smtp_broken"}
	}
	about := sent.Reason == mail.ErrSMTPRcptTo || sent.Reason == mail.ErrSMTPData || sent.Reason == mail.ErrSMTPDataClose
	if sent.Reason != mail.ErrSMTPRcptTo && sent.Reason != mail.ErrSMTPMailFrom || sent.ErrorCode() == 421 {
		c.close() // whatever state it is in, the next mail begins anew
	}
	if sent.ErrorCode() == 0 {
		return &Failure{Code: "smtp_broken"}
	}
	code := "smtp_" + strconv.Itoa(sent.ErrorCode())
	if sent.EnhancedStatusCode() != "" {
		code += "_" + sent.EnhancedStatusCode()
	}
	return &Failure{Code: code, Final: about && sent.ErrorCode() >= 500}
}

// close ends the conversation. What was sent is sent, whatever the server answers.
func (c *mailConn) close() {
	if c.client != nil {
		_ = c.client.Close()
		c.client = nil
	}
}

// compose makes the mail. Its headers can't be added to: texts are on one line and
// encoded, addresses are parsed.
func (s *MailServer) compose(l letter) (m *mail.Msg, messageID string, err error) {
	m = mail.NewMsg()
	from := stdmail.Address{Name: l.fromName, Address: cmp.Or(l.from, s.from.Address)}
	to, err := stdmail.ParseAddress(l.to)
	if err != nil {
		return nil, "", &Failure{Code: "bad_address", Final: true}
	}
	if m.From(from.String()) != nil || m.EnvelopeFrom(from.Address) != nil {
		return nil, "", &Failure{Code: "bad_sender"}
	}
	if m.To((&stdmail.Address{Address: to.Address}).String()) != nil {
		return nil, "", &Failure{Code: "bad_address", Final: true}
	}
	if l.replyTo != "" && m.ReplyTo(l.replyTo) != nil {
		return nil, "", &Failure{Code: "bad_reply_to"}
	}
	messageID = "notice." + strings.ToLower(l.noticeID) + "@" + domain(from.Address)
	m.SetMessageIDWithValue(messageID)
	m.SetDate()
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.Subject(oneLine(l.message.Subject))
	m.SetBodyString(mail.TypeTextPlain, l.message.Text)
	m.AddAlternativeString(mail.TypeTextHTML, l.message.HTML)
	return m, messageID, nil
}
