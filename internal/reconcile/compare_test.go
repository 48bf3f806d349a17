package reconcile

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

var today = func() Day {
	d, err := DayIn("2026-11-19", santiago)
	if err != nil {
		panic(err)
	}
	return d
}()

var noon = today.From.Add(12 * time.Hour)

// books are those of the day, looked at the next morning.
func books(change func(b *Books)) Books {
	b := Books{Day: today, Source: FromAPI, Now: today.To.Add(6 * time.Hour)}
	change(&b)
	return b
}

func paid(id string, amount int64, change ...func(c *Charge)) Charge {
	c := Charge{PaymentID: id, Reference: "ref-" + id, CaptureRef: "cap-" + id, Status: payment.StatusCaptured, Amount: amount, Captured: true, Currency: "CLP", At: noon, BegunAt: noon.Add(-time.Minute)}
	for _, f := range change {
		f(&c)
	}
	return c
}

func charged(id string, amount int64, change ...func(l *Line)) Line {
	l := Line{Source: FromAPI, Kind: payment.ChargeTransaction, Key: "cap-" + id, PaymentID: id, CaptureRef: "cap-" + id, Amount: amount, Currency: "CLP", Outcome: payment.OutcomeApproved, Captured: true, At: noon}
	for _, f := range change {
		f(&l)
	}
	return l
}

func back(id, of string, amount int64, change ...func(r *Refund)) Refund {
	r := Refund{RefundID: id, PaymentID: of, Reference: "re-" + id, Status: "succeeded", Amount: amount, Currency: "CLP", At: noon}
	for _, f := range change {
		f(&r)
	}
	return r
}

func given(id, of string, amount int64, change ...func(l *Line)) Line {
	l := Line{Source: FromAPI, Kind: payment.RefundTransaction, Key: "re-" + id, PaymentID: of, RefundReference: "re-" + id, Amount: amount, Currency: "CLP", Outcome: payment.OutcomeApproved, At: noon}
	for _, f := range change {
		f(&l)
	}
	return l
}

func status(s payment.Status) func(c *Charge) {
	return func(c *Charge) { c.Status, c.Captured = s, false }
}

