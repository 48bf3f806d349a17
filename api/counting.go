package api

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/catalog"
	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/counting"
	"justlogistics/workflows"
)

// countingRoutes are counts and stock alerts.
func (s *Server) countingRoutes() {
	const (
		warehouse = tenant.Warehouse
		support   = tenant.Support
	)
	s.work("count", http.MethodPost, "/v1/counts", s.createCount, warehouse)
	s.handle(http.MethodGet, "/v1/counts/:id", s.getCount, warehouse, support)
	s.handle(http.MethodGet, "/v1/counts/:id/tasks", s.listTasksOfCount, warehouse, support)
	s.work("count", http.MethodPost, "/v1/counts/:id/cancel", s.cancelCount, warehouse, support)
	s.handle(http.MethodGet, "/v1/count-tasks", s.listCountTasks, warehouse, support)
	// What the books say is shown to those who decide, never to who counts.
	s.handle(http.MethodGet, "/v1/count-tasks/:id", s.getCountTask, support)
	s.work("count", http.MethodPost, "/v1/count-tasks/:id/begin", s.beginCountTask, warehouse)
	s.work("count", http.MethodPost, "/v1/count-tasks/:id/results", s.submitCount, warehouse)
	s.work("supervise", http.MethodPost, "/v1/count-tasks/:id/approve", s.decideCount(counting.Approve), support)
	s.work("supervise", http.MethodPost, "/v1/count-tasks/:id/reject", s.decideCount(counting.Reject), support)
	s.handle(http.MethodPut, "/v1/count-plans/:name", s.putCountPlan, warehouse)
	s.handle(http.MethodGet, "/v1/count-plans/:name", s.getCountPlan, warehouse, support)
	s.handle(http.MethodGet, "/v1/adjustment-reasons", s.listReasons, warehouse, support)
	s.handle(http.MethodPut, "/v1/adjustment-reasons/:code", s.putReason, warehouse)
	s.handle(http.MethodGet, "/v1/adjustment-reasons/:code", s.getReason, warehouse, support)
	s.handle(http.MethodGet, "/v1/reports/count-accuracy", s.getCountAccuracy, warehouse, support)
	s.handle(http.MethodPut, "/v1/stock/:sku/threshold", s.putThreshold, warehouse)
	s.handle(http.MethodGet, "/v1/stock/alerts", s.listAlerts, warehouse, support)
}

type newCountBody struct {
	Warehouse        string   `json:"warehouse"`
	Zone             string   `json:"zone"`
	Bins             []string `json:"bins"`
	Class            string   `json:"class"`
	OlderThanDays    int      `json:"older_than_days"`
	Reason           string   `json:"reason"`
	ToleranceUnits   *int     `json:"tolerance_units"`
	TolerancePercent *int     `json:"tolerance_percent"`
	Recount          *bool    `json:"recount"`
}

func (s *Server) createCount(r *request) (reply, error) {
	var in newCountBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	asked := counting.Request{Warehouse: in.Warehouse, Reason: in.Reason, ToleranceUnits: in.ToleranceUnits, TolerancePercent: in.TolerancePercent, Recount: in.Recount,
		Selection: counting.Selection{Zone: in.Zone, Bins: in.Bins, Class: in.Class, OlderThanDays: in.OlderThanDays}}
	if err := r.checkOperator(); err != nil {
		return reply{}, err
	}
	countID := r.begun()
	var out counting.Document
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if r.begun() != "" {
			out, err = counting.Get(r.ctx, tx, r.tenant, countID)
			return err
		}
		countID = id.New()
		if out, err = counting.Create(r.ctx, tx, r.tenant, countID, asked, r.by()); err != nil {
			return err
		}
		return r.claim.Begun(r.ctx, tx, countID)
	})
	if err != nil {
		return reply{}, err
	}
	s.beginCount(r, out)
	return created("/v1/counts/"+countID, out), nil
}

// beginCount starts a count's run.
func (s *Server) beginCount(r *request, d counting.Document) {
	s.begin(r, workflows.KindCount, d.ID, "count of "+strconv.Itoa(d.Tasks.Total)+" bins in "+d.Warehouse, workflows.CountName, workflows.CountInput{Tenant: r.tenant, CountID: d.ID})
}

// tellCount has a count's run look at its rows. One that is not told looks by
// itself within the hour.
func (s *Server) tellCount(r *request, countID string) {
	s.later(r.ctx, 5*time.Second, func(ctx context.Context) {
		if err := s.temporal.SignalWorkflow(ctx, workflows.ID(workflows.KindCount, r.tenant, countID), "", workflows.SignalChanged, nil); err != nil {
			s.log.WarnContext(ctx, "a count's run was not told of a change", slog.String("count_id", countID), slog.Any("error", err))
		}
	})
}

// idOf is the id in a path, which must look like one.
func idOf(r *request, what string) (string, error) {
	v := r.Param("id")
	if !id.Valid(v) {
		return "", problem.Missing(what)
	}
	return v, nil
}

