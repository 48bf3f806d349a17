package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/catalog"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/operator"
)

// scanRoutes are the operators' commands.
func (s *Server) scanRoutes() {
	s.handle(http.MethodPost, "/v1/scans", s.takeScans, tenant.Warehouse)
	s.handle(http.MethodGet, "/v1/operators", s.listOperators, tenant.Warehouse, tenant.Support)
	s.handle(http.MethodPut, "/v1/operators/:name", s.putOperator)
	s.handle(http.MethodPost, "/v1/tasks/:task/claim", s.claimTask, tenant.Warehouse)
	s.handle(http.MethodPost, "/v1/tasks/:task/release", s.releaseTask, tenant.Warehouse)
	s.handle(http.MethodGet, "/v1/exceptions", s.listExceptions, tenant.Warehouse, tenant.Support)
	s.handle(http.MethodPost, "/v1/exceptions/:id/resolve", s.resolveException, tenant.Warehouse, tenant.Support)
}

// by is who works in a warehouse: the operator that the request names, or what
// stands for one.
func (r *request) by() stock.By {
	by := stock.By{Person: r.GetHeader("X-Operator"), KeyID: r.key.ID}
	if by.Person == "" {
		by.Person = r.actor()
	}
	return by
}

// checkOperator notes a header X-Operator that names nobody.
func checkOperator(r *request, f *problem.Fields) {
	if name := r.GetHeader("X-Operator"); name != "" && !operator.Name.MatchString(name) {
		f.Add("X-Operator", "invalid", "an operator's name is 1 to 64 visible characters")
	}
}

// checkOperator refuses a request whose operator is none.
func (r *request) checkOperator() error {
	var f problem.Fields
	checkOperator(r, &f)
	return f.Err()
}

// work registers an endpoint at which an operator changes something: the person
// must be allowed that ability where the tenant says what its operators may do.
// A key with scope admin that names no operator may all.
func (s *Server) work(ability, method, path string, h endpoint, scopes ...tenant.Scope) {
	s.handle(method, path, func(r *request) (reply, error) {
		if err := r.checkOperator(); err != nil {
			return reply{}, err
		}
		if r.GetHeader("X-Operator") == "" && r.admin() {
			return h(r)
		}
		err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error { return operator.Allow(r.ctx, tx, r.tenant, r.by().Person, ability) })
		if err != nil {
			return reply{}, err
		}
		return h(r)
	}, scopes...)
}

const (
	mostCommands = 500
	// longestOffline bounds the clock of a scanner.
	longestOffline = 31 * 24 * time.Hour
)

type commandsBody struct {
	Device   string        `json:"device"`
	Commands []commandBody `json:"commands"`
}

type commandBody struct {
	ID              string         `json:"id"`
	Seq             *int64         `json:"seq"`
	Kind            string         `json:"kind"`
	Task            string         `json:"task"`
	ExpectedVersion *int64         `json:"expected_version"`
	Operator        string         `json:"operator"`
	At              *string        `json:"at"`
	Scanned         map[string]any `json:"scanned"`
}

type scansAnswer struct {
	Results []operator.Answer `json:"results"`
}

// takeScans applies the commands of one device. Only a request that is no list
// of commands is refused as a whole; each command has its own answer.
func (s *Server) takeScans(r *request) (reply, error) {
	var in commandsBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	if err := r.checkOperator(); err != nil {
		return reply{}, err
	}
	commands, err := in.commands()
	if err != nil {
		return reply{}, err
	}
	desk := operator.Desk{DB: s.db, Actions: s.actions(r)}
	answers, err := desk.Apply(r.ctx, r.tenant, in.Device, r.by(), commands)
	return ok(scansAnswer{answers}), err
}