func TestCompare_EachDifferenceHasItsEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change     func(b *Books)
		result     Result
		resolution Resolution
		repair     Repair
	}{
		"the same on both sides": {func(b *Books) { b.Charges, b.Lines = []Charge{paid("P", 1000)}, []Line{charged("P", 1000)} }, Matched, None, NoRepair},
		"found by the provider's name alone": {func(b *Books) {
			b.Charges, b.Lines = []Charge{paid("P", 1000)}, []Line{charged("P", 1000, func(l *Line) { l.PaymentID = "" })}
		}, Matched, None, NoRepair},
		"a fee that we did not know": {func(b *Books) {
			b.Charges, b.Lines = []Charge{paid("P", 1000)}, []Line{charged("P", 1000, func(l *Line) { l.Fee = 30 })}
		}, Matched, None, LearnFee},
		"another fee": {func(b *Books) {
			b.Charges, b.Lines = []Charge{paid("P", 1000, func(c *Charge) { c.Fee = 20 })}, []Line{charged("P", 1000, func(l *Line) { l.Fee = 30 })}
		}, DifferentFee, Repaired, LearnFee},
		"an approval that we lack": {func(b *Books) {
			b.Charges, b.Lines = []Charge{paid("P", 1000, status(payment.StatusExpired))}, []Line{charged("P", 1000)}
		}, MissingHere, Repaired, ApplyApproval},
		"an approval that we are about to learn of": {func(b *Books) {
			b.Charges = []Charge{paid("P", 1000, status(payment.StatusUnknown), func(c *Charge) { c.InMotion = true })}
			b.Lines = []Line{charged("P", 1000)}
		}, MissingHere, Explained, ApplyApproval},
		"an approval that the provider does not answer for any more": {func(b *Books) {
			b.AskableSince = noon.Add(time.Hour)
			b.Charges, b.Lines = []Charge{paid("P", 1000, status(payment.StatusExpired))}, []Line{charged("P", 1000)}
		}, MissingHere, Raised, NoRepair},
		"money of nobody's": {func(b *Books) { b.Lines = []Line{charged("X", 1000)} }, MissingHere, Raised, NoRepair},
		"captured there, authorized here": {func(b *Books) {
			b.Charges, b.Lines = []Charge{paid("P", 1000, status(payment.StatusAuthorized))}, []Line{charged("P", 1000)}
		}, DifferentState, Repaired, ApplyApproval},
		"authorized there, captured here": {func(b *Books) {
			b.Charges, b.Lines = []Charge{paid("P", 1000)}, []Line{charged("P", 1000, func(l *Line) { l.Captured = false })}
		}, DifferentState, Raised, NoRepair},
		"authorized on both sides": {func(b *Books) {
			b.Charges, b.Lines = []Charge{paid("P", 1000, status(payment.StatusAuthorized))}, []Line{charged("P", 1000, func(l *Line) { l.Captured = false })}
		}, Matched, None, NoRepair},
		"declined there": {func(b *Books) {
			b.Charges, b.Lines = []Charge{paid("P", 1000)}, []Line{charged("P", 1000, func(l *Line) { l.Outcome = payment.OutcomeDeclined })}
		}, DifferentState, Raised, NoRepair},
		"not there": {func(b *Books) { b.Charges = []Charge{paid("P", 1000)} }, MissingThere, Raised, NoRepair},
		"not there yet": {func(b *Books) {
			b.Now, b.Charges = noon.Add(5*time.Minute), []Charge{paid("P", 1000)}
		}, MissingThere, Explained, NoRepair},
		"too old to be asked about": {func(b *Books) {
			b.Source, b.AskableSince, b.Charges = FromQuestions, noon.Add(time.Hour), []Charge{paid("P", 1000)}
		}, MissingThere, Explained, NoRepair},
		"answered, and not in the settlement file": {func(b *Books) {
			b.Source, b.Charges, b.Lines = FromFile, []Charge{paid("P", 1000)}, []Line{charged("P", 1000, func(l *Line) { l.Source = FromQuestions })}
		}, MissingThere, Raised, NoRepair},
		"late in the day, the next file not here": {func(b *Books) {
			b.Source, b.Charges = FromFile, []Charge{paid("P", 1000, func(c *Charge) { c.At = today.To.Add(-time.Minute) })}
		}, MissingThere, Explained, NoRepair},
		"late in the day, the next file is here": {func(b *Books) {
			b.Source, b.NextKnown, b.Charges = FromFile, true, []Charge{paid("P", 1000, func(c *Charge) { c.At = today.To.Add(-time.Minute) })}
		}, MissingThere, Raised, NoRepair},
		"a dispute that we know": {func(b *Books) {
			b.Charges = []Charge{paid("P", 1000, func(c *Charge) { c.Status = payment.StatusDisputed })}
			b.Lines = []Line{charged("P", 1000, func(l *Line) { l.Dispute = payment.DisputeOpen })}
		}, Matched, None, NoRepair},
		"a dispute that nobody told of": {func(b *Books) {
			b.Charges, b.Lines = []Charge{paid("P", 1000)}, []Line{charged("P", 1000, func(l *Line) { l.Dispute = payment.DisputeLost })}
		}, DifferentState, Repaired, AskPayment},
		"another amount": {func(b *Books) { b.Charges, b.Lines = []Charge{paid("P", 1000)}, []Line{charged("P", 999)} }, DifferentAmount, Raised, NoRepair},
		"another currency": {func(b *Books) {
			b.Charges, b.Lines = []Charge{paid("P", 1000)}, []Line{charged("P", 1000, func(l *Line) { l.Currency = "USD" })}
		}, DifferentAmount, Raised, NoRepair},

		"a refund on both sides": {func(b *Books) { b.Refunds, b.Lines = []Refund{back("R", "P", 10)}, []Line{given("R", "P", 10)} }, Matched, None, NoRepair},
		"a refund by its amount": {func(b *Books) {
			b.Refunds, b.Lines = []Refund{back("R", "P", 10, anonymous)}, []Line{given("S", "P", 10)}
		}, Matched, None, NoRepair},
		"a refund that the file names otherwise": {func(b *Books) {
			b.Source, b.Refunds, b.Lines = FromFile, []Refund{back("R", "P", 10)}, []Line{given("S", "P", 10, func(l *Line) { l.Source = FromFile })}
		}, Matched, None, NoRepair},
		"a refund that the list names otherwise is another one": {func(b *Books) {
			b.Refunds, b.Lines = []Refund{back("R", "P", 10, func(r *Refund) { r.Status = "failed" })}, []Line{given("S", "P", 10)}
		}, MissingHere, Repaired, AskPayment},
		"a refund of another amount":  {func(b *Books) { b.Refunds, b.Lines = []Refund{back("R", "P", 10)}, []Line{given("R", "P", 11)} }, DifferentAmount, Raised, NoRepair},
		"a refund that is not there":  {func(b *Books) { b.Refunds = []Refund{back("R", "P", 10)} }, MissingThere, Raised, NoRepair},
		"a refund in the panel":       {func(b *Books) { b.Lines = []Line{given("R", "P", 10)} }, MissingHere, Repaired, AskPayment},
		"a refund of nobody's":        {func(b *Books) { b.Lines = []Line{given("R", "X", 10)} }, MissingHere, Raised, NoRepair},
		"a refund we were unsure of":  {refund("unknown", payment.OutcomeApproved, false), DifferentState, Repaired, WakeRefund},
		"a refund in motion here":     {refund("pending", payment.OutcomeApproved, true), DifferentState, Explained, WakeRefund},
		"a refund in motion there":    {refund("pending", payment.OutcomePending, true), DifferentState, Explained, NoRepair},
		"a refund that failed later":  {refund("succeeded", payment.OutcomeDeclined, false), DifferentState, Repaired, AskPayment},
		"a refund that failed here":   {refund("failed", payment.OutcomeApproved, false), DifferentState, Raised, NoRepair},
		"a refund not done there yet": {refund("succeeded", payment.OutcomePending, false), DifferentState, Raised, NoRepair},
		"a refund that was begun": {func(b *Books) {
			b.Refunds = []Refund{back("R", "P", 10, func(r *Refund) { r.Status, r.InMotion = "pending", true })}
		}, MissingThere, Explained, NoRepair},
		"a refund paid by hand": {func(b *Books) {
			b.Refunds = []Refund{back("R", "P", 10, func(r *Refund) { r.ByHand = true })}
		}, MissingThere, Explained, NoRepair},
		"a refund that the provider told of": {func(b *Books) {
			b.Source, b.Refunds = FromQuestions, []Refund{back("R", "P", 10, func(r *Refund) { r.Told = true })}
		}, MissingThere, Explained, NoRepair},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := books(c.change)
			if len(b.Charges) == 0 { // refunds are of a payment that nobody looks at here
				b.Charges = []Charge{paid("P", 1000, func(c *Charge) { c.At = today.From.Add(-48 * time.Hour) })}
			}
			items := Compare(b)
			require.Len(t, items, 1)
			require.Equal(t, c.result, items[0].Result)
			require.Equal(t, c.resolution, items[0].Resolution)
			require.Equal(t, c.repair, items[0].Repair)
			require.Equal(t, c.result == Matched, items[0].Note == "", items[0].Note)
		})
	}
}

