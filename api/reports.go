package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"
	enumspb "go.temporal.io/api/enums/v1"

	"justlogistics/internal/cardnumber"
	"justlogistics/internal/gateways"
	"justlogistics/internal/payment"
	"justlogistics/internal/problem"
	"justlogistics/internal/reconcile"
	"justlogistics/internal/returns"
	"justlogistics/internal/tenant"
	"justlogistics/internal/transactions"
	"justlogistics/workflows"
)

const (
	// maxUpload is the most bytes of a file that is read as it comes.
	maxUpload = 32 << 20
	// uploadIn is how long a slow line may take for it.
	uploadIn = 2 * time.Minute
	// usualSales and mostSales are days of a sales report.
	usualSales = 30
	mostSales  = 366
)

var (
	transactionKinds    = []string{transactions.Payment, transactions.Refund}
	transactionStatuses = []string{"pending", "processing", "authorized", "captured", "declined", "cancelled", "expired", "unknown", "partially_refunded", "refunded", "disputed", "charged_back",
		"succeeded", "failed", "needs_attention"}
)

func (s *Server) listTransactions(r *request) (reply, error) {
	var f problem.Fields
	limit, after := paging(r, &f)
	filter := transactions.Filter{Gateway: r.Query("gateway"), Status: r.Query("status"), Order: r.Query("order"), Kind: r.Query("kind"), From: moment(r, &f, "from"), To: moment(r, &f, "to"),
		MinAmount: wholeNumber(r, &f, "min_amount"), MaxAmount: wholeNumber(r, &f, "max_amount"), Before: after, Limit: limit + 1}
	if filter.Kind != "" && !slices.Contains(transactionKinds, filter.Kind) {
		f.Add("kind", "invalid", "payment or refund")
	}
	if filter.Status != "" && !slices.Contains(transactionStatuses, filter.Status) {
		f.Add("status", "invalid", "no such status of a payment or refund")
	}
	for name, value := range map[string]string{"gateway": filter.Gateway, "order": filter.Order} {
		if len(value) > 100 {
			f.Add(name, "too_long", "at most 100 bytes")
		}
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var all []transactions.Transaction
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = transactions.List(r.ctx, tx, r.tenant, filter)
		return err
	})
	if errors.Is(err, transactions.ErrPosition) {
		f.Add("cursor", "invalid", "use next_cursor as it was given")
		return reply{}, f.Err()
	}
	return ok(paged(all, limit, transactions.Transaction.Position)), err
}

// wholeNumber reads a query parameter that is an amount.
func wholeNumber(r *request, f *problem.Fields, name string) *int64 {
	v := r.Query(name)
	if v == "" {
		return nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		f.Add(name, "invalid", "want a whole number of the currency's minor unit")
		return nil
	}
	return &n
}

// salesReport is what gateways took and gave back, day by day.
type salesReport struct {
	From     string               `json:"from"`
	To       string               `json:"to"`
	TimeZone string               `json:"time_zone"`
	Data     []transactions.Sales `json:"data"`
	Totals   []salesTotal         `json:"totals"`
}

type salesTotal struct {
	Currency string `json:"currency"`
	Captured int64  `json:"captured"`
	Refunded int64  `json:"refunded"`
	Net      int64  `json:"net"`
	Count    int    `json:"count"`
	Refunds  int    `json:"refunds"`
	Fees     int64  `json:"fees"`
}

func (s *Server) getSales(r *request) (reply, error) {
	var f problem.Fields
	asCSV := wantsCSV(r, &f)
	var out salesReport
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		from, to, zone, err := span(r, tx, &f)
		if err != nil {
			return err
		}
		out = salesReport{From: from.Date, To: to.Date, TimeZone: zone.String()}
		out.Data, err = transactions.DailySales(r.ctx, tx, r.tenant, from.From, to.To, zone)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	if !asCSV {
		out.add()
		return ok(out), nil
	}
	sheet := newSheet("date", "gateway", "currency", "captured", "refunded", "net", "count", "refunds", "fees")
	for _, d := range out.Data {
		sheet.row(d.Date, d.Gateway, d.Currency, d.Captured, d.Refunded, d.Net, d.Count, d.Refunds, d.Fees)
	}
	return sheet.reply(), nil
}

