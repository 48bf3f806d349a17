package refund

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
)

// Owed is what must still go back for units of an order that do not leave: notShipped
// says how many of each line that is by now. Units that went back whole already count
// as those that do not leave, so that nobody gets goods and their money. A line that
// was given away owes nothing. The caller holds the order's lock.
func Owed(ctx context.Context, tx pgx.Tx, tenant, orderID string, notShipped map[string]int) ([]LineAsked, error) {
	units, err := fill(ctx, tx, tenant, orderID)
	if err != nil {
		return nil, err
	}
	back, left := map[string]int{}, map[string]int{}
	var order []string
	for _, u := range units {
		switch {
		case u.Line == "" || u.Paid == 0:
		case u.Left == 0:
			back[u.Line]++
		default:
			left[u.Line]++
		}
		if len(order) == 0 || order[len(order)-1] != u.Line {
			order = append(order, u.Line)
		}
	}
	var out []LineAsked
	for _, line := range order {
		if n := min(notShipped[line]-back[line], left[line]); n > 0 {
			out = append(out, LineAsked{LineID: line, Quantity: n})
		}
	}
	return out, nil
}

// BookOrNothing is Book together with the word to the refund's run, for a step that goes
// on when the order's payments have nothing left to give back: booked is false then.
// Other refusals are errors, and nothing is written.
func BookOrNothing(ctx context.Context, tx pgx.Tx, tenant, requestID string, in Request, by string, able Able) (b Booked, booked bool, err error) {
	// What it has written when it refuses goes with the savepoint.
	nested, err := tx.Begin(ctx)
	if err != nil {
		return b, false, err
	}
	b, err = Book(ctx, nested, tenant, requestID, in, nil, by, able)
	if err == nil {
		_, err = nested.Exec(ctx, `INSERT INTO wakes (tenant, kind, subject) VALUES ($1, 'refund', $2)`, tenant, requestID)
	}
	if err == nil {
		return b, true, nested.Commit(ctx)
	}
	if undone := nested.Rollback(ctx); undone != nil {
		return b, false, undone
	}
	if p, is := problem.As(err); !is || p.Code != CodeNothingLeft {
		return b, false, err
	}
	from, failed := sources(ctx, tx, tenant, in.OrderID, "")
	if failed != nil {
		return b, false, failed
	}
	if slices.ContainsFunc(from, func(s source) bool { return s.Left > 0 }) {
		return b, false, err // there is something, and less than is owed
	}
	return b, false, nil
}
