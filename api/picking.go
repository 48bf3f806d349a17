package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/label"
	"justlogistics/internal/problem"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/batch"
	"justlogistics/internal/warehouse/operator"
	"justlogistics/internal/warehouse/picking"
)

// mostBudget is how long a wave may look for a better batching at most. Its stock is
// locked meanwhile.
const mostBudget = 5 * time.Second

// pickingRoutes are waves and pick lists.
func (s *Server) pickingRoutes() {
	const (
		warehouse = tenant.Warehouse
		support   = tenant.Support
	)
	s.work("pick", http.MethodPost, "/v1/waves", s.createWave, warehouse)
	s.handle(http.MethodGet, "/v1/waves/:id", s.getWave, warehouse, support)
	s.work("pick", http.MethodPost, "/v1/pick-lists", s.createPickList, warehouse)
	s.handle(http.MethodGet, "/v1/pick-lists", s.listPickLists, warehouse, support)
	s.handle(http.MethodGet, "/v1/pick-lists/:id", s.getPickList, warehouse, support)
	s.handle(http.MethodGet, "/v1/pick-lists/:id/sheet.pdf", s.getPickSheet, warehouse, support)
	s.handle(http.MethodGet, "/v1/pick-lists/:id/labels.zpl", s.getPickLabels, warehouse, support)
	s.work("pick", http.MethodPost, "/v1/pick-lists/:id/assign", s.assignPickList, warehouse)
	s.work("pick", http.MethodPost, "/v1/pick-lists/:id/start", s.startPickList, warehouse)
	s.work("pick", http.MethodPost, "/v1/pick-lists/:id/refresh", s.refreshPickList, warehouse)
	s.work("pick", http.MethodPost, "/v1/pick-lists/:id/picks", s.pickUnits, warehouse)
	s.work("pick", http.MethodPost, "/v1/pick-lists/:id/short", s.shortPick, warehouse)
	s.work("pick", http.MethodPost, "/v1/pick-lists/:id/unpick", s.unpickUnits, warehouse)
	s.work("pick", http.MethodPost, "/v1/pick-lists/:id/complete", s.completePickList, warehouse)
	s.work("pick", http.MethodPost, "/v1/pick-lists/:id/cancel", s.cancelPickList, warehouse)
}

type trolleyBody struct {
	Orders      int   `json:"orders"`
	Units       int   `json:"units"`
	WeightGrams int64 `json:"weight_grams"`
	VolumeMM3   int64 `json:"volume_mm3"`
}

type waveBody struct {
	Warehouse   string      `json:"warehouse"`
	ShipmentIDs []string    `json:"shipment_ids"`
	MaxOrders   *int        `json:"max_orders"`
	By          string      `json:"by"`
	Trolley     trolleyBody `json:"trolley"`
	Lot         string      `json:"lot"`
	Seed        int64       `json:"seed"`
	Rounds      int         `json:"rounds"`
	BudgetMS    *int        `json:"budget_ms"`
}

func wavePath(id string) string     { return "/v1/waves/" + id }
func pickListPath(id string) string { return "/v1/pick-lists/" + id }

