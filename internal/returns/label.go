package returns

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/shipping"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// When a carrier's label for the way back is bought.
const (
	LabelNever     = "none"        // the buyer sends it as they like
	LabelOnRequest = "on_request"  // when the buyer asks for one
	LabelAtOnce    = "on_approval" // with the approval
)

// Codes of refusals about labels.
const (
	CodeNoLabel     = "label_not_offered"
	CodeHasLabel    = "has_label"
	CodeNoAddress   = "no_address"
	CodeNoCarriers  = "no_carrier"
	CodeLabelIsUsed = "label_is_used"
)

// Label is a return's label, wanted or there, as the API shows it.
type Label struct {
	WantedAt time.Time `json:"wanted_at"`
	WantedBy string    `json:"wanted_by"`
	// Asked is the carrier that was asked for, Carrier the one that made it.
	Asked   shipping.Name `json:"asked_carrier"`
	Carrier shipping.Name `json:"carrier"`
	// NotBooked says why nobody carries it yet, in words.
	NotBooked string `json:"not_booked"`
	// Price is what it costs the shop in pesos, where the carrier says; Fee what of it the
	// buyer pays: it is kept of their money.
	Price    *int64     `json:"price"`
	Fee      int64      `json:"fee"`
	IssuedAt *time.Time `json:"issued_at"`
	// Path is where the buyer prints it, without a key of the API.
	Path string `json:"path,omitempty"`

	nextRound *time.Time
	checkedAt *time.Time
}

// label is when a label is bought for the reasons of some units: the soonest of them.
func (p Policy) label(units []Unit) string {
	when := LabelNever
	for _, u := range units {
		if r, known := p.reason(u.Reason); known {
			when = more(when, cmp.Or(r.Label, LabelNever), LabelNever, LabelOnRequest, LabelAtOnce)
		}
	}
	return when
}

// LabelAsked asks for a carrier's label.
type LabelAsked struct {
	// Carrier and Service, where any will not do.
	Carrier shipping.Name `json:"carrier"`
	Service string        `json:"service"`
	// Parcels as they were weighed; without any it is one, as the catalogue has its goods.
	Parcels []shipping.ParcelInput `json:"parcels"`
	Version int64                  `json:"version"`
	By      string                 `json:"-"`
	// Shopper: a storefront asks, for which the rules count.
	Shopper bool `json:"-"`
}

// mostLabels is how many parcels a return is sent in at most.
const mostLabels = 10

func (in LabelAsked) check() error {
	var f problem.Fields
	if in.Carrier != "" && (in.Carrier == shipping.Manual || !slices.Contains(shipping.Names(), in.Carrier)) {
		f.Add("carrier", "invalid", "a carrier that makes labels: chilexpress, starken, correos or bluexpress")
	}
	switch {
	case in.Service != "" && in.Carrier == "":
		f.Add("service", "invalid", "a service is a carrier's: name it too")
	case len(in.Service) > 80:
		f.Add("service", "too_long", "at most 80 bytes")
	}
	if len(in.Parcels) > mostLabels {
		f.Add("parcels", "out_of_range", "at most %d", mostLabels)
	}
	for i, p := range in.Parcels {
		p.Check(&f, fmt.Sprintf("parcels[%d].", i))
	}
	return f.Err()
}

// AskLabel has a label of a carrier bought for the way back: the return's run finds one.
// Asked again it is the same wish.
//
// 409 with the return in current: wrong_status, version_changed, has_label,
// label_not_offered (a buyer asks and the rules offer none), no_carrier (none is set up),
// no_address (the order has none, or the warehouse's comuna is not known).
func AskLabel(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, in LabelAsked) (Return, error) {
	if err := in.check(); err != nil {
		return Return{}, err
	}
	r, err := lock(ctx, tx, shop.ID, returnID)
	if err != nil {
		return r, err
	}
	if r.Status == LabelIssued {
		return r, r.conflict(CodeHasLabel, "It has a label. Support can cancel it (POST /v1/returns/{id}/cancel-label) and ask for another.")
	}
	if err := r.may(in.Version, Approved); err != nil {
		return r, err
	}
	if in.Shopper && r.Policy.label(r.Units) == LabelNever {
		return r, r.conflict(CodeNoLabel, "The shop buys no label for this return: the buyer sends it as they like.")
	}
	if r.Label != nil {
		return r, nil
	}
	why, err := r.unlabelled(ctx, tx, shop.ID, in.Carrier)
	if err != nil {
		return r, err
	}
	if why != nil {
		return r, why
	}
	if err := r.wantLabel(ctx, tx, shop.ID, in); err != nil {
		return r, err
	}
	return Get(ctx, tx, shop.ID, r.ID)
}

