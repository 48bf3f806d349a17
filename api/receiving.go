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
	"justlogistics/internal/label"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/receiving"
	"justlogistics/workflows"
)

// receivingRoutes are purchase orders, receipts and put-away.
func (s *Server) receivingRoutes() {
	const (
		warehouse = tenant.Warehouse
		support   = tenant.Support
	)
	s.work("receive", http.MethodPost, "/v1/purchase-orders", s.createPurchaseOrder, warehouse)
	s.handle(http.MethodGet, "/v1/purchase-orders", s.listPurchaseOrders, warehouse, support)
	s.handle(http.MethodGet, "/v1/purchase-orders/:id", s.getPurchaseOrder, warehouse, support)
	s.work("receive", http.MethodPost, "/v1/purchase-orders/:id/cancel", s.endPurchaseOrder(receiving.CancelOrder), warehouse)
	s.work("receive", http.MethodPost, "/v1/purchase-orders/:id/close", s.endPurchaseOrder(receiving.CloseOrder), warehouse)

	s.work("receive", http.MethodPost, "/v1/receipts", s.createReceipt, warehouse)
	s.handle(http.MethodGet, "/v1/receipts", s.listReceipts, warehouse, support)
	s.handle(http.MethodGet, "/v1/receipts/:id", s.getReceipt, warehouse, support)
	s.work("receive", http.MethodPost, "/v1/receipts/:id/scans", s.scanGoods, warehouse)
	s.work("receive", http.MethodPost, "/v1/receipts/:id/corrections", s.correctReceipt, warehouse)
	s.work("receive", http.MethodPost, "/v1/receipts/:id/close", s.closeReceipt, warehouse)
	s.work("receive", http.MethodPost, "/v1/receipts/:id/cancel", s.cancelReceipt, warehouse)
	s.handle(http.MethodGet, "/v1/receipts/:id/put-away", s.proposePutAway, warehouse, support)
	s.handle(http.MethodGet, "/v1/receipts/:id/labels.zpl", s.receiptLabels, warehouse, support)

	s.work("put_away", http.MethodPost, "/v1/put-aways", s.putAway, warehouse)
	s.handle(http.MethodGet, "/v1/warehouses/:code/abc", s.getABC, warehouse, support)
	s.handle(http.MethodGet, "/v1/warehouses/:code/bins/:bin/label.zpl", s.binLabel, warehouse, support)
}

func purchaseOrderPath(id string) string { return "/v1/purchase-orders/" + id }
func receiptPath(id string) string       { return "/v1/receipts/" + id }

// receivingWork runs fn in a transaction of the tenant's, with its rules and who
// does the work.
func (s *Server) receivingWork(r *request, fn func(tx pgx.Tx, shop tenant.Tenant, by stock.By) error) error {
	var f problem.Fields
	checkOperator(r, &f)
	if err := f.Err(); err != nil {
		return err
	}
	return s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		shop, err := tenant.Get(r.ctx, tx, r.tenant)
		if err != nil {
			return err
		}
		return fn(tx, shop, r.by())
	})
}

func (s *Server) createPurchaseOrder(r *request) (reply, error) {
	var in receiving.OrderInput
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var out receiving.PurchaseOrder
	err := s.receivingWork(r, func(tx pgx.Tx, shop tenant.Tenant, by stock.By) (err error) {
		if made := r.begun(); made != "" {
			out, err = receiving.ReadOrder(r.ctx, tx, r.tenant, made)
			return err
		}
		if out, err = receiving.CreateOrder(r.ctx, tx, shop, id.New(), in, by); err != nil {
			return err
		}
		return r.claim.Begun(r.ctx, tx, out.ID)
	})
	return created(purchaseOrderPath(out.ID), out), err
}

func (s *Server) getPurchaseOrder(r *request) (reply, error) {
	orderID, err := idParam(r, "id", "purchase order")
	if err != nil {
		return reply{}, err
	}
	var out receiving.PurchaseOrder
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = receiving.ReadOrder(r.ctx, tx, r.tenant, orderID)
		return err
	})
	return ok(out), err
}

var (
	purchaseOrderStatuses = []string{"open", "partially_received", "received", "cancelled"}
	receiptStatuses       = []string{"open", "closed", "cancelled"}
)

// oneOf reads a query parameter that names one of a few.
func oneOf(r *request, f *problem.Fields, name string, values []string) string {
	v := r.Query(name)
	if v != "" && !slices.Contains(values, v) {
		f.Add(name, "invalid", "no such %s", name)
	}
	return v
}