func (in commandsBody) commands() ([]operator.Command, error) {
	var f problem.Fields
	if !visible(in.Device, 64) {
		f.Add("device", "required", "1 to 64 visible characters")
	}
	if len(in.Commands) == 0 || len(in.Commands) > mostCommands {
		f.Add("commands", "out_of_range", "1 to %d", mostCommands)
		return nil, f.Err()
	}
	seen := map[string]bool{}
	list := make([]operator.Command, len(in.Commands))
	for i, c := range in.Commands {
		at := fmt.Sprintf("commands[%d].", i)
		switch {
		case !visible(c.ID, 64):
			f.Add(at+"id", "required", "1 to 64 visible characters")
		case seen[c.ID]:
			f.Add(at+"id", "repeated", "each command has an id of its own")
		}
		seen[c.ID] = true
		if c.Seq == nil {
			f.Add(at+"seq", "required", "the device counts its commands")
		} else {
			list[i].Seq = *c.Seq
		}
		if c.Kind == "" || len(c.Kind) > 64 {
			f.Add(at+"kind", "required", "say what was done")
		}
		if c.Task != "" && !operator.Task.MatchString(c.Task) {
			f.Add(at+"task", "invalid", "a task is named kind:id")
		}
		if c.Operator != "" && !operator.Name.MatchString(c.Operator) {
			f.Add(at+"operator", "invalid", "an operator's name is 1 to 64 visible characters")
		}
		when := catalog.Moment(&f, at+"at", c.At)
		if when == nil {
			now := time.Now()
			when = &now
		}
		if ahead := time.Until(*when); ahead > time.Hour || ahead < -longestOffline {
			f.Add(at+"at", "out_of_range", "within the last 31 days")
		}
		if c.Scanned == nil {
			c.Scanned = map[string]any{}
		}
		scanned, err := json.Marshal(c.Scanned)
		if err != nil {
			return nil, err
		}
		list[i].ID, list[i].Kind, list[i].Task, list[i].ExpectedVersion, list[i].Person, list[i].At, list[i].Scanned = c.ID, c.Kind, c.Task, c.ExpectedVersion, c.Operator, *when, scanned
	}
	return list, f.Err()
}

// visible reports whether a text is 1 to so many visible ASCII characters.
func visible(text string, longest int) bool {
	if text == "" || len(text) > longest {
		return false
	}
	for i := range len(text) {
		if text[i] < '!' || text[i] > '~' {
			return false
		}
	}
	return true
}

type operatorBody struct {
	May    []string `json:"may"`
	Active *bool    `json:"active"`
}

func (s *Server) putOperator(r *request) (reply, error) {
	var in operatorBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var made bool
	var o operator.Operator
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if made, err = operator.Put(r.ctx, tx, r.tenant, operator.Operator{Name: r.Param("name"), May: in.May, Active: in.Active == nil || *in.Active}); err != nil {
			return err
		}
		o, err = operator.Get(r.ctx, tx, r.tenant, r.Param("name"))
		return err
	})
	if made {
		return created("/v1/operators", o), err
	}
	return ok(o), err
}

func (s *Server) listOperators(r *request) (reply, error) {
	out := list[operator.Operator]{Data: []operator.Operator{}}
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		found, err := operator.List(r.ctx, tx, r.tenant)
		out.Data = append([]operator.Operator{}, found...)
		return err
	})
	return ok(out), err
}

type claimBody struct {
	Seconds *int   `json:"seconds"`
	Device  string `json:"device"`
}

// usualLease is how long a task is somebody's who does not say for how long.
const usualLease = 900

func (s *Server) claimTask(r *request) (reply, error) {
	in := claimBody{}
	if len(r.body) > 0 {
		if err := decode(r.body, &in); err != nil {
			return reply{}, err
		}
	}
	if err := r.checkOperator(); err != nil {
		return reply{}, err
	}
	var f problem.Fields
	if in.Device != "" && !visible(in.Device, 64) {
		f.Add("device", "invalid", "1 to 64 visible characters")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	seconds := usualLease
	if in.Seconds != nil {
		seconds = *in.Seconds
	}
	var l operator.Lease
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		l, err = operator.Claim(r.ctx, tx, r.tenant, r.Param("task"), r.by().Person, in.Device, seconds)
		return err
	})
	return ok(l), err
}

func (s *Server) releaseTask(r *request) (reply, error) {
	if err := r.checkOperator(); err != nil {
		return reply{}, err
	}
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		return operator.LetGo(r.ctx, tx, r.tenant, r.Param("task"), r.by().Person)
	})
	return ok(map[string]string{"task": clip(r.Param("task"))}), err
}

func (s *Server) listExceptions(r *request) (reply, error) {
	var f problem.Fields
	limit, after := paging(r, &f)
	status := r.Query("status")
	if status != "" && status != "open" && status != "resolved" {
		f.Add("status", "invalid", "open or resolved")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var found []operator.Exception
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		found, err = operator.Exceptions(r.ctx, tx, r.tenant, status, after, limit+1)
		return err
	})
	return ok(paged(found, limit, func(e operator.Exception) string { return e.ID })), err
}

type resolutionBody struct {
	Resolution string `json:"resolution"`
}

func (s *Server) resolveException(r *request) (reply, error) {
	exceptionID, err := idParam(r, "id", "exception")
	if err != nil {
		return reply{}, err
	}
	var in resolutionBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	if err := r.checkOperator(); err != nil {
		return reply{}, err
	}
	var e operator.Exception
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		e, err = operator.Resolve(r.ctx, tx, r.tenant, exceptionID, in.Resolution, r.by().Person)
		return err
	})
	return ok(e), err
}