// unlabelled says why no carrier can be asked at all, or not the one that is named; nil when
// one can.
func (r Return) unlabelled(ctx context.Context, tx pgx.Tx, tenantID string, asked shipping.Name) (why *problem.Error, err error) {
	var address []byte
	var comuna string
	var carriers bool
	err = tx.QueryRow(ctx, `SELECT o.shipping, w.comuna, EXISTS (SELECT FROM provider_credentials c WHERE c.tenant = o.tenant AND c.provider IN ('chilexpress','starken','correos','bluexpress') AND $4 IN ('', c.provider))
	    FROM orders o, warehouses w WHERE o.tenant = $1 AND o.id = $2 AND w.tenant = $1 AND w.code = $3`, tenantID, r.OrderID, r.Warehouse, asked).Scan(&address, &comuna, &carriers)
	if err != nil {
		return nil, fmt.Errorf("addresses of return %s: %w", r.ID, err)
	}
	var from struct {
		Street string `json:"street"`
		Comuna string `json:"comuna"`
	}
	if err := json.Unmarshal(address, &from); err != nil {
		return nil, fmt.Errorf("address of order %s: %w", r.OrderID, err)
	}
	switch {
	case !carriers:
		return r.conflict(CodeNoCarriers, "No carrier that could be asked is set up (PUT /v1/carriers/{carrier}/credentials)."), nil
	case from.Comuna == "" || from.Street == "":
		return r.conflict(CodeNoAddress, "The order has no address of the buyer from which it could be sent."), nil
	case comuna == "":
		return r.conflict(CodeNoAddress, "Say in which comuna the warehouse is (PUT /v1/warehouses/{code})."), nil
	}
	return nil, nil
}

// wantLabel writes the wish down, with the parcels that it is for.
func (r Return) wantLabel(ctx context.Context, tx pgx.Tx, tenantID string, in LabelAsked) error {
	if len(in.Parcels) == 0 {
		skus, quantities := r.goods()
		p, _, _, err := shipping.Contents(ctx, tx, tenantID, skus, quantities)
		if err != nil {
			return err
		}
		in.Parcels = []shipping.ParcelInput{{WeightGrams: p.WeightGrams, Dimensions: shipping.Dimensions{Length: p.LengthMM, Width: p.WidthMM, Height: p.HeightMM}}}
	}
	if err := shipping.OfReturn(r.ID).AddParcels(ctx, tx, tenantID, in.Parcels, in.By); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE returns SET label_wanted_at = clock_timestamp(), label_wanted_by = $3, label_asked_carrier = $4, label_asked_service = $5, label_round_at = NULL, label_not_booked = '', label_price = NULL, version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2`,
		tenantID, r.ID, in.By, in.Carrier, in.Service)
	if err != nil {
		return fmt.Errorf("label of return %s: %w", r.ID, err)
	}
	return nil
}

// goods are the units of a return by their SKU.
func (r Return) goods() (skus []string, quantities []int) {
	for _, u := range r.Units {
		i := slices.Index(skus, u.SKU)
		if i < 0 {
			skus, quantities = append(skus, u.SKU), append(quantities, 0)
			i = len(skus) - 1
		}
		quantities[i]++
	}
	return skus, quantities
}

// CancelLabel gives up a label, or the wish for one: the run cancels it at its carrier, and
// the buyer sends the goods as they like, or asks for another. 409 label_is_used once the
// carrier has the parcel, wrong_status, version_changed.
func CancelLabel(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, d Decision) (Return, error) {
	if err := d.check(false); err != nil {
		return Return{}, err
	}
	r, err := lock(ctx, tx, shop.ID, returnID)
	if err != nil {
		return r, err
	}
	if err := r.may(d.Version, Approved, LabelIssued); err != nil {
		return r, err
	}
	if r.scanned() {
		return r, r.conflict(CodeLabelIsUsed, "The carrier has the parcel.")
	}
	if r.Label == nil {
		return r, nil
	}
	if err := r.dropLabel(ctx, tx, shop.ID, d.By); err != nil {
		return r, err
	}
	return Get(ctx, tx, shop.ID, r.ID)
}

// scanned: the carrier of the label has had the parcels, or one of them.
func (r Return) scanned() bool {
	return slices.ContainsFunc(r.Parcels, func(p shipping.PackedParcel) bool { return p.State != "" && p.State != shipping.Announced })
}

// dropLabel gives up a label that nobody has used. It costs the buyer nothing then.
func (r Return) dropLabel(ctx context.Context, tx pgx.Tx, tenantID, by string) error {
	if r.Label == nil || r.scanned() {
		return nil
	}
	if err := shipping.OfReturn(r.ID).DropParcels(ctx, tx, tenantID); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE returns SET status = CASE WHEN status = 'label_issued' THEN 'approved' ELSE status END, label_wanted_at = NULL, label_wanted_by = '', label_asked_carrier = '', label_asked_service = '', label_round_at = NULL, label_not_booked = '',
	    label_carrier = '', label_price = NULL, labelled_at = NULL, label_key = NULL, label_fee = 0, carrier = '', tracking = '', version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2`, tenantID, r.ID)
	if err != nil {
		return fmt.Errorf("label of return %s: %w", r.ID, err)
	}
	if r.Label.IssuedAt == nil {
		return nil
	}
	return timeline.Add(ctx, tx, tenantID, r.OrderID, "return_label_cancelled", by, map[string]any{"return_id": r.ID, "carrier": r.Label.Carrier})
}

