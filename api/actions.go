package api

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/shipping"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/counting"
	"justlogistics/internal/warehouse/operator"
	"justlogistics/internal/warehouse/picking"
	places "justlogistics/internal/warehouse/place"
	"justlogistics/internal/warehouse/receiving"
	"justlogistics/internal/warehouse/transfer"
)

// apply is what a kind of command does with what was scanned.
type apply[T any] func(ctx context.Context, tx pgx.Tx, c operator.Command, subject string, in T, by stock.By) (operator.Effect, error)

// action reads a command's task, which must be of the kind given (none when it is
// empty), and what was scanned, in the form of the endpoint that does the same.
func action[T any](ability, task string, physical bool, do apply[T]) operator.Action {
	return operator.Action{Ability: ability, Physical: physical, Do: func(ctx context.Context, tx pgx.Tx, _ string, c operator.Command, by stock.By) (operator.Effect, error) {
		i, err := readIssued[T](task, operator.Issued{Command: c, By: by})
		if err != nil {
			return operator.Effect{}, err
		}
		return do(ctx, tx, c, i.subject, i.in, by)
	}}
}

// issued is a command that was read: its task's subject and what was scanned.
type issued[T any] struct {
	operator.Issued
	subject string
	in      T
}

func readIssued[T any](task string, c operator.Issued) (issued[T], error) {
	out := issued[T]{Issued: c}
	var kind string
	kind, out.subject, _ = strings.Cut(c.Task, ":")
	if task != "" && (kind != task || !id.Valid(out.subject)) {
		return out, problem.New(problem.Refused, "wrong_task", "This command belongs to a task "+task+":<id>.")
	}
	return out, decode(c.Scanned, &out.in)
}

// manyAtOnce is action for commands of which those that follow each other are
// done together.
func manyAtOnce[T any](ability, task string, do func(ctx context.Context, tx pgx.Tx, list []issued[T]) ([]operator.Effect, error)) operator.Action {
	together := func(ctx context.Context, tx pgx.Tx, _ string, list []operator.Issued) ([]operator.Effect, error) {
		commands := make([]issued[T], len(list))
		for i, c := range list {
			var err error
			if commands[i], err = readIssued[T](task, c); err != nil {
				return nil, err
			}
		}
		return do(ctx, tx, commands)
	}
	return operator.Action{Ability: ability, Physical: true, Together: together, Do: func(ctx context.Context, tx pgx.Tx, tenantID string, c operator.Command, by stock.By) (operator.Effect, error) {
		effects, err := together(ctx, tx, tenantID, []operator.Issued{{Command: c, By: by}})
		if err != nil {
			return operator.Effect{}, err
		}
		return effects[0], nil
	}}
}

func expected(c operator.Command, version int64) int64 {
	if c.ExpectedVersion != nil {
		return *c.ExpectedVersion
	}
	return version
}

