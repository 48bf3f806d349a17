package operator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"justlogistics/internal/id"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/operator"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// move is an action on real stock: units of a SKU from one bin to another.
func move(ctx context.Context, tx pgx.Tx, tenant string, c operator.Command, by stock.By) (operator.Effect, error) {
	var in struct {
		SKU, From, To string
		Units         int
	}
	if err := json.Unmarshal(c.Scanned, &in); err != nil {
		return operator.Effect{}, err
	}
	from := stock.In(in.From, stock.Available)
	if in.From == "" {
		from = stock.Unplaced()
	}
	_, err := stock.Move(ctx, tx, tenant, stock.BinMovement{SKU: in.SKU, Warehouse: "SCL-1", Quantity: in.Units, From: from, To: stock.In(in.To, stock.Available), Reason: "move", Document: c.Task, By: by})
	if errors.Is(err, stock.ErrNotInBin) {
		return operator.Effect{}, problem.New(problem.Conflict, "not_in_bin", "The bin does not have those units.").With("current", map[string]string{"bin": in.From})
	}
	return operator.Effect{Current: map[string]int{"moved": in.Units}}, err
}

type bench struct {
	*shoptest.Shop
	desk operator.Desk
}

func setup(t *testing.T) *bench {
	t.Helper()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 10)
	s.Bin(t, "SCL-1", "A-01-A", "pick")
	s.Bin(t, "SCL-1", "B-01-A", "pick")
	return &bench{s, operator.Desk{DB: s.DB, Actions: map[string]operator.Action{"move": {Ability: "move", Physical: true, Do: move}, "look": {Ability: "count", Do: move}}}}
}

func (b *bench) send(t *testing.T, device string, commands ...operator.Command) []operator.Answer {
	t.Helper()
	answers, err := b.desk.Apply(t.Context(), shoptest.Tenant, device, stock.By{Person: "ana", KeyID: "k"}, commands)
	require.NoError(t, err)
	require.Len(t, answers, len(commands))
	return answers
}

func (b *bench) in(t *testing.T, bin string) int {
	t.Helper()
	return shoptest.Value[int](t, b.Shop, `SELECT coalesce(sum(quantity), 0)::int FROM bin_stock WHERE bin = $1`, bin)
}

func moving(seq int64, from, to string, units int) operator.Command {
	return operator.Command{ID: id.New(), Seq: seq, Kind: "move", At: time.Now(), Scanned: fmt.Appendf(nil, `{"sku": "A", "from": %q, "to": %q, "units": %d}`, from, to, units)}
}

func TestApply_TakesEachCommandOnceInTheDevicesOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// The second in time stands first in the request.
	first, second := moving(1, "", "A-01-A", 6), moving(2, "A-01-A", "B-01-A", 4)
	answers := b.send(t, "scanner-1", second, first)
	require.Equal(t, operator.Applied, answers[0].Status, answers[0].Detail)
	require.Equal(t, second.ID, answers[0].ID)
	require.JSONEq(t, `{"moved": 4}`, string(answers[0].Current))
	require.Equal(t, 2, b.in(t, "A-01-A"))

	// The answer was lost, so the device sends all again; another device does too.
	for _, device := range []string{"scanner-1", "scanner-2"} {
		for i, a := range b.send(t, device, first, second) {
			require.Equal(t, operator.Duplicate, a.Status)
			require.Equal(t, operator.Applied, a.First)
			require.JSONEq(t, fmt.Sprintf(`{"moved": %d}`, []int{6, 4}[i]), string(a.Current))
		}
	}
	require.Equal(t, 2, b.in(t, "A-01-A"))
	require.Equal(t, 4, b.in(t, "B-01-A"))
	require.Equal(t, []string{"ana", "ana"}, shoptest.List[string](t, b.Shop, `SELECT person FROM bin_movements WHERE device = 'scanner-1' ORDER BY id`))

	reused := moving(3, "A-01-A", "B-01-A", 1)
	reused.ID = first.ID
	a := b.send(t, "scanner-1", reused)[0]
	require.Equal(t, operator.Conflict, a.Status)
	require.Equal(t, "command_id_reused", a.Code)
	b.CheckBooks(t)
}