// span reads the days of a report: from and to, both included, in the tenant's zone.
func span(r *request, tx pgx.Tx, f *problem.Fields) (from, to reconcile.Day, zone *time.Location, err error) {
	if zone, err = reconcile.Zone(r.ctx, tx, r.tenant); err != nil {
		return from, to, zone, err
	}
	to = day(r, f, "to", zone, reconcile.DayOf(time.Now(), zone))
	first, err := reconcile.DayIn(to.From.In(zone).AddDate(0, 0, 1-usualSales).Format(time.DateOnly), zone)
	if err != nil {
		return from, to, zone, err
	}
	from = day(r, f, "from", zone, first)
	if to.To.Before(from.To) || to.From.Sub(from.From) > mostSales*24*time.Hour {
		f.Add("from", "out_of_range", "not after to, and at most %d days before it", mostSales)
	}
	return from, to, zone, f.Err()
}

// returnsReport is what came back of what was delivered within a span.
type returnsReport struct {
	From     string `json:"from"`
	To       string `json:"to"`
	TimeZone string `json:"time_zone"`
	returns.Report
}

func (s *Server) getReturnsReport(r *request) (reply, error) {
	var f problem.Fields
	asCSV := wantsCSV(r, &f)
	var out returnsReport
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		from, to, zone, err := span(r, tx, &f)
		if err != nil {
			return err
		}
		out = returnsReport{From: from.Date, To: to.Date, TimeZone: zone.String()}
		out.Report, err = returns.Summarize(r.ctx, tx, r.tenant, from.From, to.To)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	if !asCSV {
		return ok(out), nil
	}
	sheet := newSheet("by", "of", "currency", "delivered", "returned", "percent", "refunded", "not_restocked", "labels", "label_price", "label_charged")
	for _, row := range out.Sheet() {
		sheet.row(row...)
	}
	return sheet.reply(), nil
}

// add makes the totals by currency, in the order of the codes.
func (r *salesReport) add() {
	r.Totals = []salesTotal{}
	if r.Data == nil {
		r.Data = []transactions.Sales{}
	}
	for _, d := range r.Data {
		i := slices.IndexFunc(r.Totals, func(t salesTotal) bool { return t.Currency == d.Currency })
		if i < 0 {
			i = len(r.Totals)
			r.Totals = append(r.Totals, salesTotal{Currency: d.Currency})
		}
		t := &r.Totals[i]
		t.Captured, t.Refunded, t.Net = t.Captured+d.Captured, t.Refunded+d.Refunded, t.Net+d.Net
		t.Count, t.Refunds, t.Fees = t.Count+d.Count, t.Refunds+d.Refunds, t.Fees+d.Fees
	}
	slices.SortFunc(r.Totals, func(a, b salesTotal) int {
		if a.Currency < b.Currency {
			return -1
		}
		return 1
	})
}

// day reads a query parameter that is a day by the tenant's clock.
func day(r *request, f *problem.Fields, name string, zone *time.Location, without reconcile.Day) reconcile.Day {
	v := r.Query(name)
	if v == "" {
		return without
	}
	d, err := reconcile.DayIn(v, zone)
	if err != nil {
		f.Add(name, "invalid", "want a day like 2026-11-20")
		return without
	}
	return d
}

// reportDay reads the day that a reconciliation is of: given, and not to come.
func reportDay(f *problem.Fields, value string, zone *time.Location) reconcile.Day {
	if value == "" {
		f.Add("date", "required", "want a day like 2026-11-20")
		return reconcile.Day{}
	}
	d, err := reconcile.DayIn(value, zone)
	if err != nil {
		f.Add("date", "invalid", "want a day like 2026-11-20")
	} else if d.From.After(time.Now()) {
		f.Add("date", "out_of_range", "that day has not begun")
	}
	return d
}