// wished is a return whose parcels want labels.
type wished struct {
	Return
	tenant string
}

func (w wished) StillWanted(ctx context.Context, tx pgx.Tx) (wanted bool, err error) {
	err = tx.QueryRow(ctx, `SELECT status = 'approved' AND label_wanted_at IS NOT NULL AND version = $3 FROM returns WHERE tenant = $1 AND id = $2 FOR UPDATE`, w.tenant, w.ID, w.Version).Scan(&wanted)
	if err != nil {
		return false, fmt.Errorf("return %s: %w", w.ID, err)
	}
	return wanted, nil
}

// Intended writes down what the carrier asks for all of the parcels, where it was asked.
func (w wished) Intended(ctx context.Context, tx pgx.Tx, c shipping.Choice) error {
	_, err := tx.Exec(ctx, `UPDATE returns SET label_not_booked = '', label_price = nullif($3::bigint, 0), updated_at = now() WHERE tenant = $1 AND id = $2`, w.tenant, w.ID, c.Price*int64(len(w.Parcels)))
	if err != nil {
		return fmt.Errorf("return %s: %w", w.ID, err)
	}
	return nil
}

func (w wished) NotBooked(ctx context.Context, tx pgx.Tx, why string, again time.Duration) error {
	_, err := tx.Exec(ctx, `UPDATE returns SET label_not_booked = $3, label_round_at = now() + $4::interval, updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'approved'`, w.tenant, w.ID, why, again)
	if err != nil {
		return fmt.Errorf("return %s: %w", w.ID, err)
	}
	return nil
}

