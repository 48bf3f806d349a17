package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/catalog"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/temporalclient"
	"justlogistics/internal/warehouse/transfer"
	"justlogistics/workflows"
)

// maxUnits bounds counts and changes of stock.
const maxUnits = 1_000_000_000

// skuStock is what there is of a SKU.
type skuStock struct {
	SKU        string        `json:"sku"`
	Available  int           `json:"available"`
	Warehouses []stock.Level `json:"warehouses"`
	// InTransit is what is on its way, by the warehouse that it goes to.
	InTransit map[string]int `json:"in_transit,omitempty"`
}

// stockChange is skuStock after a change, with who lost units to it.
type stockChange struct {
	skuStock
	Shorted []stock.Shorted `json:"shorted"`
}

func stockPath(sku string) string { return "/v1/stock/" + url.PathEscape(sku) }

func (s *Server) readStock(ctx context.Context, tx pgx.Tx, tenantID, sku string) (skuStock, error) {
	levels, err := stock.Levels(ctx, tx, tenantID, sku)
	if err != nil {
		return skuStock{}, err
	}
	if len(levels) == 0 {
		exists, err := catalog.Exists(ctx, tx, tenantID, sku)
		if err != nil {
			return skuStock{}, err
		}
		if !exists {
			return skuStock{}, problem.Missing("product")
		}
	}
	out := skuStock{SKU: sku, Warehouses: levels}
	if levels == nil {
		out.Warehouses = []stock.Level{}
	}
	for _, l := range levels {
		out.Available += l.Available
	}
	out.InTransit, err = transfer.Coming(ctx, tx, tenantID, sku)
	return out, err
}

func (s *Server) getStock(r *request) (reply, error) {
	var out skuStock
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = s.readStock(r.ctx, tx, r.tenant, r.Param("sku"))
		return err
	})
	return ok(out), err
}

type countBody struct {
	Warehouse string         `json:"warehouse"`
	OnHand    *int           `json:"on_hand"`
	CountedAt *string        `json:"counted_at"`
	SetAside  map[string]int `json:"set_aside"`
}

var channelName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)

// putStock sets a count. The shelf wins: holds and orders that lose units are
// named in the answer, and their runs are told.
func (s *Server) putStock(r *request) (reply, error) {
	var in countBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	sku := r.Param("sku")
	var f problem.Fields
	checkWarehouse(&f, "warehouse", in.Warehouse)
	if in.OnHand == nil {
		f.Add("on_hand", "required", "say how many units were counted")
	} else if *in.OnHand < 0 || *in.OnHand > maxUnits {
		f.Add("on_hand", "out_of_range", "0 to %d", maxUnits)
	}
	countedAt := catalog.Moment(&f, "counted_at", in.CountedAt)
	if countedAt != nil && countedAt.After(time.Now().Add(time.Minute)) {
		f.Add("counted_at", "out_of_range", "lies in the future")
	}
	for channel, units := range in.SetAside {
		if !channelName.MatchString(channel) {
			f.Add("set_aside."+clip(channel), "invalid", "not a channel")
		}
		if units < 0 || units > maxUnits {
			f.Add("set_aside."+clip(channel), "out_of_range", "0 to %d", maxUnits)
		}
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	out, err := s.changeStock(r, sku, func(tx pgx.Tx) ([]stock.Shorted, error) {
		if countedAt == nil {
			var now time.Time
			if err := tx.QueryRow(r.ctx, `SELECT now()`).Scan(&now); err != nil {
				return nil, fmt.Errorf("database time: %w", err)
			}
			countedAt = &now
		}
		lost, err := stock.Count(r.ctx, tx, r.tenant, sku, in.Warehouse, *in.OnHand, *countedAt, r.actor())
		if err != nil {
			return nil, err
		}
		for _, channel := range slices.Sorted(maps.Keys(in.SetAside)) {
			if err := stock.SetAside(r.ctx, tx, r.tenant, sku, in.Warehouse, channel, in.SetAside[channel]); err != nil {
				return nil, err
			}
		}
		return lost, nil
	})
	return ok(out), err
}

// actor is who changes stock, as the ledger names them.
func (r *request) actor() string { return "key:" + r.key.ID }

func checkWarehouse(f *problem.Fields, field, code string) {
	switch {
	case code == "":
		f.Add(field, "required", "name the warehouse")
	case !catalog.WarehouseCode.MatchString(code):
		f.Add(field, "unknown_warehouse", "there is no such warehouse")
	}
}

// changeStock runs a change, reads what there is afterwards and tells the runs
// of those that lost units.
func (s *Server) changeStock(r *request, sku string, change func(tx pgx.Tx) ([]stock.Shorted, error)) (stockChange, error) {
	var out stockChange
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		exists, err := catalog.Exists(r.ctx, tx, r.tenant, sku)
		if err != nil {
			return err
		}
		if !exists {
			return problem.Missing("product")
		}
		if out.Shorted, err = change(tx); err != nil {
			return err
		}
		out.skuStock, err = s.readStock(r.ctx, tx, r.tenant, sku)
		return err
	})
	switch {
	case errors.Is(err, stock.ErrNoSuchPlace):
		var f problem.Fields
		f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
		return out, f.Err()
	case errors.Is(err, stock.ErrBelowZero):
		return out, problem.New(problem.Conflict, "not_on_shelf", "There are not that many units on the shelf.")
	case errors.Is(err, stock.ErrPromised):
		return out, problem.New(problem.Conflict, "units_promised", "Those units are promised to orders.")
	case err != nil:
		return out, err
	}
	if out.Shorted == nil {
		out.Shorted = []stock.Shorted{}
	}
	s.tellShorted(r, out.Shorted)
	return out, nil
}