// createWave makes pick lists of what is to be picked.
func (s *Server) createWave(r *request) (reply, error) {
	var in waveBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	wave := picking.Wave{Warehouse: in.Warehouse, ShipmentIDs: in.ShipmentIDs, By: in.By, Lot: in.Lot, Rounds: in.Rounds, Budget: picking.UsualBudget, Who: r.by(),
		Trolley: batch.Load{Orders: in.Trolley.Orders, Units: in.Trolley.Units, WeightGrams: in.Trolley.WeightGrams, VolumeMM3: in.Trolley.VolumeMM3}}
	var f problem.Fields
	checkOperator(r, &f)
	checkWarehouse(&f, "warehouse", in.Warehouse)
	checkShipments(&f, in.ShipmentIDs)
	if !slices.Contains(picking.Kinds, in.By) {
		f.Add("by", "invalid", "order, batch or zone")
	}
	if in.MaxOrders != nil {
		if wave.MaxOrders = *in.MaxOrders; wave.MaxOrders < 1 {
			f.Add("max_orders", "out_of_range", "1 to %d", picking.MostOrders)
		}
		if in.ShipmentIDs != nil {
			f.Add("max_orders", "invalid", "name shipments or how many, not both")
		}
	}
	if in.BudgetMS != nil {
		wave.Budget = time.Duration(*in.BudgetMS) * time.Millisecond
		if *in.BudgetMS < 1 || wave.Budget > mostBudget {
			f.Add("budget_ms", "out_of_range", "1 to %d", mostBudget.Milliseconds())
		}
	}
	if in.Seed < 0 {
		f.Add("seed", "out_of_range", "not below zero")
	} else {
		wave.Seed = uint64(in.Seed)
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	out, err := s.release(r, wave)
	return created(wavePath(out.ID), out), err
}

// checkShipments demands ids that are some, when there are any.
func checkShipments(f *problem.Fields, ids []string) {
	if ids != nil && len(ids) == 0 {
		f.Add("shipment_ids", "required", "name one at least, or leave them out")
	}
	for i, v := range ids {
		if !id.Valid(v) {
			f.Add(fmt.Sprintf("shipment_ids[%d]", i), "invalid", "not an id")
		}
	}
}

// release makes a wave, or reads the one that an earlier request with the same key
// has made.
func (s *Server) release(r *request, wave picking.Wave) (picking.Released, error) {
	var out picking.Released
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if made := r.begun(); made != "" {
			out, err = picking.ReadWave(r.ctx, tx, r.tenant, made)
			return err
		}
		if out, err = picking.Release(r.ctx, tx, r.tenant, wave); err != nil {
			return err
		}
		if wave.OneList && len(out.Lists) == 0 {
			return problem.New(problem.Conflict, "nothing_to_pick", "No unit of those shipments can be picked now.").With("skipped", out.Skipped).With("unallocated", out.Unallocated)
		}
		return r.claim.Begun(r.ctx, tx, out.ID)
	})
	return out, err
}

func (s *Server) getWave(r *request) (reply, error) {
	waveID, err := idParam(r, "id", "wave")
	if err != nil {
		return reply{}, err
	}
	var out picking.Released
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = picking.ReadWave(r.ctx, tx, r.tenant, waveID)
		return err
	})
	return ok(out), err
}

type pickListBody struct {
	Warehouse   string   `json:"warehouse"`
	ShipmentIDs []string `json:"shipment_ids"`
}

// createPickList makes one list of the shipments named, by hand.
func (s *Server) createPickList(r *request) (reply, error) {
	var in pickListBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var f problem.Fields
	checkOperator(r, &f)
	checkWarehouse(&f, "warehouse", in.Warehouse)
	if in.ShipmentIDs == nil {
		in.ShipmentIDs = []string{}
	}
	checkShipments(&f, in.ShipmentIDs)
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	wave := picking.Wave{Warehouse: in.Warehouse, ShipmentIDs: in.ShipmentIDs, By: picking.ByBatch, OneList: true, Who: r.by()}
	if len(in.ShipmentIDs) == 1 {
		wave.By = picking.ByOrder
	}
	made, err := s.release(r, wave)
	if err != nil {
		return reply{}, err
	}
	out, err := s.readPickList(r, made.Lists[0].ID)
	return created(pickListPath(made.Lists[0].ID), out), err
}

func (s *Server) readPickList(r *request, listID string) (out picking.List, err error) {
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = picking.Read(r.ctx, tx, r.tenant, listID)
		return err
	})
	return out, err
}

func (s *Server) getPickList(r *request) (reply, error) {
	listID, err := idParam(r, "id", "pick list")
	if err != nil {
		return reply{}, err
	}
	out, err := s.readPickList(r, listID)
	return ok(out), err
}

var pickListStatuses = []string{picking.Open, picking.InProgress, picking.Picked, picking.Completed, picking.Cancelled}

func (s *Server) listPickLists(r *request) (reply, error) {
	var f problem.Fields
	limit, after := paging(r, &f)
	filter := picking.Filter{Warehouse: r.Query("warehouse"), Status: r.Query("status"), Zone: r.Query("zone"), AssignedTo: r.Query("assigned_to"), WaveID: r.Query("wave_id"), Before: after, Limit: limit + 1}
	if filter.Status != "" && !slices.Contains(pickListStatuses, filter.Status) {
		f.Add("status", "invalid", "no such status of a pick list")
	}
	if len(f) == 0 && after != "" && !id.Valid(after) {
		f.Add("cursor", "invalid", "use next_cursor as it was given")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var all []picking.Summary
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = picking.Lists(r.ctx, tx, r.tenant, filter)
		return err
	})
	return ok(paged(all, limit, func(l picking.Summary) string { return l.ID })), err
}