// ToBook reads what is to be booked for the way back: from the buyer's address to the
// warehouse's door.
func ToBook(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string) (shipping.Unbooked, error) {
	r, err := Get(ctx, tx, shop.ID, returnID)
	if err != nil {
		return shipping.Unbooked{}, err
	}
	u := shipping.Unbooked{Of: shipping.OfReturn(r.ID), Subject: wished{r, shop.ID}, Number: r.Number, Parcels: r.Parcels, Wanted: r.Status == Approved && r.Label != nil, Shop: shop,
		Else: "cancel: no label is bought then, and the buyer sends it as they like."}
	if r.Label != nil {
		u.WantedBy = r.Label.WantedBy
	}
	var customer, address []byte
	var wantedAt, nextRound *time.Time
	var warehouse shipping.Place
	var name, carrier, service string
	err = tx.QueryRow(ctx, `SELECT o.customer, o.shipping, r.label_wanted_at, r.label_round_at, r.label_asked_carrier, r.label_asked_service, w.name, w.street, w.number, w.comuna, w.region
	    FROM returns r JOIN orders o ON o.tenant = r.tenant AND o.id = r.order_id JOIN warehouses w ON w.tenant = r.tenant AND w.code = r.warehouse
	   WHERE r.tenant = $1 AND r.id = $2`, shop.ID, r.ID).Scan(&customer, &address, &wantedAt, &nextRound, &carrier, &service, &name, &warehouse.Street, &warehouse.Number, &warehouse.Comuna, &warehouse.Region)
	if err != nil {
		return u, fmt.Errorf("return %s: %w", r.ID, err)
	}
	if err := u.People(customer, address); err != nil {
		return u, fmt.Errorf("order %s: %w", r.OrderID, err)
	}
	// It goes the other way, and what the buyer had chosen for theirs does not count.
	u.From, u.To = u.To, warehouse
	u.From.PointID = ""
	desk := shipping.Desk(shop)
	u.Sender, u.Receiver = u.Receiver, desk
	u.Sender.Name = cmp.Or(strings.TrimSpace(u.Sender.Name), "Pedido "+r.OrderNumber)
	u.Sender.Phone, u.Sender.Email = cmp.Or(u.Sender.Phone, desk.Phone), cmp.Or(u.Sender.Email, desk.Email)
	u.Method, u.Chosen, u.ChosenService = shipping.ToDoor, "", ""
	u.Carrier, u.Service = shipping.Name(carrier), service
	skus, quantities := r.goods()
	if err := u.Goods(ctx, tx, r.OrderID, skus, quantities); err != nil {
		return u, err
	}
	return u, u.Learn(ctx, tx, wantedAt, nextRound)
}

// FinishLabel gives the buyer the label once each parcel has one: from now on the carrier is
// asked where they are, and what the label costs is kept of the buyer's money where they
// pay the way back. It changes nothing while something is missing.
func FinishLabel(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string) error {
	r, err := lock(ctx, tx, shop.ID, returnID)
	if err != nil || r.Status != Approved || r.Label == nil {
		return err
	}
	bookings, err := shipping.Bookings(ctx, tx, shop.ID, shipping.OfReturn(r.ID))
	if err != nil {
		return err
	}
	carrier, numbers := shipping.Ready(r.Parcels, bookings)
	if len(numbers) == 0 {
		return nil
	}
	if err := shipping.Follow(ctx, tx, shop.ID, r.Parcels, numbers); err != nil {
		return err
	}
	// What carriers have asked for in the end, of those that say it; else what they had offered.
	var price *int64
	err = tx.QueryRow(ctx, `SELECT CASE WHEN bool_and(b.price IS NOT NULL) THEN sum(b.price)::bigint ELSE max(r.label_price) END
	    FROM returns r JOIN bookings b ON b.tenant = r.tenant AND b.return_id = r.id AND b.status = 'booked' AND b.void_at IS NULL WHERE r.tenant = $1 AND r.id = $2`, shop.ID, r.ID).Scan(&price)
	if err != nil {
		return fmt.Errorf("price of the label of return %s: %w", r.ID, err)
	}
	fee := int64(0)
	if r.FreightBy == Buyer {
		switch {
		case r.Policy.LabelFee != nil:
			fee = *r.Policy.LabelFee
		case price != nil:
			fee = *price
		}
	}
	_, err = tx.Exec(ctx, `UPDATE returns SET status = 'label_issued', version = version + 1, label_carrier = $3, label_price = $4, label_fee = $5, labelled_at = now(), label_key = gen_random_uuid(), label_not_booked = '', carrier = $3, tracking = $6, updated_at = now() WHERE tenant = $1 AND id = $2`,
		shop.ID, r.ID, carrier, price, fee, strings.Join(numbers, " "))
	if err != nil {
		return fmt.Errorf("label of return %s: %w", r.ID, err)
	}
	if err := timeline.Add(ctx, tx, shop.ID, r.OrderID, "return_labelled", "shipping", map[string]any{"return_id": r.ID, "carrier": carrier, "tracking": numbers}); err != nil {
		return err
	}
	if r, err = Get(ctx, tx, shop.ID, r.ID); err != nil {
		return err
	}
	return r.tell(ctx, tx, shop, noticeLabel)
}