func knownGateway(f *problem.Fields, field, value string) {
	if !slices.Contains(payment.Names(), payment.Name(value)) {
		f.Add(field, "unknown_gateway", "there is no such gateway")
	}
}

func (s *Server) getReconciliation(r *request) (reply, error) {
	var f problem.Fields
	asCSV := wantsCSV(r, &f)
	gateway := r.Query("gateway")
	if gateway != "" {
		knownGateway(&f, "gateway", gateway)
	}
	var report reconcile.Report
	sheet := newSheet("date", "gateway", "kind", "result", "resolution", "payment_id", "refund_id", "reference", "currency",
		"our_amount", "our_status", "our_time", "provider_amount", "provider_status", "provider_time", "fee", "note", "actor")
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		zone, err := reconcile.Zone(r.ctx, tx, r.tenant)
		if err != nil {
			return err
		}
		d := reportDay(&f, r.Query("date"), zone)
		if err := f.Err(); err != nil {
			return err
		}
		if !asCSV {
			report, err = reconcile.Read(r.ctx, tx, r.tenant, d.Date, payment.Name(gateway))
			return err
		}
		return reconcile.Every(r.ctx, tx, r.tenant, d.Date, payment.Name(gateway), func(g payment.Name, i reconcile.ReportItem) error {
			cells := []any{d.Date, string(g), string(i.Kind), string(i.Result), string(i.Resolution), i.PaymentID, i.RefundID, i.Reference, string(i.Currency)}
			for _, side := range []*reconcile.Side{i.Ours, i.Theirs} {
				if side == nil {
					cells = append(cells, nil, nil, nil)
				} else {
					cells = append(cells, side.Amount, side.Status, side.At)
				}
			}
			sheet.row(append(cells, i.Fee, i.Note, i.Actor)...)
			return nil
		})
	})
	switch {
	case err != nil:
		return reply{}, err
	case asCSV:
		return sheet.reply(), nil
	}
	return ok(report), nil
}

type runBody struct {
	Date     string   `json:"date"`
	Gateways []string `json:"gateways"`
}

// runReconciliation compares a day now; one that is being compared goes on.
func (s *Server) runReconciliation(r *request) (reply, error) {
	var in runBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var f problem.Fields
	for i, g := range in.Gateways {
		knownGateway(&f, fmt.Sprintf("gateways[%d]", i), g)
	}
	var opened []openedDay
	var report reconcile.Report
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		opened = nil
		zone, err := reconcile.Zone(r.ctx, tx, r.tenant)
		if err != nil {
			return err
		}
		d := reportDay(&f, in.Date, zone)
		configured, err := reconcile.GatewaysOf(r.ctx, tx, r.tenant)
		if err != nil {
			return err
		}
		wanted := configured
		if len(in.Gateways) > 0 {
			wanted = nil
			for i, g := range in.Gateways {
				if slices.Contains(payment.Names(), payment.Name(g)) && !slices.Contains(configured, payment.Name(g)) {
					f.Add(fmt.Sprintf("gateways[%d]", i), "gateway_not_configured", "the tenant has not set it up")
				}
				wanted = append(wanted, payment.Name(g))
			}
		}
		if err := f.Err(); err != nil {
			return err
		}
		for _, g := range slices.Compact(slices.Sorted(slices.Values(wanted))) {
			o, err := openDay(r.ctx, tx, r.tenant, g, d, r.key.ID, false)
			if err != nil {
				return err
			}
			opened = append(opened, o)
		}
		report, err = reconcile.Read(r.ctx, tx, r.tenant, d.Date, "")
		return err
	})
	if err != nil {
		return reply{}, err
	}
	s.startDays(r, opened)
	return reply{status: http.StatusAccepted, body: report, location: "/v1/reports/reconciliation?date=" + url.QueryEscape(in.Date)}, nil
}

// openedDay is a reconciliation that is to run, and its status before.
type openedDay struct{ id, was string }

func openDay(ctx context.Context, tx pgx.Tx, tenantID string, g payment.Name, d reconcile.Day, by string, again bool) (o openedDay, err error) {
	o.id, o.was, err = reconcile.Open(ctx, tx, tenantID, g, d, by, again)
	return o, err
}

