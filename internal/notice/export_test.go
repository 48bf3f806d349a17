package notice

import (
	"bytes"
	"context"
	stdmail "net/mail"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/tenant"
)

// Facts, FactLine, Message and Claimed are what tests look into.
type (
	Facts    = facts
	FactLine = factLine
	Message  = message
	Claimed  = claimed
)

// LeaseFor is a sender's lease.
const LeaseFor = leaseFor

// Render writes a notice.
func Render(kind Kind, language string, f Facts) (Message, error) { return render(kind, language, f) }

// Claim takes what is due, as a sender does before it sends.
func (s *Sender) Claim(ctx context.Context) (list []Claimed, err error) {
	err = s.DB.AsSystem(ctx, func(tx pgx.Tx) error {
		list, err = claim(ctx, tx, id.New(), Batch)
		return err
	})
	return list, err
}

// Die sends a notice that was claimed, and writes nothing: as a process that ends
// between the two.
func (s *Sender) Die(ctx context.Context, c Claimed) error {
	return s.DB.InTenant(ctx, c.Tenant, func(tx pgx.Tx) error {
		shop, err := tenant.Get(ctx, tx, c.Tenant)
		if err != nil {
			return err
		}
		l, _, err := write(ctx, tx, shop, c)
		if err != nil {
			return err
		}
		conn := &mailConn{server: s.Mail}
		defer conn.close()
		_, err = conn.send(ctx, l)
		return err
	})
}

// Source is the mail that a letter with these texts would be.
func Source(fromName, to, subject string) (string, error) {
	s := &MailServer{host: "localhost", from: stdmail.Address{Address: "tienda@shop.example"}}
	m, _, err := s.compose(letter{noticeID: id.New(), channel: Email, fromName: fromName, to: to, message: message{Subject: subject, Text: "t", HTML: "h"}})
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	_, err = m.WriteTo(&out)
	return out.String(), err
}
