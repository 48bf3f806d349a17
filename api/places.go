package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"

	"justlogistics/internal/cardnumber"
	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/floor"
	"justlogistics/internal/warehouse/picking"
	places "justlogistics/internal/warehouse/place"
)

// placeRoutes are places, bins and what lies in them.
func (s *Server) placeRoutes() {
	const (
		warehouse = tenant.Warehouse
		support   = tenant.Support
	)
	s.handle(http.MethodPut, "/v1/warehouses/:code/plan", s.putPlan, warehouse)
	s.handle(http.MethodGet, "/v1/warehouses/:code/plan", s.getPlan, warehouse, support)
	s.handle(http.MethodGet, "/v1/warehouses/:code/map.svg", s.getMap, warehouse, support)
	s.handleFile("/v1/warehouses/:code/bins", s.importBins, warehouse)
	s.handle(http.MethodGet, "/v1/warehouses/:code/bins", s.listBins, warehouse, support)
	s.handle(http.MethodPut, "/v1/warehouses/:code/bins/:bin", s.putBin, warehouse)
	s.handle(http.MethodGet, "/v1/warehouses/:code/bins/:bin", s.getBin, warehouse, support)

	s.handle(http.MethodGet, "/v1/stock/:sku/bins", s.getStockBins, warehouse, support)
	s.work("move", http.MethodPost, "/v1/stock/moves", s.moveUnits, warehouse)

	s.handle(http.MethodGet, "/v1/lots/:lot", s.getLot, warehouse, support)
	s.work("move", http.MethodPost, "/v1/lots/:lot/hold", s.changeLot(places.HoldLot), warehouse)
	s.work("move", http.MethodPost, "/v1/lots/:lot/release", s.changeLot(places.ReleaseLot), warehouse)
	s.handle(http.MethodGet, "/v1/lots/:lot/trace", s.trace("lot", places.TraceLot), warehouse, support)
	s.handle(http.MethodGet, "/v1/serials/:serial/trace", s.trace("serial", places.TraceSerial), warehouse, support)
}

// handleFile registers a PUT of a CSV file, read as handleUpload reads one. The
// same file again has the same effect, so it needs no Idempotency-Key.
func (s *Server) handleFile(path string, h upload, scopes ...tenant.Scope) {
	s.router.PUT(path, func(c *gin.Context) {
		r, err := s.authenticate(c, scopes)
		if err == nil {
			var then endpoint
			if then, err = s.receive(r, csvFile, h); err == nil {
				s.answer(r, then).send(c)
				return
			}
		}
		s.problem(c, err).send(c)
	})
}

func (s *Server) putPlan(r *request) (reply, error) {
	var f problem.Fields
	retire := flag(r, &f, "retire")
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	plan, err := floor.ParsePlan(r.body)
	if err != nil {
		return reply{}, err
	}
	var out places.Planned
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = places.PutPlan(r.ctx, tx, r.tenant, r.Param("code"), plan, retire)
		return err
	})
	return ok(out), err
}

// flag reads a query parameter that is true or false.
func flag(r *request, f *problem.Fields, name string) bool {
	switch r.Query(name) {
	case "true":
		return true
	case "", "false":
	default:
		f.Add(name, "invalid", "true or false")
	}
	return false
}

func (s *Server) getPlan(r *request) (reply, error) {
	var text json.RawMessage
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		_, text, err = places.GetPlan(r.ctx, tx, r.tenant, r.Param("code"))
		return err
	})
	return ok(text), err
}

const typeSVG = "image/svg+xml"

func (s *Server) getMap(r *request) (reply, error) {
	var f problem.Fields
	mode, lang := floor.Mode(r.Query("mode")), r.Query("lang")
	if !slices.Contains([]floor.Mode{"", floor.ByFill, floor.ByPicks}, mode) {
		f.Add("mode", "invalid", "fill or picks")
	}
	if !slices.Contains([]string{"", "es", "en"}, lang) {
		f.Add("lang", "invalid", "es or en")
	}
	listID := r.Query("pick_list")
	if listID != "" && !id.Valid(listID) {
		f.Add("pick_list", "invalid", "the id of a pick list")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var svg []byte
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		var path, stops []floor.Point
		if listID != "" {
			if path, stops, err = picking.Walk(r.ctx, tx, r.tenant, r.Param("code"), listID); err != nil {
				return err
			}
		}
		svg, err = places.Chart(r.ctx, tx, r.tenant, r.Param("code"), mode, lang, path, stops)
		return err
	})
	return reply{status: http.StatusOK, text: svg, contentType: typeSVG}, err
}

// binsImported says what a file of bins did.
type binsImported struct {
	Bins    int `json:"bins"`
	Created int `json:"created"`
}

