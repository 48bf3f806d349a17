package counting

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
)

// Reason is why stock is corrected.
type Reason struct {
	Code   string `json:"code"`
	NameES string `json:"name_es"`
	NameEN string `json:"name_en"`
	// Active reasons may be chosen; others stand in old movements only.
	Active bool `json:"active"`
	// BuiltIn ones are there without anybody having written them.
	BuiltIn bool `json:"built_in"`
}

// builtIn are every tenant's reasons. A tenant may rename one, or switch it off.
var builtIn = []Reason{
	{Code: "damaged", NameES: "Dañado", NameEN: "Damaged"},
	{Code: "expired", NameES: "Vencido", NameEN: "Expired"},
	{Code: "found", NameES: "Encontrado", NameEN: "Found"},
	{Code: "miscount", NameES: "Error de conteo", NameEN: "Miscount"},
	{Code: "mislabelled", NameES: "Mal etiquetado", NameEN: "Mislabelled"},
	{Code: "other", NameES: "Otro", NameEN: "Other"},
	{Code: "picking_error", NameES: "Error de picking", NameEN: "Picking error"},
	{Code: "sample", NameES: "Muestra", NameEN: "Sample"},
	{Code: "supplier_over", NameES: "El proveedor envió de más", NameEN: "Supplier sent too many"},
	{Code: "supplier_short", NameES: "El proveedor envió de menos", NameEN: "Supplier sent too few"},
	{Code: "theft", NameES: "Robo", NameEN: "Theft"},
	{Code: "wrong_bin", NameES: "Ubicación equivocada", NameEN: "Wrong bin"},
}

var reasonCode = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// Reasons lists a tenant's reasons by their codes.
func Reasons(ctx context.Context, tx pgx.Tx, tenant string) ([]Reason, error) {
	rows, err := tx.Query(ctx, `SELECT code, name_es, name_en, active, false FROM adjustment_reasons WHERE tenant = $1`, tenant)
	if err != nil {
		return nil, fmt.Errorf("adjustment reasons: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Reason])
	if err != nil {
		return nil, fmt.Errorf("adjustment reasons: %w", err)
	}
	for _, b := range builtIn {
		b.Active, b.BuiltIn = true, true
		if i := slices.IndexFunc(list, func(r Reason) bool { return r.Code == b.Code }); i >= 0 {
			list[i].BuiltIn = true
			continue
		}
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b Reason) int { return strings.Compare(a.Code, b.Code) })
	return list, nil
}

// GetReason reads one.
func GetReason(ctx context.Context, tx pgx.Tx, tenant, code string) (Reason, error) {
	list, err := Reasons(ctx, tx, tenant)
	if err != nil {
		return Reason{}, err
	}
	i := slices.IndexFunc(list, func(r Reason) bool { return r.Code == code })
	if i < 0 {
		return Reason{}, problem.Missing("adjustment reason")
	}
	return list[i], nil
}

// PutReason makes or replaces a reason and reports whether the tenant had none of
// this code before.
func PutReason(ctx context.Context, tx pgx.Tx, tenant string, r Reason) (created bool, err error) {
	var f problem.Fields
	if !reasonCode.MatchString(r.Code) {
		f.Add("code", "invalid", "1 to 32 small letters, digits and underscores")
	}
	for field, name := range map[string]string{"name_es": r.NameES, "name_en": r.NameEN} {
		switch {
		case strings.TrimSpace(name) == "":
			f.Add(field, "required", "give it a name")
		case len(name) > 100:
			f.Add(field, "too_long", "at most 100 bytes")
		}
	}
	slices.SortFunc(f, func(a, b problem.Field) int { return strings.Compare(a.Field, b.Field) })
	if err := f.Err(); err != nil {
		return false, err
	}
	err = tx.QueryRow(ctx, `INSERT INTO adjustment_reasons AS r (tenant, code, name_es, name_en, active) VALUES ($1,$2,$3,$4,$5)
	  ON CONFLICT (tenant, code) DO UPDATE SET name_es = excluded.name_es, name_en = excluded.name_en, active = excluded.active, updated_at = now() RETURNING xmax = 0`,
		tenant, r.Code, r.NameES, r.NameEN, r.Active).Scan(&created)
	if err != nil {
		return false, fmt.Errorf("adjustment reason %s: %w", r.Code, err)
	}
	return created && !slices.ContainsFunc(builtIn, func(b Reason) bool { return b.Code == r.Code }), nil
}

func knownReason(ctx context.Context, tx pgx.Tx, tenant, code string, f *problem.Fields) error {
	list, err := Reasons(ctx, tx, tenant)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(r Reason) bool { return r.Code == code && r.Active }) {
		f.Add("reason", "unknown_reason", "not one of the adjustment reasons, or switched off")
	}
	return nil
}
