package transfer

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
)

// Closing names what was lost on the way.
type Closing struct {
	Lost []LostLine `json:"lost"`
	// OperationID names the operation, which is then done once; Version refuses it
	// when the transfer has another one by now (0 does not).
	OperationID string `json:"operation_id"`
	Version     int64  `json:"version"`
}

// LostLine is units that will not arrive, and why.
type LostLine struct {
	SKU      string   `json:"sku"`
	Lot      string   `json:"lot"`
	Serials  []string `json:"serials"`
	Quantity int      `json:"quantity"`
	// Reason is 1 to 200 bytes, in words.
	Reason string `json:"reason"`
}

// Close writes units off that were lost on the way, each named with a reason. The
// transfer is over when none is left on the way; what is not named stays in
// transit. To name none is a 409 units_on_the_way with those that are.
func Close(ctx context.Context, tx pgx.Tx, tenant, transferID string, in Closing, by stock.By) (Result, error) {
	a, err := begin(ctx, tx, tenant, transferID, "close", operation{in.OperationID, in.Version}, in, by)
	if err != nil {
		return Result{}, err
	}
	if a.repeated {
		return a.duplicate()
	}
	if err := a.demand("nothing of it is on the way.", InTransit, PartiallyReceived); err != nil {
		return Result{}, err
	}
	if len(in.Lost) == 0 {
		return Result{}, a.refuse("units_on_the_way", "Units are on the way: name those that were lost, or receive them.").With("units", a.rest())
	}
	all, err := a.lost(ctx, in.Lost)
	if err != nil {
		return Result{}, err
	}
	return a.lose(ctx, all)
}

// LoseRest writes everything off that is on the way. A transfer that is over by
// now stays as it is, so that a repetition does no harm.
func LoseRest(ctx context.Context, tx pgx.Tx, tenant, transferID, reason string, by stock.By) (Result, error) {
	a, err := begin(ctx, tx, tenant, transferID, "lose", operation{}, reason, by)
	if err != nil {
		return Result{}, err
	}
	if a.demand("", InTransit, PartiallyReceived) != nil {
		return a.duplicate()
	}
	var all []pile
	for _, u := range a.transfer.Units {
		if u.InTransit > 0 {
			all = append(all, pile{key: key{u.SKU, u.Lot, u.Serial}, quantity: u.InTransit, reason: reason})
		}
	}
	return a.lose(ctx, all)
}

func (a *action) lose(ctx context.Context, all []pile) (Result, error) {
	if _, over := a.compare(all); len(over) > 0 {
		return Result{}, a.moreThanSent(over)
	}
	for _, p := range all {
		if err := a.note(ctx, "lost", p.key, p.quantity, "", p.reason); err != nil {
			return Result{}, err
		}
	}
	return a.finish(ctx, nil)
}

func (a *action) lost(ctx context.Context, lines []LostLine) ([]pile, error) {
	var f problem.Fields
	var all []pile
	if len(lines) > mostLines {
		f.Add("lost", "too_many", "at most %d", mostLines)
	}
	for i, l := range lines[:min(len(lines), mostLines)] {
		field := fmt.Sprintf("lost[%d]", i)
		switch {
		case strings.TrimSpace(l.Reason) == "":
			f.Add(field+".reason", "required", "say how they were lost")
		case len(l.Reason) > 200:
			f.Add(field+".reason", "too_long", "at most 200 bytes")
		}
		list, err := a.piles(ctx, &f, field, goods{sku: l.SKU, lot: l.Lot, serials: l.Serials, quantity: l.Quantity})
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			p.reason = l.Reason
			a.knownUnit(&p)
			all = append(all, p)
		}
	}
	inOrder(&f, all)
	return all, f.Err()
}

// rest is what is on the way.
func (a *action) rest() []excess {
	out := []excess{}
	for _, u := range a.transfer.Units {
		if u.InTransit > 0 {
			out = append(out, excess{SKU: u.SKU, Lot: u.Lot, Serial: u.Serial, Quantity: u.InTransit, InTransit: u.InTransit})
		}
	}
	return out
}

// Cancelling gives a transfer up.
type Cancelling struct {
	// Recall takes goods that are on the way back into the sender's stock: those
	// of Lines, or everything.
	Recall bool `json:"recall"`
	// Bin of the sender takes what comes back.
	Bin   string        `json:"bin"`
	Lines []ArrivedLine `json:"lines"`
	// OperationID names the operation, which is then done once; Version refuses it
	// when the transfer has another one by now (0 does not).
	OperationID string `json:"operation_id"`
	Version     int64  `json:"version"`
}

// Cancel gives up a transfer that was not dispatched. After that only a recall
// does: what is on the way, or the part of it that is named, is received back at
// the sender. A transfer is cancelled when all of it has come back.
func Cancel(ctx context.Context, tx pgx.Tx, tenant, transferID string, in Cancelling, by stock.By) (Result, error) {
	a, err := begin(ctx, tx, tenant, transferID, "cancel", operation{in.OperationID, in.Version}, in, by)
	if err != nil {
		return Result{}, err
	}
	if a.repeated {
		return a.duplicate()
	}
	if a.transfer.Status == Requested && !in.Recall {
		return a.finish(ctx, nil)
	}
	if !in.Recall {
		return Result{}, a.demand("only what is on the way can be called back, with `recall`.", Requested)
	}
	if err := a.demand("nothing of it is on the way.", InTransit, PartiallyReceived); err != nil {
		return Result{}, err
	}
	back, err := a.comingBack(ctx, in)
	if err != nil {
		return Result{}, err
	}
	if _, over := a.compare(back); len(over) > 0 {
		return Result{}, a.moreThanSent(over)
	}
	for _, p := range back {
		if err := a.bringIn(ctx, p, p.quantity, a.transfer.From, in.Bin, "transfer_in", "recalled from "+a.transfer.To); err != nil {
			return Result{}, err
		}
		if err := a.note(ctx, "recalled", p.key, p.quantity, in.Bin, ""); err != nil {
			return Result{}, err
		}
	}
	return a.finish(ctx, nil)
}

func (a *action) comingBack(ctx context.Context, in Cancelling) ([]pile, error) {
	if len(in.Lines) > 0 {
		return a.arriving(ctx, in.Lines, a.transfer.From, in.Bin)
	}
	var f problem.Fields
	if err := a.checkBin(ctx, &f, a.transfer.From, in.Bin); err != nil {
		return nil, err
	}
	var all []pile
	for _, u := range a.transfer.Units {
		if u.InTransit > 0 {
			all = append(all, pile{key: key{u.SKU, u.Lot, u.Serial}, quantity: u.InTransit})
		}
	}
	return all, f.Err()
}
