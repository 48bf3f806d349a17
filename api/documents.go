package api

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/label"
	"justlogistics/internal/problem"
	"justlogistics/internal/reconcile"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shippingdoc"
	"justlogistics/internal/tenant"
)

const typePDF = "application/pdf"

// documentRoutes are the papers of shipments. They name buyers: they are for those
// who ship.
func (s *Server) documentRoutes() {
	s.handle(http.MethodGet, "/v1/shipments/:id/packing-slip.pdf", s.getPackingSlip, tenant.Warehouse)
	s.handle(http.MethodGet, "/v1/shipments/:id/labels.pdf", s.getLabelsPDF, tenant.Warehouse)
	s.handle(http.MethodGet, "/v1/shipments/:id/labels.raw", s.getLabelsRaw, tenant.Warehouse)
	s.handle(http.MethodGet, "/v1/manifests", s.getManifest, tenant.Warehouse)
	s.handle(http.MethodGet, "/v1/manifests.pdf", s.getManifestPDF, tenant.Warehouse)
}

func (s *Server) getPackingSlip(r *request) (reply, error) {
	return s.shipmentPaper(r, "packing-slip-", func(tx pgx.Tx, shipmentID string, language label.Language) ([]byte, error) {
		return shippingdoc.PackingSlip(r.ctx, tx, r.tenant, shipmentID, language, time.Now())
	})
}

func (s *Server) getLabelsPDF(r *request) (reply, error) {
	return s.shipmentPaper(r, "labels-", func(tx pgx.Tx, shipmentID string, language label.Language) ([]byte, error) {
		return shippingdoc.Labels(r.ctx, tx, r.tenant, shipmentID, language, time.Now())
	})
}

// rawTypes are what printers' tools and browsers call the formats of carriers' labels.
// ZPL and EPL have no registered name.
var rawTypes = map[shipping.Format]string{shipping.PDF: typePDF, shipping.ZPL: "application/zpl", shipping.EPL: "application/epl", shipping.JPEG: "image/jpeg", shipping.PNG: "image/png"}

// getLabelsRaw gives a carrier's labels as they came, to be sent to a printer.
func (s *Server) getLabelsRaw(r *request) (reply, error) {
	shipmentID, err := idParam(r, "id", "shipment")
	if err != nil {
		return reply{}, err
	}
	var f problem.Fields
	position := 0
	if v := r.Query("parcel"); v != "" {
		if position, err = strconv.Atoi(v); err != nil || position < 1 || position > shipping.MostParcels {
			f.Add("parcel", "out_of_range", "its position in the shipment: 1 to %d", shipping.MostParcels)
		}
	}
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var out shipping.Label
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		out, err = shippingdoc.RawLabels(r.ctx, tx, r.tenant, shipmentID, position)
		return err
	})
	return reply{status: http.StatusOK, text: out.Data, contentType: rawTypes[out.Format], filename: "labels-" + shipmentID + "." + string(out.Format)}, err
}

// shipmentPaper answers with a paper of the shipment of the address, called by its id.
func (s *Server) shipmentPaper(r *request, prefix string, write func(tx pgx.Tx, shipmentID string, language label.Language) ([]byte, error)) (reply, error) {
	shipmentID, err := idParam(r, "id", "shipment")
	if err != nil {
		return reply{}, err
	}
	var f problem.Fields
	language := label.Language(oneOf(r, &f, "language", []string{"es", "en"}))
	if err := f.Err(); err != nil {
		return reply{}, err
	}
	var pdf []byte
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		pdf, err = write(tx, shipmentID, language)
		return err
	})
	return reply{status: http.StatusOK, text: pdf, contentType: typePDF, filename: prefix + shipmentID + ".pdf"}, err
}

func (s *Server) getManifest(r *request) (reply, error) {
	m, _, err := s.manifest(r, nil)
	return ok(m), err
}

func (s *Server) getManifestPDF(r *request) (reply, error) {
	var f problem.Fields
	language := label.Language(oneOf(r, &f, "language", []string{"es", "en"}))
	m, zone, err := s.manifest(r, f)
	if err != nil {
		return reply{}, err
	}
	pdf, err := m.PDF(shippingdoc.Print{Language: language, At: time.Now(), Zone: zone})
	return reply{status: http.StatusOK, text: pdf, contentType: typePDF, filename: "manifest-" + m.Warehouse + "-" + string(m.Carrier) + "-" + m.Date + ".pdf"}, err
}

// manifest reads what the query asks for. Faults are added to those that were found
// before.
func (s *Server) manifest(r *request, f problem.Fields) (m shippingdoc.Manifest, zone *time.Location, err error) {
	of := shippingdoc.Loads{Warehouse: r.Query("warehouse"), Carrier: shipping.Name(r.Query("carrier")), Status: oneOf(r, &f, "status", []string{shipping.HandedOver, shipping.Labelled})}
	if of.Status == "" {
		of.Status = shipping.HandedOver
	}
	if of.Warehouse == "" {
		f.Add("warehouse", "required", "say which warehouse")
	}
	switch {
	case of.Carrier == "":
		f.Add("carrier", "required", "say who carries")
	case !slices.Contains(shipping.Names(), of.Carrier):
		f.Add("carrier", "invalid", "no such carrier")
	}
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		found := slices.Clone(f) // the transaction may be run again
		if zone, err = reconcile.Zone(r.ctx, tx, r.tenant); err != nil {
			return err
		}
		on := day(r, &found, "date", zone, reconcile.DayOf(time.Now(), zone))
		if err := found.Err(); err != nil {
			return err
		}
		of.Date, of.From, of.To = on.Date, on.From, on.To
		m, err = shippingdoc.Load(r.ctx, tx, r.tenant, of)
		return err
	})
	return m, zone, err
}