// importBins reads a file of bins against the warehouse's plan and writes them
// when all of it is right: no transaction is open while the file comes.
func (s *Server) importBins(r *request, file io.Reader) (endpoint, error) {
	warehouse := r.Param("code")
	var plan *floor.Plan
	var text json.RawMessage
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		plan, text, err = places.GetPlan(r.ctx, tx, r.tenant, warehouse)
		return err
	})
	if err != nil {
		return nil, err
	}
	var bins []floor.Bin
	var cards []string
	err = plan.ReadCSV(file, func(b floor.Bin) error {
		if cardnumber.In(b.Code) {
			cards = append(cards, "code")
		}
		bins = append(bins, b)
		return nil
	})
	if err := errors.Join(err, s.refuseCards(r.Context, cards)); err != nil {
		return nil, err
	}
	return func(r *request) (reply, error) {
		out := binsImported{Bins: len(bins)}
		err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
			out.Created, err = places.ImportBins(r.ctx, tx, r.tenant, warehouse, text, bins)
			return err
		})
		return ok(out), err
	}, nil
}

func (s *Server) listBins(r *request) (reply, error) {
	var f problem.Fields
	limit, after := paging(r, &f)
	in := places.Filter{Zone: r.Query("zone"), Kind: r.Query("kind"), Text: r.Query("q"), After: after, Limit: limit + 1}
	if in.Kind != "" && !slices.Contains(floor.BinKinds, floor.BinKind(in.Kind)) {
		f.Add("kind", "invalid", "no such kind of bin")
	}
	for name, v := range map[string]string{"zone": in.Zone, "q": in.Text} {
		if len(v) > 100 {
			f.Add(name, "too_long", "at most 100 bytes")
		}
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var all []places.Bin
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = places.ListBins(r.ctx, tx, r.tenant, r.Param("code"), in)
		return err
	})
	return ok(paged(all, limit, func(b places.Bin) string { return b.Code })), err
}

// binBody is a bin as its owner describes it.
type binBody struct {
	Zone           string `json:"zone"`
	Kind           string `json:"kind"`
	XMM            *int64 `json:"x_mm"`
	YMM            *int64 `json:"y_mm"`
	ZMM            *int64 `json:"z_mm"`
	Node           string `json:"node"`
	MaxUnits       int64  `json:"max_units"`
	MaxWeightGrams int64  `json:"max_weight_grams"`
	MaxVolumeMM3   int64  `json:"max_volume_mm3"`
	LotRule        string `json:"lot_rule"`
	Active         *bool  `json:"active"`
}

func (s *Server) putBin(r *request) (reply, error) {
	var in binBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	warehouse, code := r.Param("code"), r.Param("bin")
	b := floor.BinInput{Code: code, Zone: in.Zone, Kind: floor.BinKind(in.Kind), XMM: in.XMM, YMM: in.YMM, ZMM: in.ZMM, Node: in.Node,
		MaxUnits: in.MaxUnits, MaxWeightGrams: in.MaxWeightGrams, MaxVolumeMM3: in.MaxVolumeMM3, LotRule: floor.LotRule(in.LotRule)}
	var isNew bool
	var out places.BinContents
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if isNew, err = places.PutBin(r.ctx, tx, r.tenant, warehouse, b, in.Active == nil || *in.Active); err != nil {
			return err
		}
		out, err = places.GetBin(r.ctx, tx, r.tenant, warehouse, code)
		return err
	})
	return put(isNew, "/v1/warehouses/"+url.PathEscape(warehouse)+"/bins/"+url.PathEscape(code), out), err
}

func (s *Server) getBin(r *request) (reply, error) {
	var out places.BinContents
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = places.GetBin(r.ctx, tx, r.tenant, r.Param("code"), r.Param("bin"))
		return err
	})
	return ok(out), err
}

func (s *Server) getStockBins(r *request) (reply, error) {
	var out places.Whereabouts
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = places.Where(r.ctx, tx, r.tenant, r.Param("sku"))
		return err
	})
	return ok(out), err
}

type spotBody struct {
	Bin    string `json:"bin"`
	Status string `json:"status"`
}

func (b *spotBody) spot() *stock.Spot {
	if b == nil {
		return nil
	}
	return &stock.Spot{Bin: b.Bin, Status: b.Status}
}

type moveBody struct {
	Warehouse string    `json:"warehouse"`
	SKU       string    `json:"sku"`
	Code      string    `json:"code"`
	Lot       string    `json:"lot"`
	ExpiresOn string    `json:"expires_on"`
	Serial    string    `json:"serial"`
	Serials   []string  `json:"serials"`
	Quantity  int       `json:"quantity"`
	From      *spotBody `json:"from"`
	To        *spotBody `json:"to"`
	Reason    string    `json:"reason"`
	Note      string    `json:"note"`
	Force     bool      `json:"force"`
	Version   int64     `json:"version"`
}

// maxSerials bounds the units that one request names by their numbers.
const maxSerials = 1000