func (s *Server) getCount(r *request) (reply, error) {
	countID, err := idOf(r, "count")
	if err != nil {
		return reply{}, err
	}
	var out counting.Document
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = counting.Get(r.ctx, tx, r.tenant, countID)
		return err
	})
	return ok(out), err
}

func (s *Server) cancelCount(r *request) (reply, error) {
	countID, err := idOf(r, "count")
	if err != nil {
		return reply{}, err
	}
	if len(r.body) > 0 {
		if err := decode(r.body, &struct{}{}); err != nil {
			return reply{}, err
		}
	}
	var out counting.Document
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if err := counting.Cancel(r.ctx, tx, r.tenant, countID); err != nil {
			return err
		}
		out, err = counting.Get(r.ctx, tx, r.tenant, countID)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	s.tellCount(r, countID)
	return ok(out), nil
}

func (s *Server) listTasksOfCount(r *request) (reply, error) {
	countID, err := idOf(r, "count")
	if err != nil {
		return reply{}, err
	}
	return s.countTasks(r, countID)
}

func (s *Server) listCountTasks(r *request) (reply, error) { return s.countTasks(r, "") }

func (s *Server) countTasks(r *request, countID string) (reply, error) {
	var f problem.Fields
	limit, after := paging(r, &f)
	filter := counting.TaskFilter{CountID: countID, Warehouse: r.Query("warehouse"), Zone: r.Query("zone"), Status: r.Query("status"), After: after, Limit: limit + 1}
	if filter.Status != "" && !slices.Contains(counting.States, filter.Status) {
		f.Add("status", "invalid", "no such status of a task")
	}
	if filter.Warehouse != "" && !catalog.WarehouseCode.MatchString(filter.Warehouse) {
		f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
	}
	if len(filter.Zone) > 100 {
		f.Add("zone", "too_long", "at most 100 bytes")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var all []counting.Task
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if countID != "" {
			if _, err := counting.Get(r.ctx, tx, r.tenant, countID); err != nil {
				return err
			}
		}
		all, err = counting.Tasks(r.ctx, tx, r.tenant, filter)
		return err
	})
	return ok(paged(all, limit, func(t counting.Task) string { return t.ID })), err
}

func (s *Server) getCountTask(r *request) (reply, error) {
	taskID, err := idOf(r, "count task")
	if err != nil {
		return reply{}, err
	}
	var out counting.Result
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = counting.Read(r.ctx, tx, r.tenant, taskID)
		return err
	})
	return ok(out), err
}

type beginBody struct {
	ExpectedVersion int64 `json:"expected_version"`
}

func (s *Server) beginCountTask(r *request) (reply, error) {
	taskID, err := idOf(r, "count task")
	if err != nil {
		return reply{}, err
	}
	var in beginBody
	if len(r.body) > 0 {
		if err := decode(r.body, &in); err != nil {
			return reply{}, err
		}
	}
	if err := r.checkOperator(); err != nil {
		return reply{}, err
	}
	var out counting.Task
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = counting.Begin(r.ctx, tx, r.tenant, taskID, in.ExpectedVersion, r.by())
		return err
	})
	return ok(out), err
}

// countOutcome is a task after somebody acted on it, with who lost units.
type countOutcome struct {
	Task    counting.Task   `json:"task"`
	Shorted []stock.Shorted `json:"shorted"`
}

func (s *Server) submitCount(r *request) (reply, error) {
	var in counting.Counted
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	return s.actOnTask(r, func(tx pgx.Tx, taskID string) (counting.Outcome, error) {
		return counting.Submit(r.ctx, tx, r.tenant, taskID, in, r.by())
	})
}

type countDecision func(ctx context.Context, tx pgx.Tx, tenant, taskID string, d counting.Decision, by stock.By) (counting.Outcome, error)

func (s *Server) decideCount(decide countDecision) endpoint {
	return func(r *request) (reply, error) {
		var in counting.Decision
		if len(r.body) > 0 {
			if err := decode(r.body, &in); err != nil {
				return reply{}, err
			}
		}
		return s.actOnTask(r, func(tx pgx.Tx, taskID string) (counting.Outcome, error) {
			return decide(r.ctx, tx, r.tenant, taskID, in, r.by())
		})
	}
}

// actOnTask runs one action, and tells the runs that must know of it.
func (s *Server) actOnTask(r *request, act func(tx pgx.Tx, taskID string) (counting.Outcome, error)) (reply, error) {
	taskID, err := idOf(r, "count task")
	if err != nil {
		return reply{}, err
	}
	if err := r.checkOperator(); err != nil {
		return reply{}, err
	}
	var out counting.Outcome
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = act(tx, taskID)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	s.tellShorted(r, out.Moved.Shorted)
	if out.Changed {
		s.tellCount(r, out.Task.CountID)
	}
	if out.Moved.Shorted == nil {
		out.Moved.Shorted = []stock.Shorted{}
	}
	return ok(countOutcome{Task: out.Task, Shorted: out.Moved.Shorted}), nil
}