// tellShorted wakes the runs whose holds have lost units. One that can't be
// told now is overdue by its row and found by the minute check.
func (s *Server) tellShorted(r *request, lost []stock.Shorted) {
	for _, l := range lost {
		s.later(r.ctx, 5*time.Second, func(ctx context.Context) {
			var err error
			switch {
			case l.OrderID != "":
				options := start(workflows.KindShortage, r.tenant, l.OrderID, fmt.Sprintf("%d units missing for a paid order", l.Units), temporal.NewSearchAttributes(temporalclient.TenantID.ValueSet(r.tenant)))
				options.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
				_, err = s.temporal.ExecuteWorkflow(ctx, options, workflows.ShortageName, workflows.ShortageInput{Tenant: r.tenant, OrderID: l.OrderID, HoldID: l.HoldID})
			case l.CheckoutID != "":
				err = s.temporal.SignalWorkflow(ctx, workflows.ID(workflows.KindCheckout, r.tenant, l.CheckoutID), "", workflows.SignalShort, nil)
			default:
				err = s.temporal.SignalWorkflow(ctx, workflows.ID(workflows.KindReservation, r.tenant, l.HoldID), "", workflows.SignalShort, nil)
			}
			if err != nil {
				s.log.WarnContext(ctx, "a run was not told that its hold lost units", slog.String("reservation_id", l.HoldID), slog.Any("error", err))
			}
		})
	}
}

type adjustmentBody struct {
	SKU       string `json:"sku"`
	Warehouse string `json:"warehouse"`
	Delta     *int   `json:"delta"`
	Reason    string `json:"reason"`
	Note      string `json:"note"`
	Reference string `json:"reference"`
}

var adjustmentReasons = []string{"receipt", "adjustment", "damage", "loss", "return"}

// adjustStock books a change with its reason.
func (s *Server) adjustStock(r *request) (reply, error) {
	var in adjustmentBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var f problem.Fields
	checkSKU(&f, in.SKU)
	checkWarehouse(&f, "warehouse", in.Warehouse)
	switch {
	case in.Delta == nil:
		f.Add("delta", "required", "say how many units came (or left, negative)")
	case *in.Delta == 0 || *in.Delta > maxUnits || *in.Delta < -maxUnits:
		f.Add("delta", "out_of_range", "not zero, and at most %d", maxUnits)
	case *in.Delta > 0 && (in.Reason == "damage" || in.Reason == "loss"), *in.Delta < 0 && (in.Reason == "receipt" || in.Reason == "return"):
		f.Add("delta", "wrong_direction", "a %s goes the other way", in.Reason)
	}
	if !slices.Contains(adjustmentReasons, in.Reason) {
		f.Add("reason", "invalid", "receipt, adjustment, damage, loss or return")
	}
	checkNotes(&f, in.Note, in.Reference)
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	out, err := s.changeStock(r, in.SKU, func(tx pgx.Tx) ([]stock.Shorted, error) {
		// The only POSTs that change stock in their own transaction: under a key
		// whose answer was lost, the change itself is what must not come twice.
		if err := s.onlyOnce(r, tx); err != nil {
			return nil, err
		}
		return stock.Adjust(r.ctx, tx, r.tenant, stock.Change{SKU: in.SKU, Warehouse: in.Warehouse, Delta: *in.Delta, Reason: in.Reason, Note: in.Note, Reference: in.Reference, Actor: r.actor()})
	})
	return s.stockChanged(r, in.SKU, out, err)
}