// printedIn reads in which language something is printed.
func printedIn(r *request, f *problem.Fields) label.Language {
	switch v := label.Language(r.Query("lang")); v {
	case "", label.Spanish:
		return label.Spanish
	case label.English:
		return v
	}
	f.Add("lang", "invalid", "es or en")
	return ""
}

func (s *Server) getPickSheet(r *request) (reply, error) {
	listID, err := idParam(r, "id", "pick list")
	if err != nil {
		return reply{}, err
	}
	var f problem.Fields
	language := printedIn(r, &f)
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var pdf []byte
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		pdf, err = picking.Sheet(r.ctx, tx, r.tenant, listID, language, time.Now())
		return err
	})
	return reply{status: http.StatusOK, text: pdf, contentType: "application/pdf"}, err
}

func (s *Server) getPickLabels(r *request) (reply, error) {
	listID, err := idParam(r, "id", "pick list")
	if err != nil {
		return reply{}, err
	}
	var f problem.Fields
	p := label.Print{DPI: 203, Copies: 1, Language: printedIn(r, &f)}
	if v := r.Query("dpi"); v != "" {
		if p.DPI, err = strconv.Atoi(v); err != nil || p.DPI != 203 && p.DPI != 300 {
			f.Add("dpi", "out_of_range", "203 or 300")
		}
	}
	return s.printed(r, f, func(tx pgx.Tx) (string, error) {
		return picking.Labels(r.ctx, tx, r.tenant, listID, p)
	})
}

// pickCommand is a list after an operator's command, with what the command has to
// say beside it.
type pickCommand struct {
	picking.List
	// Short are units that were given up, Elsewhere those for which another bin was
	// found, Missing those that have none yet.
	Short     []picking.Missing `json:"short"`
	Elsewhere []picking.Units   `json:"elsewhere"`
	Missing   []picking.Missing `json:"missing"`
}

// onPickList runs an operator's command on the list of the address and answers
// with the list as it is then. Under a key whose answer was lost the command is
// not run again.
func (s *Server) onPickList(r *request, body any, act func(tx pgx.Tx, listID string, out *pickCommand) error) (reply, error) {
	listID, err := idParam(r, "id", "pick list")
	if err != nil {
		return reply{}, err
	}
	if body != nil && len(r.body) > 0 {
		if err := decode(r.body, body); err != nil {
			return reply{}, err
		}
	}
	var f problem.Fields
	checkOperator(r, &f)
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var out pickCommand
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		out = pickCommand{Short: []picking.Missing{}, Elsewhere: []picking.Units{}, Missing: []picking.Missing{}}
		err := s.onlyOnce(r, tx)
		if err == nil {
			err = act(tx, listID, &out)
		}
		if err != nil && !errors.Is(err, errDone) {
			return err
		}
		out.List, err = picking.Read(r.ctx, tx, r.tenant, listID)
		return err
	})
	return ok(out), err
}

type assignBody struct {
	Operator string `json:"operator"`
	Version  int64  `json:"version"`
}

// assignPickList gives a list to an operator.
func (s *Server) assignPickList(r *request) (reply, error) {
	var in assignBody
	return s.onPickList(r, &in, func(tx pgx.Tx, listID string, _ *pickCommand) error {
		if in.Operator != "" && !operator.Name.MatchString(in.Operator) {
			var f problem.Fields
			f.Add("operator", "invalid", "an operator's name is 1 to 64 visible characters")
			return f.Err()
		}
		_, err := picking.Assign(r.ctx, tx, r.tenant, listID, in.Operator, in.Version)
		return err
	})
}

type versionBody struct {
	Version int64 `json:"version"`
}

// startPickList claims a list for who begins to walk.
func (s *Server) startPickList(r *request) (reply, error) {
	var in versionBody
	return s.onPickList(r, &in, func(tx pgx.Tx, listID string, _ *pickCommand) error {
		_, err := picking.Start(r.ctx, tx, r.tenant, listID, r.by(), in.Version)
		return err
	})
}