func anonymous(r *Refund) { r.Reference = "" }

func refund(ours string, theirs payment.Outcome, inMotion bool) func(b *Books) {
	return func(b *Books) {
		b.Refunds = []Refund{back("R", "P", 10, func(r *Refund) { r.Status, r.InMotion = ours, inMotion })}
		b.Lines = []Line{given("R", "P", 10, func(l *Line) { l.Outcome = theirs })}
	}
}

func TestCompare_WhatNeverWasMoneyHasNoItem(t *testing.T) {
	t.Parallel()
	require.Empty(t, Compare(books(func(b *Books) {
		b.Charges = []Charge{paid("P", 1000, status(payment.StatusDeclined)), paid("Q", 1000, status(payment.StatusExpired)), paid("A", 1000, status(payment.StatusAuthorized))}
		b.Lines = []Line{charged("P", 1000, func(l *Line) { l.Outcome = payment.OutcomeDeclined }), charged("Z", 1000, func(l *Line) { l.Outcome = payment.OutcomePending })}
		b.Refunds = []Refund{back("R", "P", 10, func(r *Refund) { r.Status = "failed" })}
	})))
}

func TestCompare_SecondChargeOfAPaymentIsAskedForByNameElseRaised(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(l *Line)
		to     Resolution
		repair Repair
	}{
		"it has a name of its own": {func(l *Line) { l.CaptureRef = "another" }, Repaired, AskPayment},
		"it has none":              {func(l *Line) { l.CaptureRef = "" }, Raised, NoRepair},
		"it has the same name":     {func(*Line) {}, Raised, NoRepair},
	} {
		items := Compare(books(func(b *Books) {
			b.Charges = []Charge{paid("P", 1000)}
			b.Lines = []Line{charged("P", 1000), charged("P", 1000, func(l *Line) { l.Key, l.At = "zz", noon.Add(time.Minute); c.change(l) }), charged("P", 1000, func(l *Line) { l.Key, l.Outcome = "tried", payment.OutcomeDeclined })}
		}))
		require.Len(t, items, 2, name)
		require.Equal(t, Matched, items[0].Result, name)
		require.Equal(t, "cap-P", items[0].Line.Key, name)
		require.Equal(t, MissingHere, items[1].Result, name)
		require.Equal(t, c.to, items[1].Resolution, name)
		require.Equal(t, c.repair, items[1].Repair, name)
		require.Equal(t, "P", items[1].PaymentID, name)
	}
}