func TestApply_OneCommandFromManyDevicesAtOnceIsAppliedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := moving(1, "", "A-01-A", 1)
	var g errgroup.Group
	statuses := make([]string, 8)
	for i := range statuses {
		g.Go(func() error {
			answers, err := b.desk.Apply(context.Background(), shoptest.Tenant, fmt.Sprintf("scanner-%d", i), stock.By{Person: "ana"}, []operator.Command{c})
			if err == nil {
				statuses[i] = answers[0].Status
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
	applied := 0
	for _, s := range statuses {
		if s == operator.Applied {
			applied++
		} else {
			require.Equal(t, operator.Duplicate, s)
		}
	}
	require.Equal(t, 1, applied)
	require.Equal(t, 1, b.in(t, "A-01-A"))
}

func TestApply_WhatCannotBeAppliedAnyMoreIsNeverLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.send(t, "scanner-1", moving(1, "", "A-01-A", 5))
	b.Do(t, func(tx pgx.Tx) error {
		_, err := operator.Claim(t.Context(), tx, shoptest.Tenant, "pick:1", "luis", "scanner-2", 600)
		return err
	})
	// A day offline, meanwhile the task was given to Luis, and a bin was emptied.
	late := moving(2, "A-01-A", "B-01-A", 1)
	late.Task, late.At = "pick:1", time.Now().AddDate(0, 0, -1)
	empty := moving(3, "B-01-A", "A-01-A", 1)
	fine := moving(4, "A-01-A", "B-01-A", 2)
	answers := b.send(t, "scanner-1", late, empty, fine)
	require.Equal(t, []string{operator.Conflict, operator.Conflict, operator.Applied}, []string{answers[0].Status, answers[1].Status, answers[2].Status})
	require.Equal(t, "task_taken", answers[0].Code)
	require.Contains(t, string(answers[0].Current), "luis")
	require.Equal(t, "not_in_bin", answers[1].Code)
	require.JSONEq(t, `{"bin": "B-01-A"}`, string(answers[1].Current))

	var open []operator.Exception
	b.Do(t, func(tx pgx.Tx) (err error) {
		open, err = operator.Exceptions(t.Context(), tx, shoptest.Tenant, "open", "", 10)
		return err
	})
	require.Len(t, open, 2)
	require.Equal(t, answers[1].ExceptionID, open[0].ID)
	require.Equal(t, "scanner-1", open[0].Device)
	require.NotNil(t, open[0].DueAt)
	require.WithinDuration(t, late.At, open[1].ScannedAt, time.Second)

	// Sent again it is the same exception, not another.
	again := b.send(t, "scanner-1", late)[0]
	require.Equal(t, operator.Duplicate, again.Status)
	require.Equal(t, operator.Conflict, again.First)
	require.Equal(t, answers[0].ExceptionID, again.ExceptionID)

	b.Do(t, func(tx pgx.Tx) error {
		_, err := operator.Resolve(t.Context(), tx, shoptest.Tenant, open[0].ID, "counted: it was in A-01-A", "eva")
		return err
	})
	err := b.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		_, err := operator.Resolve(t.Context(), tx, shoptest.Tenant, open[0].ID, "again", "eva")
		return err
	})
	p, ok := problem.As(err)
	require.True(t, ok)
	require.Equal(t, "exception_resolved", p.Code)
	b.CheckBooks(t)
}

func TestApply_AsksWhatTheOperatorMayDo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, func(tx pgx.Tx) error {
		if _, err := operator.Put(t.Context(), tx, shoptest.Tenant, operator.Operator{Name: "ana", May: []string{"move"}, Active: true}); err != nil {
			return err
		}
		_, err := operator.Put(t.Context(), tx, shoptest.Tenant, operator.Operator{Name: "luis", May: []string{"count"}, Active: false})
		return err
	})
	byLuis, byNobody, counting, unknown := moving(2, "", "A-01-A", 1), moving(3, "", "A-01-A", 1), moving(4, "", "A-01-A", 1), moving(5, "", "A-01-A", 1)
	byLuis.Person, byNobody.Person, counting.Kind, unknown.Kind = "luis", "nobody", "look", "dance"
	answers := b.send(t, "scanner-1", moving(1, "", "A-01-A", 1), byLuis, byNobody, counting, unknown)
	var codes []string
	for _, a := range answers {
		codes = append(codes, a.Code)
	}
	require.Equal(t, []string{"", "unknown_operator", "unknown_operator", "not_allowed", "unknown_kind"}, codes)
	require.Equal(t, 1, b.in(t, "A-01-A"))
	require.Empty(t, answers[3].ExceptionID, "nothing was moved")
}

func TestClaim_ATaskIsOnePersonsUntilItsTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	claim := func(person string) error {
		return b.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
			_, err := operator.Claim(t.Context(), tx, shoptest.Tenant, "pick:1", person, "d", 60)
			return err
		})
	}
	require.NoError(t, claim("ana"))
	require.NoError(t, claim("ana"), "again keeps it longer")
	p, ok := problem.As(claim("luis"))
	require.True(t, ok)
	require.Equal(t, "task_taken", p.Code)
	b.Exec(t, `UPDATE task_leases SET until = now()`)
	require.NoError(t, claim("luis"))
	b.Do(t, func(tx pgx.Tx) error { return operator.LetGo(t.Context(), tx, shoptest.Tenant, "pick:1", "ana") })
	require.Error(t, claim("ana"), "what somebody else has stays his")
	b.Do(t, func(tx pgx.Tx) error { return operator.LetGo(t.Context(), tx, shoptest.Tenant, "pick:1", "luis") })
	require.NoError(t, claim("ana"))
}