func (in moveBody) moving(by stock.By) (places.Moving, error) {
	var f problem.Fields
	checkWarehouse(&f, "warehouse", in.Warehouse)
	switch {
	case in.SKU == "" && in.Code == "":
		f.Add("sku", "required", "name the SKU, or the code that was scanned")
	case in.SKU != "":
		checkSKU(&f, in.SKU)
	}
	checkNotes(&f, in.Note, "")
	if len(in.Serials) > maxSerials {
		f.Add("serials", "too_many", "at most %d", maxSerials)
	}
	if in.Serial != "" && len(in.Serials) > 0 {
		f.Add("serial", "repeated", "name the serials once")
	}
	if in.Quantity < 0 || in.Quantity > maxUnits {
		f.Add("quantity", "out_of_range", "1 to %d", maxUnits)
	}
	if in.Version < 0 {
		f.Add("version", "out_of_range", "not negative")
	}
	m := places.Moving{Warehouse: in.Warehouse, SKU: in.SKU, Scanned: in.Code, Lot: in.Lot, Serials: in.Serials, Quantity: in.Quantity,
		From: in.From.spot(), To: in.To.spot(), Reason: in.Reason, Note: in.Note, Force: in.Force, Version: in.Version, By: by}
	if in.Serial != "" {
		m.Serials = []string{in.Serial}
	}
	if in.ExpiresOn != "" {
		day, err := time.Parse(time.DateOnly, in.ExpiresOn)
		if err != nil {
			f.Add("expires_on", "invalid", "want a day like 2026-11-20")
		}
		m.ExpiresOn = &day
	}
	return m, f.Err()
}

// moveUnits moves units between bins by hand.
func (s *Server) moveUnits(r *request) (reply, error) {
	var in moveBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	if err := r.checkOperator(); err != nil {
		return reply{}, err
	}
	m, err := in.moving(r.by())
	if err != nil {
		return reply{}, err
	}
	var out places.Move
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if err := s.onlyOnce(r, tx); err != nil {
			return err
		}
		out, err = places.MoveUnits(r.ctx, tx, r.tenant, m)
		return err
	})
	if errors.Is(err, errDone) {
		err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
			out, err = places.AfterMove(r.ctx, tx, r.tenant, m)
			return err
		})
	}
	if err != nil {
		return reply{}, err
	}
	s.tellShorted(r, out.Shorted)
	return created(stockPath(out.SKU)+"/bins", out), nil
}

func (s *Server) getLot(r *request) (reply, error) {
	var out places.Lot
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = places.GetLot(r.ctx, tx, r.tenant, r.Param("lot"))
		return err
	})
	return ok(out), err
}

type lotBody struct {
	SKU    string `json:"sku"`
	Reason string `json:"reason"`
}

// changeLot holds or releases a lot. Done again it changes nothing more, so it
// needs no note of having begun.
func (s *Server) changeLot(do func(context.Context, pgx.Tx, string, places.LotOrder) (places.LotChange, error)) endpoint {
	return func(r *request) (reply, error) {
		var in lotBody
		if err := decode(r.body, &in); err != nil {
			return reply{}, err
		}
		var f problem.Fields
		checkOperator(r, &f)
		checkSKU(&f, in.SKU)
		switch {
		case in.Reason == "":
			f.Add("reason", "required", "say why")
		case len(in.Reason) > 500:
			f.Add("reason", "too_long", "at most 500 bytes")
		}
		if err := f.Err(); err != nil {
			return reply{}, err
		}
		var out places.LotChange
		err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
			out, err = do(r.ctx, tx, r.tenant, places.LotOrder{SKU: in.SKU, Lot: r.Param("lot"), Reason: in.Reason, By: r.by()})
			return err
		})
		if err != nil {
			return reply{}, err
		}
		s.tellShorted(r, out.Shorted)
		return ok(out), nil
	}
}

// traced is a trace with where its movements go on.
type traced struct {
	places.Trace
	NextCursor *string `json:"next_cursor"`
}

type tracer func(ctx context.Context, tx pgx.Tx, tenant, name, sku string, after int64, limit int) (places.Trace, error)

func (s *Server) trace(param string, of tracer) endpoint {
	return func(r *request) (reply, error) {
		var f problem.Fields
		limit, after := paging(r, &f)
		var from int64
		if after != "" {
			var err error
			if from, err = strconv.ParseInt(after, 10, 64); err != nil || from < 1 {
				f.Add("cursor", "invalid", "use next_cursor as it was given")
			}
		}
		if sku := r.Query("sku"); sku != "" {
			checkSKU(&f, sku)
		}
		if err := f.Err(); err != nil {
			return reply{}, err
		}
		var out traced
		err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
			out.Trace, err = of(r.ctx, tx, r.tenant, r.Param(param), r.Query("sku"), from, limit+1)
			return err
		})
		page := paged(out.Movements, limit, func(m places.Step) string { return strconv.FormatInt(m.ID, 10) })
		out.Movements, out.NextCursor = page.Data, page.NextCursor
		return ok(out), err
	}
}