// afterID is paging of a list whose positions are ids.
func afterID(r *request, f *problem.Fields) (limit int, before string) {
	limit, before = paging(r, f)
	if before != "" && !id.Valid(before) {
		f.Add("cursor", "invalid", "use next_cursor as it was given")
	}
	return limit, before
}

func inWarehouse(r *request, f *problem.Fields) string {
	v := r.Query("warehouse")
	if v != "" && !catalog.WarehouseCode.MatchString(v) {
		f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
	}
	return v
}

func (s *Server) listPurchaseOrders(r *request) (reply, error) {
	var f problem.Fields
	limit, before := afterID(r, &f)
	q := receiving.OrderFilter{Status: oneOf(r, &f, "status", purchaseOrderStatuses), Supplier: r.Query("supplier"), Warehouse: inWarehouse(r, &f), Before: before, Limit: limit + 1}
	if len(q.Supplier) > 200 {
		f.Add("supplier", "too_long", "at most 200 bytes")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var all []receiving.PurchaseOrder
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = receiving.ListOrders(r.ctx, tx, r.tenant, q)
		return err
	})
	return ok(paged(all, limit, func(p receiving.PurchaseOrder) string { return p.ID })), err
}

type reasonBody struct {
	Reason string `json:"reason"`
}

type orderEnding func(ctx context.Context, tx pgx.Tx, tenantID string, e receiving.End) (receiving.PurchaseOrder, error)

// endPurchaseOrder is one of the ways in which a purchase order ends with goods
// missing.
func (s *Server) endPurchaseOrder(end orderEnding) endpoint {
	return func(r *request) (reply, error) {
		orderID, err := idParam(r, "id", "purchase order")
		if err != nil {
			return reply{}, err
		}
		var in reasonBody
		if len(r.body) > 0 {
			if err := decode(r.body, &in); err != nil {
				return reply{}, err
			}
		}
		var out receiving.PurchaseOrder
		var open []string
		err = s.receivingWork(r, func(tx pgx.Tx, _ tenant.Tenant, by stock.By) (err error) {
			if out, err = end(r.ctx, tx, r.tenant, receiving.End{OrderID: orderID, Reason: in.Reason, By: by}); err != nil {
				return err
			}
			open, err = receiving.OpenReceipts(r.ctx, tx, r.tenant, orderID)
			return err
		})
		// What comes with them is expected by nobody now, and their runs say so.
		for _, receiptID := range open {
			s.tellReceipt(r, receiptID)
		}
		return ok(out), err
	}
}

func (s *Server) createReceipt(r *request) (reply, error) {
	var in receiving.ReceiptInput
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var out receiving.Detail
	err := s.receivingWork(r, func(tx pgx.Tx, shop tenant.Tenant, by stock.By) (err error) {
		if made := r.begun(); made != "" {
			out, err = receiving.ReadReceipt(r.ctx, tx, shop, made)
			return err
		}
		if out, err = receiving.StartReceipt(r.ctx, tx, shop, id.New(), in, by); err != nil {
			return err
		}
		return r.claim.Begun(r.ctx, tx, out.ID)
	})
	if err != nil {
		return reply{}, err
	}
	s.watchReceipt(r, out.Receipt)
	return created(receiptPath(out.ID), out), nil
}

// watchReceipt starts the run that looks after an open receipt, unless it has
// one.
func (s *Server) watchReceipt(r *request, receipt receiving.Receipt) {
	if receipt.Status == "open" {
		s.begin(r, workflows.KindReceipt, receipt.ID, "goods received in bin "+receipt.Bin+" of "+receipt.Warehouse, workflows.ReceiptName, workflows.WatchInput{Tenant: r.tenant, ID: receipt.ID})
	}
}

// tellReceipt wakes the receipt's run. One that can't be told now looks by itself
// within the hour.
func (s *Server) tellReceipt(r *request, receiptID string) {
	s.later(r.ctx, 5*time.Second, func(ctx context.Context) {
		err := s.temporal.SignalWorkflow(ctx, workflows.ID(workflows.KindReceipt, r.tenant, receiptID), "", workflows.SignalChanged, nil)
		if err != nil && !gone(err) {
			s.log.WarnContext(ctx, "a run was not told that its receipt has changed", slog.String("receipt_id", receiptID), slog.Any("error", err))
		}
	})
}