// startDays begins the runs of reconciliations. One whose run waits for its
// provider is told to try now. When Temporal is away the workers begin them.
func (s *Server) startDays(r *request, opened []openedDay) {
	for _, o := range opened {
		if err := s.startDay(r.ctx, r.tenant, o); err != nil {
			s.leave(r.ctx, r.tenant, workflows.KindReconciliation, o.id, err)
		}
	}
}

func (s *Server) startDay(ctx context.Context, tenantID string, o openedDay) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	options := workflows.StartOptions(workflows.KindReconciliation, tenantID, o.id)
	options.StaticSummary = "reconciliation"
	options.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
	options.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	if _, err := s.temporal.ExecuteWorkflow(ctx, options, workflows.ReconciliationName, workflows.ReconciliationInput{Tenant: tenantID, ReconciliationID: o.id}); err != nil {
		return err
	}
	if o.was != reconcile.Failed {
		return nil
	}
	return s.temporal.SignalWorkflow(ctx, options.ID, "", workflows.SignalAgain, nil)
}

type resolveBody struct {
	Reason string `json:"reason"`
	Actor  string `json:"actor"`
}

// resolveDifference records what a person says of a difference.
func (s *Server) resolveDifference(r *request) (reply, error) {
	itemID, err := idParam(r, "id", "difference")
	if err != nil {
		return reply{}, err
	}
	var in resolveBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var item reconcile.ReportItem
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		item, err = reconcile.Resolve(r.ctx, tx, reconcile.Use{Tenant: r.tenant, ItemID: itemID, Actor: in.Actor, KeyID: r.key.ID, Reason: in.Reason})
		return err
	})
	return ok(item), err
}

// upload reads a request's file as it comes and returns what is then done with
// it.
type upload func(r *request, file io.Reader) (endpoint, error)

// uploaded is a kind of file: which types it may be called, and how large it may be.
type uploaded struct {
	types []string
	most  int64
	// text is looked through for card numbers.
	text bool
}

var (
	csvFile   = uploaded{types: []string{"text/csv"}, most: maxUpload, text: true}
	photoFile = uploaded{types: []string{"image/jpeg", "image/png", "image/webp"}, most: returns.MostPhotoBytes}
)

// handleUpload registers a POST of a file that is too large to be kept in memory as it is.
// It takes an Idempotency-Key like every POST: the file counts by its hash.
func (s *Server) handleUpload(path string, of uploaded, h upload, scopes ...tenant.Scope) {
	s.router.POST(path, func(c *gin.Context) {
		r, err := s.authenticate(c, scopes)
		if err == nil {
			var then endpoint
			if then, err = s.receive(r, of, h); err == nil {
				s.once(r, then).send(c)
				return
			}
		}
		s.problem(c, err).send(c)
	})
}

func (s *Server) receive(r *request, of uploaded, h upload) (endpoint, error) {
	if mediaType, _, err := mime.ParseMediaType(r.GetHeader("Content-Type")); err != nil || !slices.Contains(of.types, mediaType) {
		return nil, problem.New(kindMediaType, "unsupported_media_type", "Send Content-Type: "+strings.Join(of.types, ", or ")+".")
	}
	// The server's limits are for small bodies. Where they can't be moved (a
	// test's recorder) they are not there.
	control := http.NewResponseController(r.Writer)
	deadline := time.Now().Add(uploadIn)
	if err := errors.Join(control.SetReadDeadline(deadline), control.SetWriteDeadline(deadline.Add(longest+time.Second))); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	hash := sha256.New()
	var guard cardnumber.Scanner // sees everything before it is read
	seen := []io.Writer{hash}
	if of.text {
		seen = append(seen, &guard)
	}
	file := io.TeeReader(http.MaxBytesReader(r.Writer, r.Request.Body, of.most), io.MultiWriter(seen...))
	then, err := h(r, file)
	if err := s.refuseCards(r.Context, named(guard.Lines())); err != nil {
		return nil, err // also in the place of what was read wrong, which may tell of it
	}
	switch {
	case tooLarge(err):
		return nil, problem.New(kindTooLarge, "body_too_large", fmt.Sprintf("A file has at most %d MiB.", of.most>>20))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, problem.New(problem.Malformed, "body_cut_off", "The body ended early.")
	case err != nil:
		return nil, err
	}
	r.body = hash.Sum(nil)
	r.began = time.Now() // the caller's patience begins when the file is here
	return then, nil
}