type planBody struct {
	Warehouse  string `json:"warehouse"`
	Zone       string `json:"zone"`
	Class      string `json:"class"`
	EveryDays  int    `json:"every_days"`
	BinsPerDay int    `json:"bins_per_day"`
	Active     *bool  `json:"active"`
}

func (s *Server) putCountPlan(r *request) (reply, error) {
	var in planBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	name := r.Param("name")
	var out counting.Plan
	isNew := false
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		isNew, err = counting.PutPlan(r.ctx, tx, r.tenant, counting.Plan{Name: name, Warehouse: in.Warehouse, Zone: in.Zone, Class: in.Class, EveryDays: in.EveryDays, BinsPerDay: in.BinsPerDay, Active: in.Active == nil || *in.Active})
		if err != nil {
			return err
		}
		out, err = counting.GetPlan(r.ctx, tx, r.tenant, name)
		return err
	})
	return put(isNew, "/v1/count-plans/"+name, out), err
}

func (s *Server) getCountPlan(r *request) (reply, error) {
	var out counting.Plan
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = counting.GetPlan(r.ctx, tx, r.tenant, r.Param("name"))
		return err
	})
	return ok(out), err
}

func (s *Server) listReasons(r *request) (reply, error) {
	var all []counting.Reason
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = counting.Reasons(r.ctx, tx, r.tenant)
		return err
	})
	return ok(list[counting.Reason]{Data: all}), err
}

type adjustmentReasonBody struct {
	NameES string `json:"name_es"`
	NameEN string `json:"name_en"`
	Active *bool  `json:"active"`
}

func (s *Server) putReason(r *request) (reply, error) {
	var in adjustmentReasonBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	code := r.Param("code")
	var out counting.Reason
	isNew := false
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if isNew, err = counting.PutReason(r.ctx, tx, r.tenant, counting.Reason{Code: code, NameES: in.NameES, NameEN: in.NameEN, Active: in.Active == nil || *in.Active}); err != nil {
			return err
		}
		out, err = counting.GetReason(r.ctx, tx, r.tenant, code)
		return err
	})
	return put(isNew, "/v1/adjustment-reasons/"+code, out), err
}

func (s *Server) getReason(r *request) (reply, error) {
	var out counting.Reason
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = counting.GetReason(r.ctx, tx, r.tenant, r.Param("code"))
		return err
	})
	return ok(out), err
}

// usualAccuracy is the time that the report covers when nobody names one.
const usualAccuracy = 30 * 24 * time.Hour

// accuracyReport is a report with what it was asked about.
type accuracyReport struct {
	Warehouse *string   `json:"warehouse"` // null: all
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
	counting.Report
}

func (s *Server) getCountAccuracy(r *request) (reply, error) {
	var f problem.Fields
	warehouse := r.Query("warehouse")
	if warehouse != "" && !catalog.WarehouseCode.MatchString(warehouse) {
		f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
	}
	from, to := moment(r, &f, "from"), moment(r, &f, "to")
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	out := accuracyReport{To: time.Now().UTC()}
	if to != nil {
		out.To = *to
	}
	out.From = out.To.Add(-usualAccuracy)
	if from != nil {
		out.From = *from
	}
	if !out.From.Before(out.To) {
		f.Add("from", "out_of_range", "must lie before to")
		return reply{}, f.Err()
	}
	if warehouse != "" {
		out.Warehouse = &warehouse
	}
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out.Report, err = counting.Measure(r.ctx, tx, r.tenant, warehouse, out.From, out.To)
		return err
	})
	return ok(out), err
}

type thresholdBody struct {
	Warehouse string `json:"warehouse"`
	Units     *int   `json:"units"`
}

func (s *Server) putThreshold(r *request) (reply, error) {
	var in thresholdBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var out counting.Threshold
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = counting.SetThreshold(r.ctx, tx, r.tenant, r.Param("sku"), in.Warehouse, in.Units)
		return err
	})
	return ok(out), err
}

func (s *Server) listAlerts(r *request) (reply, error) {
	var f problem.Fields
	limit, after := paging(r, &f)
	before := int64(0)
	if after != "" {
		var err error
		if before, err = strconv.ParseInt(after, 10, 64); err != nil || before < 1 {
			f.Add("cursor", "invalid", "use next_cursor as it was given")
		}
	}
	var open *bool
	switch v := r.Query("open"); v {
	case "":
	case "true", "false":
		yes := v == "true"
		open = &yes
	default:
		f.Add("open", "invalid", "true or false")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var all []counting.Alert
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = counting.Alerts(r.ctx, tx, r.tenant, open, before, limit+1)
		return err
	})
	return ok(paged(all, limit, func(a counting.Alert) string { return strconv.FormatInt(a.ID, 10) })), err
}