func (s *Server) getReceipt(r *request) (reply, error) {
	receiptID, err := idParam(r, "id", "receipt")
	if err != nil {
		return reply{}, err
	}
	var out receiving.Detail
	err = s.receivingWork(r, func(tx pgx.Tx, shop tenant.Tenant, _ stock.By) (err error) {
		out, err = receiving.ReadReceipt(r.ctx, tx, shop, receiptID)
		return err
	})
	return ok(out), err
}

func (s *Server) listReceipts(r *request) (reply, error) {
	var f problem.Fields
	limit, before := afterID(r, &f)
	q := receiving.ReceiptFilter{Status: oneOf(r, &f, "status", receiptStatuses), Warehouse: inWarehouse(r, &f), PurchaseOrderID: r.Query("purchase_order_id"), Before: before, Limit: limit + 1}
	if q.PurchaseOrderID != "" && !id.Valid(q.PurchaseOrderID) {
		f.Add("purchase_order_id", "invalid", "not an id")
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var all []receiving.Receipt
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		all, err = receiving.ListReceipts(r.ctx, tx, r.tenant, q)
		return err
	})
	return ok(paged(all, limit, func(o receiving.Receipt) string { return o.ID })), err
}

type scansBody struct {
	Scans []receiving.Scan `json:"scans"`
}

// receiptChange is what a request wrote, and the receipt as it is now.
type receiptChange struct {
	Entries []receiving.Entry `json:"entries"`
	Receipt receiving.Detail  `json:"receipt"`
}

// scanGoods books what was scanned. Under a key whose answer was lost, it answers
// with what was booked then.
func (s *Server) scanGoods(r *request) (reply, error) {
	receiptID, err := idParam(r, "id", "receipt")
	if err != nil {
		return reply{}, err
	}
	var in scansBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var out receiptChange
	err = s.receivingWork(r, func(tx pgx.Tx, shop tenant.Tenant, by stock.By) (err error) {
		if batch := r.begun(); batch != "" {
			out, err = readChange(r, tx, shop, receiptID, batch)
			return err
		}
		batch := id.New()
		if _, err := receiving.ScanGoods(r.ctx, tx, shop, receiving.Scans{ReceiptID: receiptID, Batch: batch, Scans: in.Scans, By: by}, time.Now()); err != nil {
			return err
		}
		if out, err = readChange(r, tx, shop, receiptID, batch); err != nil {
			return err
		}
		return r.claim.Begun(r.ctx, tx, batch)
	})
	if err == nil {
		s.tellReceipt(r, receiptID)
	}
	return created(receiptPath(receiptID), out), err
}

func readChange(r *request, tx pgx.Tx, shop tenant.Tenant, receiptID, batch string) (out receiptChange, err error) {
	if out.Entries, err = receiving.ReadBatch(r.ctx, tx, r.tenant, batch); err != nil {
		return out, err
	}
	out.Receipt, err = receiving.ReadReceipt(r.ctx, tx, shop, receiptID)
	return out, err
}

type correctionBody struct {
	SKU       string `json:"sku"`
	Lot       string `json:"lot"`
	Serial    string `json:"serial"`
	Quantity  int    `json:"quantity"`
	Condition string `json:"condition"`
	Reason    string `json:"reason"`
}

func (s *Server) correctReceipt(r *request) (reply, error) {
	receiptID, err := idParam(r, "id", "receipt")
	if err != nil {
		return reply{}, err
	}
	var in correctionBody
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var out receiptChange
	var lost []stock.Shorted
	err = s.receivingWork(r, func(tx pgx.Tx, shop tenant.Tenant, by stock.By) (err error) {
		lost = nil
		if batch := r.begun(); batch != "" {
			out, err = readChange(r, tx, shop, receiptID, batch)
			return err
		}
		c := receiving.Correction{ReceiptID: receiptID, Batch: id.New(), SKU: in.SKU, Lot: in.Lot, Serial: in.Serial, Quantity: in.Quantity, Condition: in.Condition, Reason: in.Reason, By: by}
		if _, lost, err = receiving.Correct(r.ctx, tx, shop, c, time.Now()); err != nil {
			return err
		}
		if out, err = readChange(r, tx, shop, receiptID, c.Batch); err != nil {
			return err
		}
		return r.claim.Begun(r.ctx, tx, c.Batch)
	})
	if err == nil {
		s.tellShorted(r, lost)
		s.tellReceipt(r, receiptID)
	}
	return created(receiptPath(receiptID), out), err
}

type closeBody struct {
	Accept  []string `json:"accept"`
	Version *int64   `json:"version"`
}