// named are the lines of a file as a refusal names them.
func named(lines []int) (out []string) {
	for _, n := range lines {
		out = append(out, fmt.Sprintf("line %d", n))
	}
	return out
}

// settlementReceived says what was read of a settlement file.
type settlementReceived struct {
	Date         string       `json:"date"`
	Gateway      payment.Name `json:"gateway"`
	Transactions int          `json:"transactions"`
}

// readSettlement takes a gateway's settlement file of a day in the place of an
// earlier one, and compares the day again. The day before is compared again too
// where it was compared with a file: its last minutes may stand in this one.
func (s *Server) readSettlement(r *request, file io.Reader) (endpoint, error) {
	gateway := payment.Name(r.Param("gateway"))
	if !slices.Contains(payment.Names(), gateway) {
		return nil, problem.Missing("gateway")
	}
	var f problem.Fields
	var d reconcile.Day
	var zone *time.Location
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if zone, err = reconcile.Zone(r.ctx, tx, r.tenant); err != nil {
			return err
		}
		d = reportDay(&f, r.Query("date"), zone)
		return f.Err()
	})
	if err != nil {
		return nil, err
	}
	if _, err := s.gateways.Gateway(r.ctx, r.tenant, gateway); errors.Is(err, gateways.ErrNotConfigured) {
		return nil, problem.New(problem.Refused, "gateway_not_configured", "The tenant has not set up "+gateway.Title()+".")
	} else if err != nil {
		return nil, err
	}
	lines, err := reconcile.ParseSettlement(gateway, file, d, zone)
	var bad *reconcile.BadFile
	if errors.As(err, &bad) {
		return nil, badLines(bad)
	}
	if err != nil {
		return nil, err
	}
	return func(r *request) (reply, error) {
		var opened []openedDay
		err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
			opened = nil
			if other, err := reconcile.OfAnotherGateway(r.ctx, tx, r.tenant, gateway, lines); err != nil {
				return err
			} else if other != "" {
				return problem.New(problem.Refused, "file_of_another_gateway", "The file names payments that were made by "+other.Title()+", not by "+gateway.Title()+".")
			}
			days := []reconcile.Day{d}
			before := d.Before(zone)
			if withFile, err := reconcile.Compared(r.ctx, tx, r.tenant, gateway, before); err != nil {
				return err
			} else if withFile {
				days = append(days, before)
			}
			if err := reconcile.ReplaceFile(r.ctx, tx, r.tenant, gateway, d, lines); err != nil {
				return err
			}
			for _, each := range days {
				o, err := openDay(r.ctx, tx, r.tenant, gateway, each, r.key.ID, true)
				if err != nil {
					return err
				}
				opened = append(opened, o)
			}
			return nil
		})
		if err != nil {
			return reply{}, err
		}
		s.startDays(r, opened)
		return reply{status: http.StatusAccepted, body: settlementReceived{d.Date, gateway, len(lines)},
			location: "/v1/reports/reconciliation?date=" + d.Date + "&gateway=" + string(gateway)}, nil
	}, nil
}

// badLines names what can't be read of a file by its lines.
func badLines(bad *reconcile.BadFile) error {
	var f problem.Fields
	for _, row := range bad.Rows {
		at := fmt.Sprintf("line %d", row.Line)
		if row.Column != "" {
			at += "." + row.Column
		}
		f.Add(at, "invalid", "%s", row.Why)
	}
	if bad.More {
		f.Add("(file)", "too_many", "and more lines like these; nothing of the file was kept")
	}
	return f.Err()
}
