package notice

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/postgres"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/tenant"
)

// Batch is how many notices a sender takes at once.
const Batch = 25

// Sender gives queued notices away. Any number of them may run in any number of
// processes.
type Sender struct {
	DB *postgres.DB
	// PublicURL is where buyers reach us, for the page that tells where a parcel is.
	PublicURL string
	// Mail is the mail server; without one, mails are suppressed.
	Mail *MailServer
	// Keys open the tenants' credentials for texts.
	Keys   *secretbox.Keyring
	Client *http.Client // from httpclient.New
	Logger *slog.Logger
}

// Round sends one batch and reports how many there were. An error means that the
// database was not there; what was claimed comes again when its lease ends. When
// ctx ends, the notice that is being sent is brought to its end and the others are
// given back.
func (s *Sender) Round(ctx context.Context) (int, error) {
	var list []claimed
	err := s.DB.AsSystem(ctx, func(tx pgx.Tx) (err error) {
		list, err = claim(ctx, tx, id.New(), Batch)
		return err
	})
	if err != nil {
		return 0, err
	}
	// What is on its way when ctx ends has to be written down.
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendFor)
	defer cancel()
	b := &batch{Sender: s, mail: &mailConn{server: s.Mail}, texts: map[string]*twilio{}, down: map[string]*Failure{}}
	defer b.mail.close()
	var failed []error
	for _, c := range list {
		step := b.one
		if ctx.Err() != nil || time.Until(ends(deadline)) < 2*conversation {
			step = b.giveBack
		}
		if err := step(deadline, c); err != nil {
			failed = append(failed, err)
		}
	}
	return len(list), errors.Join(failed...)
}

// ends is the context's deadline, which it has.
func ends(ctx context.Context) time.Time {
	at, _ := ctx.Deadline()
	return at
}

// batch is what one round keeps.
type batch struct {
	*Sender
	mail  *mailConn
	texts map[string]*twilio // by tenant
	// down are servers and accounts that take nothing in this round.
	down map[string]*Failure
}

// giver is a way out: the mail server, or a provider of texts.
type giver interface {
	send(ctx context.Context, l letter) (messageID string, err error)
}

func (b *batch) giveBack(ctx context.Context, c claimed) error {
	return b.DB.InTenant(ctx, c.Tenant, func(tx pgx.Tx) error { return c.untouched(ctx, tx) })
}

// one sends a notice, or says why not.
func (b *batch) one(ctx context.Context, c claimed) error {
	var l letter
	var code string
	err := b.DB.InTenant(ctx, c.Tenant, func(tx pgx.Tx) error {
		shop, err := tenant.Get(ctx, tx, c.Tenant)
		if err != nil {
			return err
		}
		c.publicURL = b.PublicURL
		l, code, err = write(ctx, tx, shop, c)
		return err
	})
	if err != nil {
		return err
	}
	if code == "" && c.Late && c.Attempts == 1 {
		code = codeLate
	}
	if code != "" {
		return b.put(ctx, c, "suppressed", "", code)
	}
	by, account, err := b.giver(ctx, c)
	if err != nil {
		return err
	}
	if by == nil {
		return b.put(ctx, c, "suppressed", "", account)
	}
	failure := b.down[account]
	if failure == nil {
		messageID, err := by.send(ctx, l)
		if err == nil {
			return b.put(ctx, c, "sent", messageID, "")
		}
		failure = failureOf(err)
		if failure.Apart {
			b.down[account] = failure
			b.Logger.WarnContext(ctx, "notices wait: whoever takes them can't be used now", "channel", string(c.Channel), "tenant", c.Tenant, "code", failure.Code)
		}
	}
	return b.failed(ctx, c, failure)
}

// giver finds who takes a notice, and the name under which it is down or not. When
// nobody does, account is the code of why.
func (b *batch) giver(ctx context.Context, c claimed) (by giver, account string, err error) {
	if c.Channel == Email {
		if b.Mail == nil {
			return nil, codeNoServer, nil
		}
		return b.mail, string(Email), nil
	}
	t, known := b.texts[c.Tenant]
	if !known {
		if t, err = b.twilio(ctx, c.Tenant); err != nil {
			return nil, "", err
		}
		b.texts[c.Tenant] = t
	}
	if t == nil {
		return nil, codeNoProvider, nil
	}
	return t, Twilio + ":" + c.Tenant, nil
}

// twilio is the tenant's account for texts, nil when it has none that can be used.
func (b *batch) twilio(ctx context.Context, tenantID string) (*twilio, error) {
	var credentials []byte
	err := b.DB.InTenant(ctx, tenantID, func(tx pgx.Tx) (err error) {
		credentials, _, err = tenant.Credentials(ctx, tx, b.Keys, tenantID, Twilio)
		return err
	})
	if errors.Is(err, tenant.ErrNoCredentials) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := newTwilio(credentials, b.Client)
	if err != nil {
		b.Logger.WarnContext(ctx, "a tenant's credentials for texts can't be used", "tenant", tenantID, "error", err)
		return nil, nil
	}
	return t, nil
}

// put ends a notice. One that a slower sender has lost is another's to end.
func (b *batch) put(ctx context.Context, c claimed, status, messageID, code string) error {
	return b.DB.InTenant(ctx, c.Tenant, func(tx pgx.Tx) error {
		_, err := c.end(ctx, tx, status, messageID, code)
		return err
	})
}

// failed gives a notice up, or puts it off.
func (b *batch) failed(ctx context.Context, c claimed, f *Failure) error {
	return b.DB.InTenant(ctx, c.Tenant, func(tx pgx.Tx) error {
		switch {
		case f.Final:
			return c.fail(ctx, tx, f.Code)
		case c.Late:
			return c.fail(ctx, tx, codeGaveUp+" "+f.Code)
		}
		return c.again(ctx, tx, f.Code, f.Wait)
	})
}
