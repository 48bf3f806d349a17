package api

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
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
		kind, subject, _ := strings.Cut(c.Task, ":")
		if task != "" && (kind != task || !id.Valid(subject)) {
			return operator.Effect{}, problem.New(problem.Refused, "wrong_task", "This command belongs to a task "+task+":<id>.")
		}
		var in T
		if err := decode(c.Scanned, &in); err != nil {
			return operator.Effect{}, err
		}
		return do(ctx, tx, c, subject, in, by)
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
		"pick": action("pick", "pick", true, func(ctx context.Context, tx pgx.Tx, c operator.Command, list string, in picksBody, by stock.By) (operator.Effect, error) {
			p := picking.Picking{ListID: list, To: in.To, Version: expected(c, in.Version), By: by}
			for _, one := range in.Picks {
				p.Picks = append(p.Picks, picking.Scan(one))
			}
			state, err := picking.Pick(ctx, tx, r.tenant, p)
			return operator.Effect{Current: state}, err
		}),
		"short": action("pick", "pick", true, func(ctx context.Context, tx pgx.Tx, c operator.Command, list string, in shortBody, by stock.By) (operator.Effect, error) {
			out, err := picking.Short(ctx, tx, r.tenant, picking.Shorting{ListID: list, AllocationID: in.AllocationID, Line: in.Line, Bin: in.Bin, Found: in.Found, Reason: in.Reason, Version: expected(c, in.Version), By: by})
			return operator.Effect{Current: out}, err
		}),
		"complete_list": action("pick", "pick", false, func(ctx context.Context, tx pgx.Tx, c operator.Command, list string, in versionBody, by stock.By) (operator.Effect, error) {
			out, err := picking.Complete(ctx, tx, r.tenant, list, by, expected(c, in.Version))
			return operator.Effect{Current: out}, err
		}),
		"receive": action("receive", "receipt", true, func(ctx context.Context, tx pgx.Tx, _ operator.Command, receipt string, in scansBody, by stock.By) (operator.Effect, error) {
			shop, err := tenant.Get(ctx, tx, r.tenant)
			if err != nil {
				return operator.Effect{}, err
			}
			entries, err := receiving.ScanGoods(ctx, tx, shop, receiving.Scans{ReceiptID: receipt, Batch: id.New(), Scans: in.Scans, By: by}, time.Now())
			return operator.Effect{Current: entries, Then: func() { s.tellReceipt(r, receipt) }}, err
		}),
		"put_away": action("put_away", "", true, func(ctx context.Context, tx pgx.Tx, c operator.Command, _ string, in receiving.ToPutAway, by stock.By) (operator.Effect, error) {
			shop, err := tenant.Get(ctx, tx, r.tenant)
			if err != nil {
				return operator.Effect{}, err
			}
			in.By = by
			if c.ExpectedVersion != nil {
				in.Version = c.ExpectedVersion
			}
			out, err := receiving.PutAway(ctx, tx, shop, in, time.Now())
			return operator.Effect{Current: out}, err
		}),
		"move": action("move", "", true, func(ctx context.Context, tx pgx.Tx, c operator.Command, _ string, in moveBody, by stock.By) (operator.Effect, error) {
			m, err := in.moving(by)
			if err != nil {
				return operator.Effect{}, err
			}
			m.Version = expected(c, m.Version)
			out, err := places.MoveUnits(ctx, tx, r.tenant, m)
			return operator.Effect{Current: out, Then: func() { s.tellShorted(r, out.Shorted) }}, err
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
