package transfer

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
)

// Receiving is what has arrived, in whole or in part.
type Receiving struct {
	Lines []ArrivedLine `json:"lines"`
	// Bin takes the goods; without one they are in the warehouse and in no bin.
	Bin string `json:"bin"`
	// AcceptOver takes in what was not sent too, and notes it.
	AcceptOver bool `json:"accept_over"`
	// OperationID names the operation, which is then done once; Version refuses it
	// when the transfer has another one by now (0 does not).
	OperationID string `json:"operation_id"`
	Version     int64  `json:"version"`
}

// ArrivedLine is units that have arrived, all of them whole or all of them
// damaged.
type ArrivedLine struct {
	// Code, SKU, Lot, Serials and Quantity are as in a DispatchLine.
	Code     string   `json:"code"`
	SKU      string   `json:"sku"`
	Lot      string   `json:"lot"`
	Serials  []string `json:"serials"`
	Quantity int      `json:"quantity"`
	Damaged  bool     `json:"damaged"`
}

func (l ArrivedLine) goods() goods { return goods{l.Code, l.SKU, l.Lot, l.Serials, l.Quantity} }

// Receive takes the goods into the receiver's stock: damaged ones, and those of a
// lot that has expired or is held by now, lie in the bin and can't be sold. It may
// be called for each part that arrives. More than is on the way is a 409
// more_than_sent; with AcceptOver it comes into stock as an adjustment and the
// transfer says so, also when the transfer is over. A serial that was not sent is
// refused always.
func Receive(ctx context.Context, tx pgx.Tx, tenant, transferID string, in Receiving, by stock.By) (Result, error) {
	a, err := begin(ctx, tx, tenant, transferID, "receive", operation{in.OperationID, in.Version}, in, by)
	if err != nil {
		return Result{}, err
	}
	if a.repeated {
		return a.duplicate()
	}
	if err := a.demand("nothing of it can arrive.", InTransit, PartiallyReceived, Received, ReceivedShort); err != nil {
		return Result{}, err
	}
	all, err := a.arriving(ctx, in.Lines, a.transfer.To, in.Bin)
	if err != nil {
		return Result{}, err
	}
	taken, over := a.compare(all)
	for i, p := range all {
		if taken[i] < p.quantity && (p.serial != "" || !in.AcceptOver) {
			return Result{}, a.moreThanSent(over)
		}
	}
	for i, p := range all {
		if err := a.receive(ctx, p, taken[i], in.Bin); err != nil {
			return Result{}, err
		}
	}
	due := a.now.Add(restPatience)
	return a.finish(ctx, &due)
}

// arriving finds out what has arrived.
func (a *action) arriving(ctx context.Context, lines []ArrivedLine, warehouse, bin string) ([]pile, error) {
	var f problem.Fields
	var all []pile
	checkCount(&f, len(lines))
	if err := a.checkBin(ctx, &f, warehouse, bin); err != nil {
		return nil, err
	}
	for i, l := range lines[:min(len(lines), mostLines)] {
		list, err := a.piles(ctx, &f, fmt.Sprintf("lines[%d]", i), l.goods())
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			p.damaged = l.Damaged
			a.knownUnit(&p)
			all = append(all, p)
		}
	}
	inOrder(&f, all)
	return all, f.Err()
}

// compare takes piles from what is on the way: how much of each, and which lines
// name more.
func (a *action) compare(all []pile) (taken []int, over []excess) {
	taken = make([]int, len(all))
	for i, p := range all {
		there := a.left(p.key)
		if taken[i] = a.take(p); taken[i] < p.quantity {
			over = append(over, excess{SKU: p.sku, Lot: p.lot, Serial: p.serial, Quantity: p.quantity, InTransit: there})
		}
	}
	return taken, over
}

// receive takes a pile in, as far as it was sent, and the rest as what was not.
func (a *action) receive(ctx context.Context, p pile, sent int, bin string) error {
	if sent > 0 {
		if err := a.bringIn(ctx, p, sent, a.transfer.To, bin, "transfer_in", "from "+a.transfer.From); err != nil {
			return err
		}
		kind := "received"
		if p.damaged {
			kind = "damaged"
		}
		if err := a.note(ctx, kind, p.key, sent, bin, ""); err != nil {
			return err
		}
	}
	over := p.quantity - sent
	if over == 0 {
		return nil
	}
	if p.lot != "" {
		same, err := stock.PutLot(ctx, a.tx, a.tenant, stock.Lot{SKU: p.sku, Lot: p.lot, ExpiresOn: p.expiresOn})
		if err != nil {
			return err
		}
		if !same {
			var f problem.Fields
			f.Add(p.field+".lot", "invalid", "lot %s of %s is known with another day of expiry", p.lot, p.sku)
			return f.Err()
		}
	}
	if err := a.bringIn(ctx, p, over, a.transfer.To, bin, "adjustment", "not sent by "+a.transfer.From); err != nil {
		return err
	}
	return a.note(ctx, "over", p.key, over, bin, "")
}
