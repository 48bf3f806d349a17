package notice

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/money"
	"justlogistics/internal/tenant"
)

// letter is a notice ready to be sent. It has the buyer's address and lives in
// memory alone.
type letter struct {
	noticeID string
	channel  Channel
	to       string
	// from and replyTo are of mails; from is empty for the installation's.
	fromName, from, replyTo string
	message                 message
}

// facts are what templates may say. All texts come from outside: from the buyer,
// the catalogue, carriers.
type facts struct {
	Shop   string
	Name   string // the buyer's first name, may be empty
	Number string // the order's
	// Lines are the order's with what each costs after discounts, or the units that the
	// notice is about.
	Lines              []factLine
	Shipping, Total    string
	Amount             string
	ByTransfer, Unused bool
	Return, Why        string
	Missing            int
	Carrier            string
	Tracking           []string
	Link               string
	Point              string
	By                 string
}

type factLine struct {
	Quantity int
	Name     string
	Total    string // empty where only units are meant
}

// moot are kinds that nobody wants to hear once the shipment has ended.
var moot = map[Kind]bool{Delayed: true, OutForDelivery: true, ReadyForPickup: true, DeliveryFailed: true}

// write makes the letter of a notice. code says why it must not be sent; the
// letter is then empty.
func write(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, c claimed) (l letter, code string, err error) {
	rules := shop.Settings.Notices
	if !rules.Sends(string(c.Kind), string(c.Channel)) {
		return l, codeOff, nil
	}
	var email, phone, name string
	err = tx.QueryRow(ctx, buyer, c.Tenant, c.Subject).Scan(&email, &phone, &name)
	if errors.Is(err, pgx.ErrNoRows) {
		return l, codeNoAddress, nil
	}
	if err != nil {
		return l, "", fmt.Errorf("buyer of %s: %w", c.Subject, err)
	}
	l = letter{noticeID: c.ID, channel: c.Channel, to: phone, fromName: oneLine(rules.FromName), from: rules.From, replyTo: rules.ReplyTo}
	if c.Channel == Email {
		l.to = email
	}
	if l.fromName == "" {
		l.fromName = oneLine(shop.Name)
	}
	if l.to == "" {
		return letter{}, codeNoAddress, nil
	}
	over, err := c.over(ctx, tx)
	if err != nil || over {
		return letter{}, codeMoot, err
	}
	f, err := c.facts(ctx, tx, shop)
	if err != nil {
		return letter{}, "", err
	}
	f.Name = firstName(name)
	l.message, err = render(c.Kind, rules.Language, f)
	return l, "", err
}

// over reports whether a later step has made the notice pointless.
func (c claimed) over(ctx context.Context, tx pgx.Tx) (over bool, err error) {
	if !moot[c.Kind] || c.Data.ShipmentID == "" {
		return false, nil
	}
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM shipments WHERE tenant = $1 AND id = $2 AND status IN ('delivered','returned_to_sender','cancelled'))`, c.Tenant, c.Data.ShipmentID).Scan(&over)
	if err != nil {
		return false, fmt.Errorf("shipment %s: %w", c.Data.ShipmentID, err)
	}
	return over, nil
}

func (c claimed) facts(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (facts, error) {
	f := facts{Shop: oneLine(shop.Name), Carrier: oneLine(c.Data.Carrier), Point: oneLine(c.Data.Point), ByTransfer: c.Data.ByTransfer, Unused: c.Data.Unused, Return: oneLine(c.Data.Return), Why: oneLine(c.Data.Why), Missing: c.Data.Missing, Link: webAddress(c.Data.Link)}
	if f.Link == "" && c.Data.ShipmentID != "" && c.publicURL != "" {
		var key *string
		if err := tx.QueryRow(ctx, `SELECT tracking_key::text FROM shipments WHERE tenant = $1 AND id = $2`, c.Tenant, c.Data.ShipmentID).Scan(&key); err != nil {
			return facts{}, fmt.Errorf("shipment %s: %w", c.Data.ShipmentID, err)
		}
		if key != nil {
			f.Link = c.publicURL + "/track/" + c.Tenant + "/" + *key
		}
	}
	if f.Link == "" && c.Data.LabelPath != "" && c.publicURL != "" {
		f.Link = c.publicURL + c.Data.LabelPath
	}
	for _, number := range c.Data.Tracking {
		f.Tracking = append(f.Tracking, oneLine(number))
	}
	if c.Data.Amount > 0 {
		f.Amount = money.Format(c.Data.Amount, c.Data.Currency)
	}
	if c.Data.By != nil {
		f.By = day(*c.Data.By, shop.Settings.TimeZone, shop.Settings.Notices.Language)
	}
	var currency money.Currency
	var shipping, total int64
	err := tx.QueryRow(ctx, `SELECT number, currency, shipping_total, total FROM orders WHERE tenant = $1 AND id = $2
	  UNION ALL SELECT number, currency, shipping_total, total FROM checkouts WHERE tenant = $1 AND id = $2 LIMIT 1`, c.Tenant, c.Subject).Scan(&f.Number, &currency, &shipping, &total)
	if err != nil {
		return f, fmt.Errorf("what %s is: %w", c.Subject, err)
	}
	rows, err := tx.Query(ctx, `SELECT sku, name, quantity, total FROM order_lines WHERE tenant = $1 AND order_id = $2 ORDER BY position`, c.Tenant, c.Subject)
	if err != nil {
		return f, fmt.Errorf("lines of %s: %w", c.Subject, err)
	}
	names := map[string]string{}
	var sku, name string
	var quantity int
	var lineTotal int64
	_, err = pgx.ForEachRow(rows, []any{&sku, &name, &quantity, &lineTotal}, func() error {
		names[sku] = oneLine(name)
		if c.Kind == OrderPaid {
			f.Lines = append(f.Lines, factLine{quantity, oneLine(name), money.Format(lineTotal, currency)})
		}
		return nil
	})
	if err != nil {
		return f, fmt.Errorf("lines of %s: %w", c.Subject, err)
	}
	for _, u := range c.Data.Units {
		known := names[u.SKU]
		if known == "" {
			known = oneLine(u.SKU)
		}
		f.Lines = append(f.Lines, factLine{Quantity: u.Quantity, Name: known})
	}
	if c.Kind == OrderPaid {
		f.Shipping, f.Total = money.Format(shipping, currency), money.Format(total, currency)
	}
	return f, nil
}

// firstName is how the buyer is greeted: the first word, when it is a name.
func firstName(name string) string {
	first, _, _ := strings.Cut(oneLine(name), " ")
	if len(first) > 40 || !strings.ContainsFunc(first, unicode.IsLetter) || strings.ContainsAny(first, "/:@.") {
		return ""
	}
	return first
}

// oneLine takes what could begin another line, or another header, out of a text.
func oneLine(text string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))), " ")
}

// webAddress is a link that is safe to follow, or nothing.
func webAddress(link string) string {
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	return u.String()
}

// day writes a date as people say it, where the shop is.
func day(at time.Time, zone, language string) string {
	if where, err := time.LoadLocation(zone); err == nil {
		at = at.In(where)
	}
	if language == "en" {
		return at.Format("Monday 2 January")
	}
	return fmt.Sprintf("%s %d de %s", weekdays[at.Weekday()], at.Day(), months[at.Month()-1])
}

var (
	weekdays = []string{"domingo", "lunes", "martes", "miércoles", "jueves", "viernes", "sábado"}
	months   = []string{"enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"}
)