func TestCompare_ChargesUnderOneReferenceAreToldApartByTheirNames(t *testing.T) {
	t.Parallel()
	under := func(l *Line) { l.PaymentID = "P" } // the provider knows no other id of ours
	items := Compare(books(func(b *Books) {
		b.Charges = []Charge{paid("P", 1000), paid("Q", 1000, func(c *Charge) { c.Reference, c.Status = c.CaptureRef, payment.StatusRefunded })}
		b.Refunds = []Refund{back("R", "Q", 1000)}
		b.Lines = []Line{charged("Q", 1000, under, func(l *Line) { l.At = noon.Add(-time.Second) }), charged("P", 1000), given("R", "P", 1000, func(l *Line) { l.CaptureRef = "cap-Q" })}
	}))
	require.Len(t, items, 3)
	for _, i := range items {
		require.Equal(t, Matched, i.Result)
		if i.Charge != nil {
			require.Equal(t, i.Charge.CaptureRef, i.Line.CaptureRef)
		} else {
			require.Equal(t, "Q", i.PaymentID)
		}
	}
	require.Equal(t, int64(0), Totals(items)[0].Difference)
}

func TestCompare_DayOfThePairIsTheProviders(t *testing.T) {
	t.Parallel()
	late := today.To.Add(-time.Second)
	b := books(func(b *Books) {
		b.Charges = []Charge{paid("P", 1000, func(c *Charge) { c.At = late })}
		b.Lines = []Line{charged("P", 1000, func(l *Line) { l.At = late.Add(2 * time.Second) })}
	})
	require.Empty(t, Compare(b))
	b.Day = DayOf(today.To, santiago)
	require.Len(t, Compare(b), 1)
}