// refreshPickList looks for bins for what a list has lost.
func (s *Server) refreshPickList(r *request) (reply, error) {
	return s.onPickList(r, &struct{}{}, func(tx pgx.Tx, listID string, out *pickCommand) error {
		_, missing, err := picking.Refresh(r.ctx, tx, r.tenant, listID)
		out.Missing = append(out.Missing, missing...)
		return err
	})
}

type pickBody struct {
	AllocationID   string   `json:"allocation_id"`
	Line           int      `json:"line"`
	Bin            string   `json:"bin"`
	Product        string   `json:"product"`
	Lot            string   `json:"lot"`
	Serials        []string `json:"serials"`
	Quantity       int      `json:"quantity"`
	Swap           bool     `json:"swap"`
	OverrideReason string   `json:"override_reason"`
}

type picksBody struct {
	Picks   []pickBody `json:"picks"`
	To      string     `json:"to"`
	Version int64      `json:"version"`
}

// pickUnits confirms what an operator has taken.
func (s *Server) pickUnits(r *request) (reply, error) {
	var in picksBody
	return s.onPickList(r, &in, func(tx pgx.Tx, listID string, _ *pickCommand) error {
		c := picking.Picking{ListID: listID, To: in.To, Version: in.Version, By: r.by()}
		for _, p := range in.Picks {
			c.Picks = append(c.Picks, picking.Scan(p))
		}
		_, err := picking.Pick(r.ctx, tx, r.tenant, c)
		return err
	})
}

type shortBody struct {
	AllocationID string `json:"allocation_id"`
	Line         int    `json:"line"`
	Bin          string `json:"bin"`
	Found        int    `json:"found"`
	Reason       string `json:"reason"`
	Version      int64  `json:"version"`
}

// shortPick says that a bin has fewer units than are wanted from it.
func (s *Server) shortPick(r *request) (reply, error) {
	var in shortBody
	return s.onPickList(r, &in, func(tx pgx.Tx, listID string, out *pickCommand) error {
		c, err := picking.Short(r.ctx, tx, r.tenant, picking.Shorting{ListID: listID, AllocationID: in.AllocationID, Line: in.Line, Bin: in.Bin, Found: in.Found, Reason: in.Reason, Version: in.Version, By: r.by()})
		out.Short, out.Elsewhere = c.Short, c.Elsewhere
		return err
	})
}

type putBackBody struct {
	AllocationID string `json:"allocation_id"`
	Quantity     int    `json:"quantity"`
	Bin          string `json:"bin"`
}

type unpickBody struct {
	Units   []putBackBody `json:"units"`
	Version int64         `json:"version"`
}

// unpickUnits puts picked units back.
func (s *Server) unpickUnits(r *request) (reply, error) {
	var in unpickBody
	return s.onPickList(r, &in, func(tx pgx.Tx, listID string, _ *pickCommand) error {
		c := picking.Unpicking{ListID: listID, Version: in.Version, By: r.by()}
		for _, u := range in.Units {
			c.Units = append(c.Units, picking.PutBack(u))
		}
		_, err := picking.Unpick(r.ctx, tx, r.tenant, c)
		return err
	})
}

// completePickList ends a list and names what was not found.
func (s *Server) completePickList(r *request) (reply, error) {
	var in versionBody
	return s.onPickList(r, &in, func(tx pgx.Tx, listID string, out *pickCommand) error {
		c, err := picking.Complete(r.ctx, tx, r.tenant, listID, r.by(), in.Version)
		out.Short = c.Short
		return err
	})
}

type cancelListBody struct {
	ShipmentIDs []string `json:"shipment_ids"`
	To          string   `json:"to"`
	Reason      string   `json:"reason"`
	Version     int64    `json:"version"`
}

// cancelPickList takes a list, or shipments of it, back.
func (s *Server) cancelPickList(r *request) (reply, error) {
	var in cancelListBody
	return s.onPickList(r, &in, func(tx pgx.Tx, listID string, _ *pickCommand) error {
		var f problem.Fields
		checkShipments(&f, in.ShipmentIDs)
		if err := f.Err(); err != nil {
			return err
		}
		_, err := picking.Cancel(r.ctx, tx, r.tenant, picking.Cancelling{ListID: listID, ShipmentIDs: in.ShipmentIDs, To: in.To, Reason: in.Reason, Version: in.Version, By: r.by()})
		return err
	})
}