func (s *Server) closeReceipt(r *request) (reply, error) {
	receiptID, err := idParam(r, "id", "receipt")
	if err != nil {
		return reply{}, err
	}
	var in closeBody
	if len(r.body) > 0 {
		if err := decode(r.body, &in); err != nil {
			return reply{}, err
		}
	}
	var out receiving.Detail
	err = s.receivingWork(r, func(tx pgx.Tx, shop tenant.Tenant, by stock.By) (err error) {
		out, err = receiving.CloseReceipt(r.ctx, tx, shop, receiving.Closing{ReceiptID: receiptID, Accept: in.Accept, Version: in.Version, By: by})
		return err
	})
	if err == nil {
		s.tellReceipt(r, receiptID)
	}
	return ok(out), err
}

func (s *Server) cancelReceipt(r *request) (reply, error) {
	receiptID, err := idParam(r, "id", "receipt")
	if err != nil {
		return reply{}, err
	}
	var out receiving.Detail
	err = s.receivingWork(r, func(tx pgx.Tx, shop tenant.Tenant, by stock.By) (err error) {
		out, err = receiving.CancelReceipt(r.ctx, tx, shop, receiptID, by)
		return err
	})
	if err == nil {
		s.tellReceipt(r, receiptID)
	}
	return ok(out), err
}

func (s *Server) proposePutAway(r *request) (reply, error) {
	receiptID, err := idParam(r, "id", "receipt")
	if err != nil {
		return reply{}, err
	}
	var out receiving.Proposals
	err = s.receivingWork(r, func(tx pgx.Tx, shop tenant.Tenant, _ stock.By) (err error) {
		out, err = receiving.Propose(r.ctx, tx, shop, receiptID, time.Now())
		return err
	})
	return ok(out), err
}

// putAway books that units were put into a bin. Under a key whose answer was lost
// the movement does not come twice: it answers with what lies in the bins today.
func (s *Server) putAway(r *request) (reply, error) {
	var in receiving.ToPutAway
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var out receiving.PutAwayDone
	err := s.receivingWork(r, func(tx pgx.Tx, shop tenant.Tenant, by stock.By) (err error) {
		work := in
		work.By = by
		if r.begun() != "" {
			out, err = receiving.ReadPutAway(r.ctx, tx, r.tenant, work, time.Now())
			return err
		}
		if out, err = receiving.PutAway(r.ctx, tx, shop, work, time.Now()); err != nil {
			return err
		}
		return r.claim.Begun(r.ctx, tx, "booked")
	})
	return ok(out), err
}

func (s *Server) getABC(r *request) (reply, error) {
	var out receiving.ABC
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = receiving.ReadABC(r.ctx, tx, r.tenant, r.Param("code"), time.Now())
		return err
	})
	return ok(out), err
}

// typeZPL is what browsers show and printers' tools take: ZPL is text.
const typeZPL = "text/plain; charset=utf-8"

// printing reads how labels are to be printed.
func printing(r *request, f *problem.Fields) label.Print {
	p := label.Print{DPI: 203, Copies: 1, Language: label.Language(oneOf(r, f, "language", []string{"es", "en"}))}
	if v := oneOf(r, f, "dpi", []string{"203", "300"}); v == "300" {
		p.DPI = 300
	}
	if v := r.Query("copies"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 999 {
			f.Add("copies", "out_of_range", "1 to 999")
		}
		p.Copies = n
	}
	return p
}

func (s *Server) receiptLabels(r *request) (reply, error) {
	receiptID, err := idParam(r, "id", "receipt")
	if err != nil {
		return reply{}, err
	}
	var f problem.Fields
	p := printing(r, &f)
	return s.printed(r, f, func(tx pgx.Tx) (string, error) {
		return receiving.Labels(r.ctx, tx, r.tenant, receiptID, p, time.Now())
	})
}

// printed answers with labels, unless the request was at fault.
func (s *Server) printed(r *request, f problem.Fields, write func(tx pgx.Tx) (string, error)) (reply, error) {
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var zpl string
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		zpl, err = write(tx)
		return err
	})
	return reply{status: http.StatusOK, text: []byte(zpl), contentType: typeZPL}, err
}

func (s *Server) binLabel(r *request) (reply, error) {
	var f problem.Fields
	p := printing(r, &f)
	arrow := label.Direction(oneOf(r, &f, "arrow", []string{"up", "down"}))
	return s.printed(r, f, func(tx pgx.Tx) (string, error) {
		return receiving.BinLabel(r.ctx, tx, r.tenant, r.Param("code"), r.Param("bin"), p, arrow)
	})
}