func TestCompare_SettlementFileTakesThePlaceOfAnswers(t *testing.T) {
	t.Parallel()
	items := Compare(books(func(b *Books) {
		b.Source = FromFile
		b.Charges = []Charge{paid("P", 1000)}
		b.Lines = []Line{charged("P", 1000, func(l *Line) { l.Source, l.Key = FromQuestions, "P" }), charged("P", 1000, func(l *Line) { l.Source, l.Fee, l.At = FromFile, 25, noon.Add(time.Hour) })}
	}))
	require.Len(t, items, 1)
	require.Equal(t, Matched, items[0].Result)
	require.EqualValues(t, 25, items[0].Line.Fee)
	require.Equal(t, []Total{{Currency: "CLP", OursCharged: 1000, TheirsCharged: 1000, Fees: 25}}, Totals(items))
}

func TestCompare_EqualRefundsOfAPaymentArePairedOneByOne(t *testing.T) {
	t.Parallel()
	items := Compare(books(func(b *Books) {
		b.Charges = []Charge{paid("P", 1000, func(c *Charge) { c.At = today.From.Add(-48 * time.Hour) })}
		b.Refunds = []Refund{back("R1", "P", 10, anonymous), back("R2", "P", 10), back("R3", "P", 10, anonymous)}
		b.Lines = []Line{given("x", "P", 10), given("R2", "P", 10), given("y", "P", 10), given("z", "P", 10)}
	}))
	results := map[Result]int{}
	for _, i := range items {
		results[i.Result]++
	}
	require.Equal(t, map[Result]int{Matched: 3, MissingHere: 1}, results)
}

