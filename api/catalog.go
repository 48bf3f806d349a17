package api

import (
	"net/http"
	"net/url"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/catalog"
)

// put answers a PUT: 201 when it made something new, else 200.
func put(isNew bool, location string, body any) reply {
	if isNew {
		return created(location, body)
	}
	return reply{status: http.StatusOK, body: body}
}

func (s *Server) putProduct(r *request) (reply, error) {
	var in catalog.ProductInput
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	sku := r.Param("sku")
	var isNew bool
	var p catalog.Product
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if isNew, err = catalog.PutProduct(r.ctx, tx, r.tenant, sku, in); err != nil {
			return err
		}
		p, err = catalog.GetProduct(r.ctx, tx, r.tenant, sku)
		return err
	})
	return put(isNew, "/v1/products/"+url.PathEscape(sku), p), err
}

func (s *Server) getProduct(r *request) (reply, error) {
	var p catalog.Product
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		p, err = catalog.GetProduct(r.ctx, tx, r.tenant, r.Param("sku"))
		return err
	})
	return ok(p), err
}

func (s *Server) putDiscount(r *request) (reply, error) {
	var in catalog.DiscountInput
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	var isNew bool
	var d catalog.Discount
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if isNew, err = catalog.PutDiscount(r.ctx, tx, r.tenant, r.Param("code"), in); err != nil {
			return err
		}
		d, err = catalog.GetDiscount(r.ctx, tx, r.tenant, r.Param("code"))
		return err
	})
	return put(isNew, "/v1/discount-codes/"+url.PathEscape(d.Code), d), err
}

func (s *Server) getDiscount(r *request) (reply, error) {
	var d catalog.Discount
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		d, err = catalog.GetDiscount(r.ctx, tx, r.tenant, r.Param("code"))
		return err
	})
	return ok(d), err
}

func (s *Server) putWarehouse(r *request) (reply, error) {
	var in catalog.WarehouseInput
	if err := decode(r.body, &in); err != nil {
		return reply{}, err
	}
	code := r.Param("code")
	var isNew bool
	var w catalog.Warehouse
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		if isNew, err = catalog.PutWarehouse(r.ctx, tx, r.tenant, code, in); err != nil {
			return err
		}
		w, err = catalog.GetWarehouse(r.ctx, tx, r.tenant, code)
		return err
	})
	return put(isNew, "/v1/warehouses/"+url.PathEscape(code), w), err
}

func (s *Server) getWarehouse(r *request) (reply, error) {
	var w catalog.Warehouse
	err := s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) (err error) {
		w, err = catalog.GetWarehouse(r.ctx, tx, r.tenant, r.Param("code"))
		return err
	})
	return ok(w), err
}
