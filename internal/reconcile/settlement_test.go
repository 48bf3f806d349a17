package reconcile

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/payment"
)

const (
	header = "date,commerce_code,buy_order,authorization_code,kind,amount,currency,fee,reference\n"
	order  = "01JCQZ5Y3N8W2K4T6V7X9ABCDE"
)

func parse(t *testing.T, file string) []Line {
	t.Helper()
	lines, err := ParseSettlement(payment.Transbank, strings.NewReader(file), today, santiago)
	require.NoError(t, err)
	return lines
}

func TestSettlement_LinesAreReadAsTheyStand(t *testing.T) {
	t.Parallel()
	lines := parse(t, "\ufeff"+header+
		"2026-11-19,597055555532,"+order+",1213,charge,29970,clp,386,\r\n"+
		"2026-11-19T23:59:59-03:00,597055555532,"+order+",1213,refund,1000,CLP,,nc-77\n"+
		`2026-11-19, 597055555532 ,"pedido ""a"", 3",8,charge,100,USD,0,`+"\n")
	require.Equal(t, []Line{
		{Source: FromFile, Kind: payment.ChargeTransaction, Key: order + ":1213", PaymentID: order, Reference: order, Amount: 29970, Fee: 386, Currency: "CLP", Outcome: payment.OutcomeApproved, Captured: true,
			At: time.Date(2026, 11, 19, 15, 0, 0, 0, time.UTC)},
		{Source: FromFile, Kind: payment.RefundTransaction, Key: "nc-77", PaymentID: order, Reference: order, RefundReference: "nc-77", Amount: 1000, Currency: "CLP", Outcome: payment.OutcomeApproved,
			At: time.Date(2026, 11, 20, 2, 59, 59, 0, time.UTC)},
		{Source: FromFile, Kind: payment.ChargeTransaction, Key: `pedido "a", 3:8`, Reference: `pedido "a", 3`, Amount: 100, Currency: "USD", Outcome: payment.OutcomeApproved, Captured: true,
			At: time.Date(2026, 11, 19, 15, 0, 0, 0, time.UTC)},
	}, lines)
}

func TestSettlement_ColumnsMayStandInAnyOrder(t *testing.T) {
	t.Parallel()
	lines := parse(t, "reference,fee,currency,amount,kind,authorization_code,buy_order,commerce_code,date\nr1,5,CLP,10,charge,1,o1,c,2026-11-19\n")
	require.Len(t, lines, 1)
	require.Equal(t, "r1", lines[0].Key)
	require.Empty(t, parse(t, header), "a day without sales")
}

func TestSettlement_EachFaultIsNamedByItsLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file string
		want []BadRow
	}{
		"empty":              {"", []BadRow{{1, "", "the file is empty: want the header " + strings.TrimSpace(header)}}},
		"another header":     {strings.Replace(header, "fee", "comision", 1), []BadRow{{1, "comision", "no such column"}, {1, "fee", "is missing"}}},
		"a column twice":     {strings.Replace(header, "commerce_code", "fee", 1), []BadRow{{1, "fee", "named twice"}, {1, "commerce_code", "is missing"}}},
		"another day":        {header + "2026-11-20,,o,1,charge,1,CLP,,\n", []BadRow{{2, "date", "is not in 2026-11-19"}}},
		"no name":            {header + "2026-11-19,,,1,charge,1,CLP,,\n", []BadRow{{2, "buy_order", "is needed where there is no reference"}}},
		"a fraction":         {header + "2026-11-19,,o,1,charge,1.5,CLP,,\n", []BadRow{{2, "amount", "want a whole number of the currency's minor unit, above zero"}}},
		"too much":           {header + "2026-11-19,,o,1,charge,9999999999999999999,CLP,,\n", []BadRow{{2, "amount", "want a whole number of the currency's minor unit, above zero"}}},
		"repeated":           {header + "2026-11-19,,o,1,charge,1,CLP,,\n\n2026-11-19,,o,1,charge,1,CLP,,\n", []BadRow{{4, "", "the same transaction as line 2"}}},
		"a broken quote":     {header + "2026-11-19,,\"o,1,charge,1,CLP,,\n", []BadRow{{2, "", `is not CSV: extraneous or missing " in quoted-field`}}},
		"a card's number":    {header + "2026-11-19,,o,1,charge,1,CLP,,4111111111111111\n", []BadRow{{2, "reference", "looks like the number of a payment card, which must not be sent here"}}},
		"what is no text":    {header + "2026-11-19,,o\x00,1,charge,1,CLP,,\n", []BadRow{{2, "buy_order", "want at most 200 bytes of text"}}},
		"what is no UTF-8":   {header + "2026-11-19,,o,1,charge,1,CLP,,r\xff\n", []BadRow{{2, "reference", "want at most 200 bytes of text"}}},
		"an unknown kind":    {header + "2026-11-19,,o,1,venta,1,CLP,,\n", []BadRow{{2, "kind", "want charge or refund"}}},
		"an unknown coin":    {header + "2026-11-19,,o,1,charge,1,UF,,\n", []BadRow{{2, "currency", "want an ISO 4217 code such as CLP"}}},
		"a fee that is none": {header + "2026-11-19,,o,1,charge,1,CLP,-1,\n", []BadRow{{2, "fee", "want a whole number of the currency's minor unit, or nothing"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseSettlement(payment.Transbank, strings.NewReader(c.file), today, santiago)
			var bad *BadFile
			require.ErrorAs(t, err, &bad)
			require.Equal(t, c.want, bad.Rows)
			require.NotEmpty(t, bad.Error())
		})
	}
}

func TestSettlement_ManyFaultsAreNotAllNamed(t *testing.T) {
	t.Parallel()
	_, err := ParseSettlement(payment.Transbank, strings.NewReader(header+strings.Repeat("x\n", 1000)), today, santiago)
	var bad *BadFile
	require.ErrorAs(t, err, &bad)
	require.Len(t, bad.Rows, mostBadRows)
	require.True(t, bad.More)
}

func TestSettlement_BrokenReaderIsNoFaultOfTheFile(t *testing.T) {
	t.Parallel()
	broke := errors.New("connection reset")
	_, err := ParseSettlement(payment.Transbank, iotest.ErrReader(broke), today, santiago)
	require.ErrorIs(t, err, broke)
	_, err = ParseSettlement("paypal", strings.NewReader(header), today, santiago)
	require.ErrorIs(t, err, ErrNoSettlement)
}

func FuzzParseSettlement(f *testing.F) {
	f.Add(header + "2026-11-19,597055555532," + order + ",1213,charge,29970,CLP,386,\n")
	f.Add(header + "2026-11-19T10:00:00Z,,o,1,refund,1,USD,,r\n\"a\nb\",,,,,,,,\n")
	f.Add("\ufeffdate")
	f.Fuzz(func(t *testing.T, file string) {
		lines, err := ParseSettlement(payment.Transbank, strings.NewReader(file), today, santiago)
		if err != nil {
			var bad *BadFile
			require.ErrorAs(t, err, &bad)
			require.NotEmpty(t, bad.Rows)
			for _, r := range bad.Rows {
				require.Positive(t, r.Line)
				require.NotEmpty(t, r.Why)
			}
			return
		}
		keys := map[string]bool{}
		for _, l := range lines {
			name := string(l.Kind) + " " + l.Key
			require.False(t, keys[name], name)
			keys[name] = true
			require.Positive(t, l.Amount)
			require.GreaterOrEqual(t, l.Fee, int64(0))
			require.True(t, today.Has(l.At))
			require.NotEmpty(t, l.Key)
			require.True(t, l.PaymentID == "" || id.Valid(l.PaymentID))
			require.Len(t, string(l.Currency), 3)
			require.Equal(t, payment.OutcomeApproved, l.Outcome)
		}
	})
}