// Over any stretch of days, each transaction of either side is in one item, and
// the items' totals are those of the books.
func TestCompare_EveryTransactionIsInOneItem(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := books(func(b *Books) {})
		moment := func(label string) time.Time {
			return today.From.Add(time.Duration(rapid.IntRange(-90, 90).Draw(t, label)) * 37 * time.Minute)
		}
		amount := func(label string) int64 { return int64(rapid.IntRange(1, 3).Draw(t, label)) * 100 }
		currency := rapid.SampledFrom([]money.Currency{"CLP", "CLP", "CLP", "USD"})
		ids := rapid.SampledFrom([]string{"P1", "P2", "P3", "P4", "P5"})
		for n := range rapid.IntRange(0, 5).Draw(t, "payments") {
			c := paid(fmt.Sprintf("P%d", n+1), amount("amount"), func(c *Charge) { c.At, c.Currency = moment("at"), currency.Draw(t, "currency") })
			if rapid.IntRange(0, 3).Draw(t, "taken") == 0 {
				status(rapid.SampledFrom([]payment.Status{payment.StatusPending, payment.StatusUnknown, payment.StatusExpired, payment.StatusAuthorized}).Draw(t, "status"))(&c)
			}
			b.Charges = append(b.Charges, c)
		}
		for n := range rapid.IntRange(0, 4).Draw(t, "refunds") {
			b.Refunds = append(b.Refunds, back(fmt.Sprintf("R%d", n+1), ids.Draw(t, "of"), amount("amount"), func(r *Refund) {
				r.At, r.Status = moment("at"), rapid.SampledFrom([]string{"succeeded", "succeeded", "pending", "unknown", "failed", "needs_attention"}).Draw(t, "status")
				if rapid.Bool().Draw(t, "anonymous") {
					r.Reference = ""
				}
			}))
		}
		outcome := rapid.SampledFrom([]payment.Outcome{payment.OutcomeApproved, payment.OutcomeApproved, payment.OutcomeApproved, payment.OutcomePending, payment.OutcomeDeclined, payment.OutcomeUnknown})
		for n := range rapid.IntRange(0, 8).Draw(t, "lines") {
			change := func(l *Line) {
				l.Key, l.At, l.Outcome, l.Currency = fmt.Sprintf("K%d", n), moment("at"), outcome.Draw(t, "outcome"), currency.Draw(t, "currency")
				if rapid.IntRange(0, 2).Draw(t, "unnamed") == 0 {
					l.PaymentID = ""
				}
			}
			if rapid.Bool().Draw(t, "charge") {
				b.Lines = append(b.Lines, charged(ids.Draw(t, "of"), amount("amount"), change))
			} else {
				b.Lines = append(b.Lines, given(fmt.Sprintf("R%d", rapid.IntRange(1, 5).Draw(t, "of refund")), ids.Draw(t, "of"), amount("amount"), change))
			}
		}
		seenLines, seenCharges, seenRefunds := map[string]int{}, map[string]int{}, map[string]int{}
		totals := map[money.Currency]*Total{}
		of := func(c money.Currency) *Total {
			if totals[c] == nil {
				totals[c] = &Total{Currency: c}
			}
			return totals[c]
		}
		for day := DayOf(today.From.Add(-72*time.Hour), santiago); day.From.Before(today.To.Add(72 * time.Hour)); day = DayOf(day.To, santiago) {
			b.Day = day
			items := Compare(b)
			for _, i := range items {
				if i.Line != nil {
					seenLines[i.Line.Key]++
				}
				if i.Charge != nil {
					seenCharges[i.Charge.PaymentID]++
				}
				if i.Refund != nil {
					seenRefunds[i.Refund.RefundID]++
				}
				require.Equal(t, i.Result == Matched, i.Resolution == None)
				require.Equal(t, i.Result == Matched, i.Difference() == "")
				require.False(t, i.Resolution == Raised && i.Repair != NoRepair)
			}
			for _, s := range Totals(items) {
				require.Equal(t, s.TheirsCharged-s.TheirsRefunded-s.OursCharged+s.OursRefunded, s.Difference)
				sum := of(s.Currency)
				sum.OursCharged += s.OursCharged
				sum.TheirsCharged += s.TheirsCharged
				sum.OursRefunded += s.OursRefunded
				sum.TheirsRefunded += s.TheirsRefunded
			}
		}
		want := map[money.Currency]*Total{}
		books := func(c money.Currency) *Total {
			if want[c] == nil {
				want[c] = &Total{Currency: c}
			}
			return want[c]
		}
		for _, c := range b.Charges {
			require.LessOrEqual(t, seenCharges[c.PaymentID], 1)
			if c.Captured {
				require.Equal(t, 1, seenCharges[c.PaymentID], c.PaymentID)
				books(c.Currency).OursCharged += c.Amount
			}
		}
		for _, r := range b.Refunds {
			require.LessOrEqual(t, seenRefunds[r.RefundID], 1)
			if r.Status != "failed" {
				require.Equal(t, 1, seenRefunds[r.RefundID], r.RefundID)
			}
			if r.Status == "succeeded" {
				books(r.Currency).OursRefunded += r.Amount
			}
		}
		for _, l := range b.Lines {
			require.LessOrEqual(t, seenLines[l.Key], 1)
			if l.Outcome != payment.OutcomeApproved {
				continue
			}
			require.Equal(t, 1, seenLines[l.Key], l.Key)
			if l.Kind == payment.RefundTransaction {
				books(l.Currency).TheirsRefunded += l.Amount
			} else {
				books(l.Currency).TheirsCharged += l.Amount
			}
		}
		for _, c := range []money.Currency{"CLP", "USD"} {
			require.Equal(t, *books(c), *of(c))
		}
	})
}

func TestLineOf_KeepsHowADisputeStands(t *testing.T) {
	t.Parallel()
	charge := payment.Transaction{Kind: payment.ChargeTransaction, CaptureRef: "pi_1", Outcome: payment.OutcomeApproved, Captured: true}
	require.Empty(t, LineOf(FromAPI, charge).Dispute)
	for _, status := range []payment.DisputeStatus{payment.DisputeOpen, payment.DisputeWon, payment.DisputeLost} {
		charge.Dispute = &payment.Dispute{Reference: "dp_1", Status: status}
		require.Equal(t, status, LineOf(FromAPI, charge).Dispute)
	}
}