// actions are what a scanner's commands do, by their kind. Each is the action of
// an endpoint, with the body that the endpoint takes.
func (s *Server) actions(r *request) map[string]operator.Action {
	return map[string]operator.Action{
		"start_list": action("pick", "pick", false, func(ctx context.Context, tx pgx.Tx, c operator.Command, list string, in versionBody, by stock.By) (operator.Effect, error) {
			state, err := picking.Start(ctx, tx, r.tenant, list, by, expected(c, in.Version))
			return operator.Effect{Current: state}, err
		}),
		"pick": manyAtOnce("pick", "pick", func(ctx context.Context, tx pgx.Tx, list []issued[picksBody]) ([]operator.Effect, error) {
			commands := make([]picking.Picking, len(list))
			for i, c := range list {
				commands[i] = picking.Picking{ListID: c.subject, To: c.in.To, Version: expected(c.Command, c.in.Version), By: c.By}
				for _, one := range c.in.Picks {
					commands[i].Picks = append(commands[i].Picks, picking.Scan(one))
				}
			}
			states, err := picking.PickAll(ctx, tx, r.tenant, commands)
			return effectsOf(states), err
		}),
		"short": action("pick", "pick", true, func(ctx context.Context, tx pgx.Tx, c operator.Command, list string, in shortBody, by stock.By) (operator.Effect, error) {
			out, err := picking.Short(ctx, tx, r.tenant, picking.Shorting{ListID: list, AllocationID: in.AllocationID, Line: in.Line, Bin: in.Bin, Found: in.Found, Reason: in.Reason, Version: expected(c, in.Version), By: by})
			return operator.Effect{Current: out}, err
		}),
		"complete_list": action("pick", "pick", false, func(ctx context.Context, tx pgx.Tx, c operator.Command, list string, in versionBody, by stock.By) (operator.Effect, error) {
			out, err := picking.Complete(ctx, tx, r.tenant, list, by, expected(c, in.Version))
			return operator.Effect{Current: out}, err
		}),
		"receive": manyAtOnce("receive", "receipt", func(ctx context.Context, tx pgx.Tx, list []issued[scansBody]) ([]operator.Effect, error) {
			shop, err := tenant.Get(ctx, tx, r.tenant)
			if err != nil {
				return nil, err
			}
			requests := make([]receiving.Scans, len(list))
			for i, c := range list {
				requests[i] = receiving.Scans{ReceiptID: c.subject, Batch: id.New(), Scans: c.in.Scans, By: c.By}
			}
			entries, err := receiving.ScanGoodsAll(ctx, tx, shop, requests, time.Now())
			if err != nil {
				return nil, err
			}
			effects := effectsOf(entries)
			effects[len(effects)-1].Then = func() { s.tellReceipt(r, list[0].subject) }
			return effects, nil
		}),
		"put_away": manyAtOnce("put_away", "", func(ctx context.Context, tx pgx.Tx, list []issued[receiving.ToPutAway]) ([]operator.Effect, error) {
			shop, err := tenant.Get(ctx, tx, r.tenant)
			if err != nil {
				return nil, err
			}
			carried := make([]receiving.ToPutAway, len(list))
			for i, c := range list {
				carried[i] = c.in
				carried[i].By = c.By
				if c.ExpectedVersion != nil {
					carried[i].Version = c.ExpectedVersion
				}
			}
			done, err := receiving.PutAwayAll(ctx, tx, shop, carried, time.Now())
			return effectsOf(done), err
		}),
		"move": manyAtOnce("move", "", func(ctx context.Context, tx pgx.Tx, list []issued[moveBody]) ([]operator.Effect, error) {
			moves := make([]places.Moving, len(list))
			for i, c := range list {
				var err error
				if moves[i], err = c.in.moving(c.By); err != nil {
					return nil, err
				}
				moves[i].Version = expected(c.Command, moves[i].Version)
			}
			done, err := places.MoveAll(ctx, tx, r.tenant, moves)
			effects := effectsOf(done)
			for i, d := range done {
				if len(d.Shorted) > 0 {
					effects[i].Then = func() { s.tellShorted(r, d.Shorted) }
				}
			}
			return effects, err
		}),
		"pack": shipmentAction(r, shipping.Pack, func(in *shipping.Packing, c operator.Command, by stock.By) {
			in.By, in.Version = by, expected(c, in.Version)
		}),
		"unpack": shipmentAction(r, shipping.Unpack, func(in *shipping.Undoing, c operator.Command, by stock.By) {
			in.By, in.Version = by, expected(c, in.Version)
		}),
		"label": shipmentAction(r, shipping.LabelParcels, func(in *shipping.Labelling, c operator.Command, by stock.By) {
			in.By, in.Version = by, expected(c, in.Version)
		}),
		"handover": shipmentAction(r, shipping.HandOver, func(in *shipping.Handing, c operator.Command, by stock.By) {
			in.By, in.Version = by, expected(c, in.Version)
		}),
		"begin_count": action("count", "count-task", false, func(ctx context.Context, tx pgx.Tx, c operator.Command, task string, in beginBody, by stock.By) (operator.Effect, error) {
			out, err := counting.Begin(ctx, tx, r.tenant, task, expected(c, in.ExpectedVersion), by)
			return operator.Effect{Current: out}, err
		}),
		"count": action("count", "count-task", true, func(ctx context.Context, tx pgx.Tx, c operator.Command, task string, in counting.Counted, by stock.By) (operator.Effect, error) {
			in.ExpectedVersion = expected(c, in.ExpectedVersion)
			out, err := counting.Submit(ctx, tx, r.tenant, task, in, by)
			return operator.Effect{Current: out.Task, Then: func() {
				s.tellShorted(r, out.Moved.Shorted)
				if out.Changed {
					s.tellCount(r, out.Task.CountID)
				}
			}}, err
		}),
		"dispatch": action("transfer", "transfer", true, func(ctx context.Context, tx pgx.Tx, c operator.Command, transferID string, in transfer.Dispatching, by stock.By) (operator.Effect, error) {
			in.Version = expected(c, in.Version)
			out, err := transfer.Dispatch(ctx, tx, r.tenant, transferID, in, by)
			return operator.Effect{Current: out, Then: func() { s.watchTransfer(r, out.Transfer) }}, err
		}),
		"receive_transfer": action("transfer", "transfer", true, func(ctx context.Context, tx pgx.Tx, c operator.Command, transferID string, in transfer.Receiving, by stock.By) (operator.Effect, error) {
			in.Version = expected(c, in.Version)
			out, err := transfer.Receive(ctx, tx, r.tenant, transferID, in, by)
			return operator.Effect{Current: out, Then: func() { s.tellTransfer(r, out.ID) }}, err
		}),
	}
}

// effectsOf are effects that are nothing but states.
func effectsOf[T any](states []T) []operator.Effect {
	out := make([]operator.Effect, len(states))
	for i, s := range states {
		out[i].Current = s
	}
	return out
}

// shipmentAction is a step of a shipment.
func shipmentAction[T any](r *request, do func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string, in T) (shipping.Shipment, error), sign func(in *T, c operator.Command, by stock.By)) operator.Action {
	return action("pack", "shipment", true, func(ctx context.Context, tx pgx.Tx, c operator.Command, shipmentID string, in T, by stock.By) (operator.Effect, error) {
		sign(&in, c, by)
		shop, err := tenant.Get(ctx, tx, r.tenant)
		if err != nil {
			return operator.Effect{}, err
		}
		out, err := do(ctx, tx, shop, shipmentID, in)
		return operator.Effect{Current: out}, err
	})
}
