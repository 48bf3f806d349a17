package reconcile

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/cardnumber"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// SettlementColumns is the header of a settlement file.
var SettlementColumns = []string{"date", "commerce_code", "buy_order", "authorization_code", "kind", "amount", "currency", "fee", "reference"}

// settlements read a gateway's file: one function a gateway, because each
// provider's portal has a form of its own.
//
// The form of Transbank's is not public (the portal's settlement reports are
// behind the merchant's login, and the developers' documents do not describe
// them): it is unconfirmed, and until it is known the shop maps it to ours. A
// parser of the real form takes this one's place here.
var settlements = map[payment.Name]func(io.Reader, Day, *time.Location) ([]Line, error){
	payment.Transbank:   readNeutral,
	payment.MercadoPago: readNeutral,
	payment.Stripe:      readNeutral,
	payment.Flow:        readNeutral,
	payment.Khipu:       readNeutral,
}

// BadRow is what is wrong with a line of a settlement file.
type BadRow struct {
	// Line counts from 1; the header is line 1.
	Line int
	// Column is empty when the whole line is at fault.
	Column string
	Why    string
}

// BadFile is returned for a file with lines that can't be read. Nothing of such
// a file is kept.
type BadFile struct {
	// Rows are the first mostBadRows of them.
	Rows []BadRow
	More bool
}

const mostBadRows = 50

func (e *BadFile) Error() string {
	r := e.Rows[0]
	return fmt.Sprintf("line %d: %s", r.Line, strings.TrimSpace(r.Column+" "+r.Why))
}

// ErrNoSettlement is returned for a gateway whose file can't be read.
var ErrNoSettlement = errors.New("no settlement files of this gateway")

// mostLines bounds a day's file: 32 MiB have fewer lines that mean anything.
const mostLines = 1_000_000

// ParseSettlement reads a gateway's settlement file of a day. Amounts are in
// minor units. A *BadFile names the lines that can't be read; other errors are
// the reader's.
func ParseSettlement(gateway payment.Name, r io.Reader, day Day, zone *time.Location) ([]Line, error) {
	read, ok := settlements[gateway]
	if !ok {
		return nil, ErrNoSettlement
	}
	return read(r, day, zone)
}

// readNeutral reads our own form: a header of SettlementColumns in any order,
// then a transaction a line. A date without a time is in the middle of the day.
func readNeutral(r io.Reader, day Day, zone *time.Location) ([]Line, error) {
	buffered := bufio.NewReader(r)
	if mark, err := buffered.Peek(3); err == nil && bytes.Equal(mark, []byte("\ufeff")) {
		if _, err := buffered.Discard(3); err != nil {
			return nil, err
		}
	}
	c := csv.NewReader(buffered)
	c.FieldsPerRecord = -1
	c.ReuseRecord = true
	bad := &BadFile{}
	header, err := c.Read()
	if errors.Is(err, io.EOF) {
		bad.add(1, "", "the file is empty: want the header "+strings.Join(SettlementColumns, ","))
		return nil, bad
	}
	if bad.addSyntax(err) {
		return nil, bad
	}
	if err != nil {
		return nil, err
	}
	at := map[string]int{}
	for i, name := range header {
		name = strings.TrimSpace(name)
		if !slices.Contains(SettlementColumns, name) {
			bad.add(1, clip(name), "no such column")
		} else if _, twice := at[name]; twice {
			bad.add(1, name, "named twice")
		}
		at[name] = i
	}
	for _, name := range SettlementColumns {
		if _, ok := at[name]; !ok {
			bad.add(1, name, "is missing")
		}
	}
	if len(bad.Rows) > 0 {
		return nil, bad
	}
	lines := []Line{}
	seen := map[string]int{}
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if bad.addSyntax(err) {
			break // after a broken quote the lines can't be told apart
		}
		if err != nil {
			return nil, err
		}
		number, _ := c.FieldPos(0)
		if len(record) != len(header) {
			bad.add(number, "", fmt.Sprintf("has %d columns, the header %d", len(record), len(header)))
			continue
		}
		if len(lines) >= mostLines {
			bad.add(number, "", "more lines than a day's file may have")
			break
		}
		field := func(name string) string { return strings.TrimSpace(record[at[name]]) }
		l, ok := readRow(field, number, day, zone, bad)
		if !ok {
			continue
		}
		name := string(l.Kind) + " " + l.Key
		if earlier, repeated := seen[name]; repeated {
			bad.add(number, "", fmt.Sprintf("the same transaction as line %d", earlier))
			continue
		}
		seen[name] = number
		lines = append(lines, l)
	}
	if len(bad.Rows) > 0 {
		return nil, bad
	}
	return lines, nil
}

