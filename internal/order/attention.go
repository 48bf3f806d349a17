package order

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/timeline"
)

// RaiseAttention says why a person is needed for an order, beside the reasons
// that there are; the same again changes nothing, nor does a subject that is no
// order. The order shows what concerns its money first, then what has waited
// longest.
func RaiseAttention(ctx context.Context, tx pgx.Tx, tenant, orderID, reason string) error {
	_, err := tx.Exec(ctx, `INSERT INTO order_attention (tenant, order_id, reason, since) SELECT tenant, id, $3, clock_timestamp() FROM orders WHERE tenant = $1 AND id = $2 ON CONFLICT DO NOTHING`, tenant, orderID, reason)
	if err != nil {
		return fmt.Errorf("attention for order %s: %w", orderID, err)
	}
	return nil
}

// LowerAttention takes a reason for a person back that is over. The others stay.
func LowerAttention(ctx context.Context, tx pgx.Tx, tenant, orderID, reason string) error {
	_, err := tx.Exec(ctx, `DELETE FROM order_attention WHERE tenant = $1 AND order_id = $2 AND reason = $3`, tenant, orderID, reason)
	if err != nil {
		return fmt.Errorf("attention of order %s: %w", orderID, err)
	}
	return nil
}

// verbClear is what a person can do about an order's attention: say that it was
// seen to. kindCleared is its event.
const (
	verbClear   = "clear"
	kindCleared = "attention_cleared"
)

// Clearing is a person's word that an order's attention was seen to.
type Clearing struct {
	Tenant, OrderID string
	// Attention is the reason that the person has seen to; others stay.
	Attention string
	// Who and why: Actor names the person, KeyID the API key.
	Actor, KeyID, Reason string
}

// Clear takes back a reason for an order's attention that a person has seen to,
// and records who did and why. The order's other reasons stay. It is 404 for
// another tenant's order, and 409 when the order does not ask for attention for
// this reason, or when what it asks for ends by itself: with the parked step, the
// dispute or the shortage behind it. A new cause asks again. Parcels that are
// frozen stay so.
func Clear(ctx context.Context, tx pgx.Tx, c Clearing) error {
	if err := c.check(); err != nil {
		return err
	}
	var attention *string
	var asked, disputed, short bool
	err := tx.QueryRow(ctx, `SELECT attention,
	     EXISTS (SELECT FROM order_attention a WHERE a.tenant = o.tenant AND a.order_id = o.id AND a.reason = $3),
	     EXISTS (SELECT FROM disputes d JOIN payments p ON p.tenant = d.tenant AND p.id = d.payment_id WHERE p.tenant = o.tenant AND p.order_id = o.id AND p.applied AND d.status = 'open'),
	     EXISTS (SELECT FROM holds h WHERE h.tenant = o.tenant AND h.id = o.hold_id AND h.status = 'short')
	  FROM orders o WHERE o.tenant = $1 AND o.id = $2 FOR UPDATE OF o`, c.Tenant, c.OrderID, c.Attention).Scan(&attention, &asked, &disputed, &short)
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.Missing("order")
	}
	if err != nil {
		return fmt.Errorf("attention of order %s: %w", c.OrderID, err)
	}
	switch {
	case attention == nil:
		return problem.New(problem.Conflict, "attention_changed", "This order asks for nobody.").With("attention", nil)
	case !asked:
		return problem.New(problem.Conflict, "attention_changed", "This order asks for attention for another reason: "+*attention+".").With("attention", *attention)
	case disputed && c.Attention == attentionDisputed:
		return held("The dispute is open: it ends with the provider's decision.")
	case short && c.Attention == attentionShort:
		return held("Units of this order are still missing: it ends when they are found, or the order is changed.")
	}
	var workflowID, step string
	err = tx.QueryRow(ctx, `SELECT workflow_id, step FROM parked WHERE tenant = $1 AND subject = $2 AND reason = $3 AND resolved_at IS NULL ORDER BY since, step LIMIT 1`,
		c.Tenant, c.OrderID, c.Attention).Scan(&workflowID, &step)
	if err == nil {
		return held("The step "+step+" of "+workflowID+" waits for a person: use one of its verbs.").With("workflow_id", workflowID).With("step", step)
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("parked steps of order %s: %w", c.OrderID, err)
	}
	if err := LowerAttention(ctx, tx, c.Tenant, c.OrderID, c.Attention); err != nil {
		return err
	}
	return c.record(ctx, tx)
}

// Reasons that last as long as their cause.
const (
	attentionDisputed = "disputed"
	attentionShort    = "short_stock"
)

func held(why string) *problem.Error { return problem.New(problem.Conflict, "attention_held", why) }

func (c Clearing) check() error {
	var f problem.Fields
	for _, field := range []struct {
		name, value string
		most        int
	}{{"clear", c.Attention, 100}, {"reason", c.Reason, 500}, {"actor", c.Actor, 500}} {
		switch {
		case field.value == "":
			f.Add(field.name, "required", "must not be empty")
		case len(field.value) > field.most:
			f.Add(field.name, "too_long", "at most %d bytes", field.most)
		}
	}
	return f.Err()
}

// record keeps who cleared a reason and why. An order has no run of its own: its
// action is filed under its own name.
func (c Clearing) record(ctx context.Context, tx pgx.Tx) error {
	detail, err := json.Marshal(map[string]string{"order_id": c.OrderID, "attention": c.Attention})
	if err != nil {
		return err
	}
	actionID := id.New()
	_, err = tx.Exec(ctx, `INSERT INTO support_actions (tenant, id, workflow_id, step, verb, actor, api_key_id, reason, detail, outcome) VALUES ($1,$2,$3,'attention',$4,$5,$6,$7,$8,'done')`,
		c.Tenant, actionID, "order:"+c.Tenant+":"+c.OrderID, verbClear, c.Actor, c.KeyID, c.Reason, detail)
	if err != nil {
		return fmt.Errorf("record clear of order %s: %w", c.OrderID, err)
	}
	return timeline.Add(ctx, tx, c.Tenant, c.OrderID, kindCleared, "support", map[string]any{"attention": c.Attention, "action_id": actionID, "by": c.Actor, "reason": c.Reason})
}

// unsigned are the events of an order without what staff wrote for each other.
func unsigned(events []timeline.Event) []timeline.Event {
	out := make([]timeline.Event, len(events))
	for i, e := range events {
		if out[i] = e; e.Kind != kindCleared {
			continue
		}
		out[i].Data = map[string]any{"attention": e.Data["attention"], "action_id": e.Data["action_id"]}
	}
	return out
}