type transferBody struct {
	SKU      string `json:"sku"`
	From     string `json:"from"`
	To       string `json:"to"`
	Quantity int    `json:"quantity"`
	Note     string `json:"note"`
}

// transferStock moves units that nobody was promised.
func (s *Server) transferStock(r *request) (reply, error) {
	var in transferBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var f problem.Fields
	checkSKU(&f, in.SKU)
	checkWarehouse(&f, "from", in.From)
	checkWarehouse(&f, "to", in.To)
	if in.From == in.To {
		f.Add("to", "invalid", "must be another warehouse")
	}
	if in.Quantity < 1 || in.Quantity > maxUnits {
		f.Add("quantity", "out_of_range", "1 to %d", maxUnits)
	}
	checkNotes(&f, in.Note, "")
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	out, err := s.changeStock(r, in.SKU, func(tx pgx.Tx) ([]stock.Shorted, error) {
		if err := s.onlyOnce(r, tx); err != nil {
			return nil, err
		}
		return nil, stock.Transfer(r.ctx, tx, r.tenant, in.SKU, in.From, in.To, in.Quantity, in.Note, r.actor())
	})
	return s.stockChanged(r, in.SKU, out, err)
}

// errDone says that an earlier request with the same key has made the change.
var errDone = errors.New("the change was made before")

// onlyOnce writes, with the change, that it is made.
func (s *Server) onlyOnce(r *request, tx pgx.Tx) error {
	if r.begun() != "" {
		return errDone
	}
	return r.claim.Begun(r.ctx, tx, "booked")
}

// stockChanged answers a change; one that was made by a request which never
// answered is answered with what there is today.
func (s *Server) stockChanged(r *request, sku string, out stockChange, err error) (reply, error) {
	if errors.Is(err, errDone) {
		err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
			out.skuStock, err = s.readStock(r.ctx, tx, r.tenant, sku)
			return err
		})
		out.Shorted = []stock.Shorted{}
	}
	return created(stockPath(sku)+"/movements", out), err
}

func checkSKU(f *problem.Fields, sku string) {
	switch {
	case sku == "":
		f.Add("sku", "required", "name the SKU")
	case !catalog.SKU.MatchString(sku):
		f.Add("sku", "invalid", "a SKU is 1 to 64 letters, digits, dots, underscores and hyphens")
	}
}

func checkNotes(f *problem.Fields, note, reference string) {
	if len(note) > 500 {
		f.Add("note", "too_long", "at most 500 bytes")
	}
	if len(reference) > 128 {
		f.Add("reference", "too_long", "at most 128 bytes")
	}
}

func (s *Server) listMovements(r *request) (reply, error) {
	var f problem.Fields
	limit, after := paging(r, &f)
	before := int64(0)
	if after != "" {
		var err error
		if before, err = strconv.ParseInt(after, 10, 64); err != nil || before < 1 {
			f.Add("cursor", "invalid", "use next_cursor as it was given")
		}
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	sku := r.Param("sku")
	var all []stock.Movement
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		exists, err := catalog.Exists(r.ctx, tx, r.tenant, sku)
		if err != nil {
			return err
		}
		if !exists {
			return problem.Missing("product")
		}
		all, err = stock.Movements(r.ctx, tx, r.tenant, sku, before, limit+1)
		return err
	})
	return ok(paged(all, limit, func(m stock.Movement) string { return strconv.FormatInt(m.ID, 10) })), err
}