// readRow reads one transaction; what is wrong with it is added to bad.
func readRow(field func(string) string, number int, day Day, zone *time.Location, bad *BadFile) (l Line, ok bool) {
	ok = true
	fault := func(column, why string) {
		ok = false
		bad.add(number, column, why)
	}
	l.Source, l.Outcome = FromFile, payment.OutcomeApproved
	if l.At, ok = readDate(field("date"), zone); !ok {
		fault("date", "want a day like 2026-11-20, or a time like 2026-11-20T14:05:00-03:00")
	} else if !day.Has(l.At) {
		fault("date", "is not in "+day.Date)
	}
	switch l.Kind = payment.TransactionKind(field("kind")); l.Kind {
	case payment.ChargeTransaction:
		l.Captured = true
	case payment.RefundTransaction:
	default:
		fault("kind", "want charge or refund")
	}
	var err error
	if l.Currency, err = money.ParseCurrency(field("currency")); err != nil {
		fault("currency", "want an ISO 4217 code such as CLP")
	}
	if l.Amount, err = strconv.ParseInt(field("amount"), 10, 64); err != nil || l.Amount <= 0 || l.Amount > mostAmount {
		fault("amount", "want a whole number of the currency's minor unit, above zero")
	}
	if fee := field("fee"); fee != "" {
		if l.Fee, err = strconv.ParseInt(fee, 10, 64); err != nil || l.Fee < 0 || l.Fee > mostAmount {
			fault("fee", "want a whole number of the currency's minor unit, or nothing")
		}
	}
	order, code, reference := field("buy_order"), field("authorization_code"), field("reference")
	for _, column := range []string{"commerce_code", "buy_order", "authorization_code", "reference"} {
		value := field(column)
		if len(value) > 200 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }) {
			fault(column, "want at most 200 bytes of text")
		} else if cardnumber.In(value) {
			fault(column, "looks like the number of a payment card, which must not be sent here")
		}
	}
	if order == "" && reference == "" {
		fault("buy_order", "is needed where there is no reference")
	}
	if !ok {
		return l, false
	}
	if id.Valid(order) {
		l.PaymentID = order
	}
	l.Reference = order
	if l.Kind == payment.RefundTransaction {
		l.RefundReference = reference
	} else if reference != "" {
		l.CaptureRef = reference
	}
	l.Key = reference
	if l.Key == "" {
		l.Key = order + ":" + code
		if l.Kind == payment.RefundTransaction {
			l.Key += ":" + strconv.FormatInt(l.Amount, 10)
		}
	}
	return l, true
}

// mostAmount is far above any payment, and far below what a sum of a day's
// could overflow with.
const mostAmount = 1_000_000_000_000

func readDate(s string, zone *time.Location) (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC(), true
	}
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return time.Time{}, false
	}
	return time.Date(d.Year(), d.Month(), d.Day(), 12, 0, 0, 0, zone).UTC(), true
}

func (e *BadFile) add(line int, column, why string) {
	if len(e.Rows) == mostBadRows {
		e.More = true
		return
	}
	e.Rows = append(e.Rows, BadRow{line, column, why})
}

// addSyntax notes a file that is not CSV.
func (e *BadFile) addSyntax(err error) bool {
	var syntax *csv.ParseError
	if !errors.As(err, &syntax) {
		return false
	}
	e.add(syntax.Line, "", "is not CSV: "+syntax.Err.Error())
	return true
}

func clip(s string) string {
	if len(s) > 40 {
		s = s[:40]
	}
	return strings.ToValidUTF8(s, "?")
}