// onTheWay are what parcels are together once their carrier has had them.
var onTheWay = []string{shipping.OnTheWay, shipping.Delivering, shipping.NotDelivered, shipping.Arrived, shipping.ReturnedToShop, shipping.Missing}

// Heard keeps what a carrier says about a parcel that comes back, and moves its return: it
// is on its way with the first scan, and somebody must open it when it is there.
func Heard(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, f shipping.Followed, t shipping.Track, pace shipping.Pace) error {
	r, err := lock(ctx, tx, shop.ID, f.ReturnID)
	if err != nil {
		return err
	}
	_, moved, err := f.Keep(ctx, tx, t, pace)
	if err != nil || !moved {
		return err
	}
	to, err := shipping.OfReturn(r.ID).Together(ctx, tx, shop.ID)
	if err != nil || !slices.Contains(onTheWay, to) {
		return err
	}
	if r.Status == Approved || r.Status == LabelIssued {
		if r, err = Sent(ctx, tx, shop, r.ID, Sending{Carrier: r.Carrier, Tracking: r.Tracking, By: "carrier"}); err != nil {
			return err
		}
	}
	if r.Status != InTransit {
		return nil
	}
	arrived := to == shipping.Arrived && r.ArrivedAt == nil
	// The run tells a person of what is lost, or went back to the buyer.
	_, err = tx.Exec(ctx, `UPDATE returns SET version = version + 1, updated_at = now(), arrived_at = CASE WHEN $3 THEN now() ELSE arrived_at END,
	    due_at = CASE WHEN $3 THEN now() + make_interval(hours => (policy->>'inspect_within_hours')::int) ELSE due_at END WHERE tenant = $1 AND id = $2`, shop.ID, r.ID, arrived)
	if err != nil {
		return fmt.Errorf("return %s: %w", r.ID, err)
	}
	if !arrived {
		return nil
	}
	return timeline.Add(ctx, tx, shop.ID, r.OrderID, "return_arrived", "shipping", map[string]any{"return_id": r.ID, "carrier": r.Label.Carrier, "tracking": f.Tracking})
}

// Unscanned are the parcels of a return's label of which the carrier has said nothing, for
// whoever asks it once more when the goods are there.
func (r Return) Unscanned() []shipping.Followed {
	if r.Label == nil || r.scanned() {
		return nil
	}
	var out []shipping.Followed
	for _, p := range r.Parcels {
		out = append(out, shipping.Followed{ParcelID: p.ID, ReturnID: r.ID, Carrier: r.Label.Carrier, Tracking: p.Tracking, State: p.State})
	}
	return out
}

// CheckedLabel says that the carrier was asked whether it has had the parcels. A label that
// it has not is given up: the buyer has sent the goods otherwise.
func CheckedLabel(ctx context.Context, tx pgx.Tx, tenantID, returnID string) error {
	r, err := lock(ctx, tx, tenantID, returnID)
	if err != nil {
		return err
	}
	if err := r.dropLabel(ctx, tx, tenantID, "system"); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE returns SET label_checked_at = now(), updated_at = now() WHERE tenant = $1 AND id = $2`, tenantID, returnID); err != nil {
		return fmt.Errorf("label of return %s: %w", returnID, err)
	}
	return nil
}

// PublicLabel names the return whose label a key opens: 404 for a key that is nobody's, and
// once the parcel is on its way.
func PublicLabel(ctx context.Context, tx pgx.Tx, tenantID, key string) (returnID string, err error) {
	err = tx.QueryRow(ctx, `SELECT id FROM returns WHERE tenant = $1 AND label_key::text = $2 AND status = 'label_issued'`, tenantID, key).Scan(&returnID)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", problem.Missing("label")
	}
	if err != nil {
		return "", fmt.Errorf("return by its label's key: %w", err)
	}
	return returnID, nil
}
