package shipping

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

	"justlogistics/internal/id"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// Statuses of a booking. Intended is written before the carrier hears of it, Lapsed
// is a booking that is not used and that the carrier cannot cancel.
const (
	Intended     = "intended"
	InDoubt      = "unknown"
	IssuedLater  = "pending"
	BookedNow    = "booked"
	Refused      = "refused"
	Failed       = "failed"
	CancelledNow = "voided"
	Lapsed       = "lapsed"
)

// live is SQL that is true of a booking that counts, or may count.
const live = `(status IN ('intended','unknown','pending','booked') AND void_at IS NULL)`

// Kept is a booking as it stands in the database.
type Kept struct {
	ID, ParcelID       string
	Carrier            Name
	Service, Reference string
	Status             string
	Tracking           string
	CarrierID          string
	Code, Message      string
	Tries              int
	TriedAt, NextAt    *time.Time
	VoidAt             *time.Time
	Labelled           bool // its label is kept, or a person has printed it
	CreatedAt          time.Time
}

// Live: it counts, or may count.
func (k Kept) Live() bool {
	return k.VoidAt == nil && slices.Contains([]string{Intended, InDoubt, IssuedLater, BookedNow}, k.Status)
}

// Booked names it for the carrier.
func (k Kept) Booked() Booked {
	at := k.CreatedAt
	if k.TriedAt != nil {
		at = *k.TriedAt
	}
	return Booked{Reference: k.Reference, Tracking: k.Tracking, CarrierID: k.CarrierID, At: at}
}

const keptColumns = `SELECT b.id, b.parcel_id, carrier, service, reference, status, tracking, carrier_id, code, message, tries, tried_at, next_at, void_at, created_at,
    b.by_hand OR EXISTS (SELECT FROM carrier_labels l WHERE l.tenant = b.tenant AND l.booking_id = b.id) FROM bookings b WHERE b.tenant = $1 AND `

func scanKept(row pgx.CollectableRow) (k Kept, err error) {
	return k, row.Scan(&k.ID, &k.ParcelID, &k.Carrier, &k.Service, &k.Reference, &k.Status, &k.Tracking, &k.CarrierID, &k.Code, &k.Message, &k.Tries, &k.TriedAt, &k.NextAt, &k.VoidAt, &k.CreatedAt, &k.Labelled)
}

// Bookings are those of a shipment or a return, the oldest first.
func Bookings(ctx context.Context, tx pgx.Tx, tenantID string, of Owner) (list []Kept, err error) {
	b := &pgx.Batch{}
	queueBookings(b, tenantID, of, &list)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("bookings of %s: %w", of, err)
	}
	return list, nil
}

// BookingsNow are Bookings with the database's clock.
func BookingsNow(ctx context.Context, tx pgx.Tx, tenantID string, of Owner) (list []Kept, now time.Time, err error) {
	b := &pgx.Batch{}
	queueBookings(b, tenantID, of, &list)
	b.Queue(`SELECT now()`).QueryRow(func(row pgx.Row) error { return row.Scan(&now) })
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, now, fmt.Errorf("bookings of %s: %w", of, err)
	}
	return list, now, nil
}

// queueBookings reads them in a batch.
func queueBookings(b *pgx.Batch, tenantID string, of Owner, list *[]Kept) {
	b.Queue(keptColumns+`b.`+of.column+` = $2 ORDER BY b.id`, tenantID, of.ID).Query(func(rows pgx.Rows) (err error) {
		*list, err = pgx.CollectRows(rows, scanKept)
		return err
	})
}

// Unbooked is what a carrier must know to carry the parcels of a shipment or a return,
// and what was tried already.
type Unbooked struct {
	Of Owner
	// Subject is what the parcels belong to, as far as their labels go.
	Subject Subject
	// Number is what people call the order, printed on labels.
	Number  string
	Parcels []PackedParcel
	// Wanted: labels are to be bought now, for WantedBy.
	Wanted   bool
	WantedBy string
	// Else is what a person can do where nobody carries them, in words.
	Else string
	// Carrier and Service that must be used, and those that the buyer has paid for;
	// empty: any.
	Carrier, Chosen               Name
	Service, ChosenService        string
	Method                        Method
	From, To                      Place
	Sender, Receiver              Contact
	Contents                      string
	DeclaredValue                 int64 // pesos
	Tried                         []Name
	Refusals                      []string // of those tried, in their own words
	Shop                          tenant.Tenant
	chosenDays                    *int // of the rate that the buyer has paid for
	parcelsWithout, parcelsToVoid []string
}

// ToBook reads what is to be booked for a shipment.
func ToBook(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string) (Unbooked, error) {
	u := Unbooked{Of: OfShipment(shipmentID), Shop: shop, Sender: Desk(shop),
		Else: "say who carries it (POST /v1/shipments/{id}/label, carrier manual for own delivery)."}
	var customer, address []byte
	var wantedAt, bookAt *time.Time
	var warehouse string
	var bookings []Kept
	b := &pgx.Batch{}
	get := queueGet(b, shop.ID, shipmentID)
	queueBookings(b, shop.ID, u.Of, &bookings)
	b.Queue(`SELECT o.customer, o.shipping, s.wanted_at, s.book_at, s.wanted_carrier, s.wanted_service, w.name, w.street, w.number, w.comuna, w.region
	    FROM shipments s JOIN orders o ON o.tenant = s.tenant AND o.id = s.order_id JOIN warehouses w ON w.tenant = s.tenant AND w.code = s.warehouse
	   WHERE s.tenant = $1 AND s.id = $2`, shop.ID, shipmentID).QueryRow(func(row pgx.Row) error {
		return row.Scan(&customer, &address, &wantedAt, &bookAt, &u.Carrier, &u.Service, &warehouse, &u.From.Street, &u.From.Number, &u.From.Comuna, &u.From.Region)
	})
	s, err := get.found(tx.SendBatch(ctx, b).Close())
	if err != nil {
		return u, err
	}
	u.Subject, u.Number, u.Parcels, u.Wanted = packed{s, shop}, s.Number, s.Parcels, s.Status == Packed
	if s.Label != nil {
		u.WantedBy = s.Label.WantedBy
	}
	if err := u.People(customer, address); err != nil {
		return u, fmt.Errorf("order %s: %w", s.OrderID, err)
	}
	// A storefront need not name its buyer, and carriers refuse a parcel to nobody: it goes
	// to the order. A courier who cannot reach the buyer calls the shop.
	u.Receiver.Name = cmp.Or(strings.TrimSpace(u.Receiver.Name), "Pedido "+s.Number)
	u.Receiver.Phone, u.Receiver.Email = cmp.Or(u.Receiver.Phone, shop.Settings.Sender.Phone), cmp.Or(u.Receiver.Email, shop.Settings.Sender.Email)
	skus, quantities := make([]string, 0, len(s.Lines)), make([]int, 0, len(s.Lines))
	for _, l := range s.Lines {
		skus, quantities = append(skus, l.SKU), append(quantities, l.Quantity)
	}
	if err := u.Goods(ctx, tx, s.OrderID, skus, quantities); err != nil {
		return u, err
	}
	u.learn(bookings, wantedAt, bookAt)
	return u, nil
}

// Desk is whom a carrier calls about a shop's parcels.
func Desk(shop tenant.Tenant) Contact {
	s := shop.Settings.Sender
	return Contact{Name: cmp.Or(s.Name, shop.Name), Phone: s.Phone, Email: s.Email, RUT: s.RUT}
}

// Learn reads what has been tried since labels are wanted. A round in which nobody carried
// the parcels is over when the next begins, and each carrier may be asked again.
func (u *Unbooked) Learn(ctx context.Context, tx pgx.Tx, wantedAt, nextRound *time.Time) error {
	bookings, err := Bookings(ctx, tx, u.Shop.ID, u.Of)
	if err != nil {
		return err
	}
	u.learn(bookings, wantedAt, nextRound)
	return nil
}

func (u *Unbooked) learn(bookings []Kept, wantedAt, nextRound *time.Time) {
	if wantedAt != nil && nextRound != nil && nextRound.After(*wantedAt) {
		wantedAt = nextRound
	}
	u.read(bookings, wantedAt)
}

// People reads who gets it and where, as an order keeps them.
func (u *Unbooked) People(customer, address []byte) error {
	var c struct {
		Name  string `json:"name"`
		Phone string `json:"phone"`
		Email string `json:"email"`
		RUT   string `json:"rut"`
	}
	var a struct {
		Street  string `json:"street"`
		Number  string `json:"number"`
		Unit    string `json:"unit"`
		Comuna  string `json:"comuna"`
		Region  string `json:"region"`
		Service string `json:"service"`
		Carrier Name   `json:"carrier"`
		Method  Method `json:"method"`
		Point   string `json:"pickup_point_id"`
		Days    *int   `json:"promised_days"`
	}
	if err := json.Unmarshal(customer, &c); err != nil {
		return fmt.Errorf("its customer: %w", err)
	}
	if err := json.Unmarshal(address, &a); err != nil {
		return fmt.Errorf("its address: %w", err)
	}
	u.Receiver = Contact{Name: c.Name, Phone: c.Phone, Email: c.Email, RUT: c.RUT}
	u.To = Place{Street: a.Street, Number: a.Number, Unit: a.Unit, Comuna: a.Comuna, Region: a.Region, PointID: a.Point}
	if u.Method = a.Method; u.Method == "" {
		u.Method = ToDoor
	}
	if a.Service == "pickup" && a.Carrier == "" {
		u.Method = InShop
	}
	if a.Carrier != "" && a.Carrier != Manual {
		u.Chosen, u.ChosenService, u.chosenDays = a.Carrier, a.Service, a.Days
	}
	return nil
}

// Goods are what the parcels hold of an order, for the carrier's declaration.
func (u *Unbooked) Goods(ctx context.Context, tx pgx.Tx, orderID string, skus []string, quantities []int) error {
	err := tx.QueryRow(ctx, `SELECT coalesce(sum(l.total * w.quantity / l.quantity), 0), coalesce(left(string_agg(DISTINCT l.name, ', '), 100), '')
	    FROM unnest($3::text[], $4::int[]) AS w (sku, quantity) JOIN order_lines l ON l.tenant = $1 AND l.order_id = $2 AND l.sku = w.sku`, u.Shop.ID, orderID, skus, quantities).Scan(&u.DeclaredValue, &u.Contents)
	if err != nil {
		return fmt.Errorf("goods of %s: %w", u.Of, err)
	}
	return nil
}

// read sorts out which parcels have no booking, and which carriers have said no in this
// round.
func (u *Unbooked) read(bookings []Kept, since *time.Time) {
	for _, p := range u.Parcels {
		booked := false
		for _, k := range bookings {
			switch {
			case k.ParcelID != p.ID:
			case k.Live():
				booked = true
			case (k.Status == Refused || k.Status == Failed && k.Code != withdrawn) && since != nil && !k.CreatedAt.Before(*since) && !slices.Contains(u.Tried, k.Carrier):
				u.Tried = append(u.Tried, k.Carrier)
				u.Refusals = append(u.Refusals, k.refusal())
			}
		}
		if booked {
			u.parcelsToVoid = append(u.parcelsToVoid, p.ID)
			continue
		}
		u.parcelsWithout = append(u.parcelsWithout, p.ID)
	}
}

// refusal says in a carrier's words why it does not carry a parcel.
func (k Kept) refusal() string {
	return k.Carrier.Title() + ": " + strings.TrimSpace(k.Code+" "+k.Message)
}

// Choice is a carrier and its service.
type Choice struct {
	Carrier Name
	Service string
	// Days are working days that it promises; nil where they are not known.
	Days *int
	// Price in pesos, of a parcel; zero where it was not asked for.
	Price int64
}

// Fixed is the choice that needs no quotes: what a person or the buyer has chosen.
// ok is false when quotes must be compared, also after the chosen carrier's no.
func (u Unbooked) Fixed() (c Choice, ok bool) {
	switch {
	case u.Carrier != "" && u.Service != "":
		return Choice{Carrier: u.Carrier, Service: u.Service}, true
	case u.Carrier != "" && u.Carrier != u.Chosen:
		return Choice{}, false
	case u.Chosen != "" && u.ChosenService != "" && !slices.Contains(u.Tried, u.Chosen):
		return Choice{Carrier: u.Chosen, Service: u.ChosenService, Days: u.chosenDays}, true
	}
	return Choice{}, false
}

// Largest is the parcel that decides what a carrier takes for all of them.
func (u Unbooked) Largest() Parcel {
	var out Parcel
	for _, p := range u.Parcels {
		out.WeightGrams = max(out.WeightGrams, p.WeightGrams)
		out.LengthMM, out.WidthMM, out.HeightMM = max(out.LengthMM, p.Dimensions.Length), max(out.WidthMM, p.Dimensions.Width), max(out.HeightMM, p.Dimensions.Height)
	}
	return out
}

// Quote is what carriers are asked.
func (u Unbooked) Quote() QuoteRequest {
	return QuoteRequest{From: u.From, To: u.To, Method: u.Method, Parcel: u.Largest(), DeclaredValue: u.DeclaredValue}
}

// Prefer puts offers into the order of the tenant's policy, without the carriers that
// were tried and those that must not be used. A point belongs to one carrier.
func (u Unbooked) Prefer(rates []Rate) []Choice {
	Sort(rates, u.Shop.Settings.Rates.Prefer, u.Shop.Settings.Rates.DayValue)
	var out []Choice
	for _, r := range rates {
		if (u.Carrier != "" && r.Carrier != u.Carrier) || u.Method == ToPoint && r.Carrier != u.Chosen || slices.Contains(u.Tried, r.Carrier) {
			continue
		}
		// A carrier's other services are for those who name them.
		if !slices.ContainsFunc(out, func(c Choice) bool { return c.Carrier == r.Carrier }) {
			out = append(out, Choice{r.Carrier, r.Service, r.WorkingDays(u.Shop.Settings.TimeZone), r.Price})
		}
	}
	return out
}

// Intend writes down that the first of the choices that has room today will be booked
// for every parcel, before it hears of it. Parcels that another carrier has meanwhile are
// taken from it: a shipment, and a return, has one carrier. ok is false when no choice
// has room, or none was given.
//
// It changes nothing when labels are not wanted any more.
func (u Unbooked) Intend(ctx context.Context, tx pgx.Tx, choices []Choice) (full []Name, ok bool, err error) {
	tenantID := u.Shop.ID
	wanted, err := u.Subject.StillWanted(ctx, tx)
	if err != nil {
		return nil, false, err
	}
	if !wanted || len(u.parcelsWithout) == 0 {
		return nil, true, nil
	}
	// Another worker may have been faster since they were read.
	var booked bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM bookings WHERE tenant = $1 AND parcel_id = ANY($2) AND `+live+`)`, tenantID, u.parcelsWithout).Scan(&booked)
	if err != nil || booked {
		return nil, true, wrap(err, "bookings of "+u.Of.String())
	}
	zone, err := time.LoadLocation(u.Shop.Settings.TimeZone)
	if err != nil {
		return nil, false, fmt.Errorf("time zone of %s: %w", tenantID, err)
	}
	today := time.Now().In(zone).Format(time.DateOnly)
	for _, c := range choices {
		room, err := takeRoom(ctx, tx, tenantID, c.Carrier, today, len(u.Parcels), u.Shop.Settings.CarrierCapacity[string(c.Carrier)])
		if err != nil {
			return full, false, err
		}
		if !room {
			full = append(full, c.Carrier)
			continue
		}
		if err := u.withdraw(ctx, tx, tenantID); err != nil {
			return full, false, err
		}
		for _, p := range u.Parcels {
			if _, err := tx.Exec(ctx, `INSERT INTO bookings (tenant, id, `+u.Of.column+`, parcel_id, carrier, service, reference, day) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)`,
				tenantID, id.New(), u.Of.ID, p.ID, c.Carrier, c.Service, newReference(), today); err != nil {
				return full, false, fmt.Errorf("booking of parcel %s: %w", p.ID, err)
			}
		}
		return full, true, u.Subject.Intended(ctx, tx, c)
	}
	return full, false, nil
}

// withdraw takes back what another carrier has of parcels of which it refused others.
func (u Unbooked) withdraw(ctx context.Context, tx pgx.Tx, tenantID string) error {
	return unwant(ctx, tx, tenantID, `parcel_id = ANY($2)`, u.parcelsToVoid)
}

// unwant marks bookings as not wanted: the run of what they are for voids them.
func unwant(ctx context.Context, tx pgx.Tx, tenantID, which string, args ...any) error {
	_, err := tx.Exec(ctx, `UPDATE bookings SET void_at = now(), next_at = now(), updated_at = now() WHERE tenant = $1 AND `+live+` AND `+which, append([]any{tenantID}, args...)...)
	if err != nil {
		return fmt.Errorf("bookings that are not wanted: %w", err)
	}
	return nil
}

// takeRoom takes room for so many parcels of a carrier's day, for all workers; most of
// zero is no limit.
func takeRoom(ctx context.Context, tx pgx.Tx, tenantID string, carrier Name, day string, parcels, most int) (bool, error) {
	if most > 0 && parcels > most {
		return false, nil
	}
	tag, err := tx.Exec(ctx, `INSERT INTO carrier_days AS d (tenant, carrier, day, parcels) VALUES ($1,$2,$3,$4)
	  ON CONFLICT (tenant, carrier, day) DO UPDATE SET parcels = d.parcels + excluded.parcels WHERE $5 = 0 OR d.parcels + excluded.parcels <= $5`, tenantID, carrier, day, parcels, most)
	if err != nil {
		return false, fmt.Errorf("capacity of %s: %w", carrier, err)
	}
	return tag.RowsAffected() == 1, nil
}

// Booking is what a carrier is told about a parcel.
func (u Unbooked) Booking(k Kept, form Format) (Booking, bool) {
	i := slices.IndexFunc(u.Parcels, func(p PackedParcel) bool { return p.ID == k.ParcelID })
	if i < 0 {
		return Booking{}, false
	}
	p := u.Parcels[i]
	return Booking{Reference: k.Reference, Number: u.Number, Service: k.Service, Method: u.Method, From: u.From, To: u.To, Sender: u.Sender, Receiver: u.Receiver,
		Parcel:   Parcel{WeightGrams: p.WeightGrams, LengthMM: p.Dimensions.Length, WidthMM: p.Dimensions.Width, HeightMM: p.Dimensions.Height},
		Contents: u.Contents, DeclaredValue: u.DeclaredValue / int64(max(1, len(u.Parcels))), Label: form, At: k.Booked().At}, true
}

// withdrawn is the code of a booking that the carrier never heard of.
const withdrawn = "withdrawn"

// Begin says that the carrier may know of a booking from now on. ok is false when it may
// already, or when the booking is over: the caller reads it again. again are bookings of
// which the carrier has just said that it does not know them.
func (k Kept) Begin(ctx context.Context, tx pgx.Tx, tenantID string, again bool) (ok bool, err error) {
	tag, err := tx.Exec(ctx, `UPDATE bookings SET tried_at = now(), tries = tries + 1, updated_at = now(), next_at = now()
	   WHERE tenant = $1 AND id = $2 AND tries = $3 AND void_at IS NULL AND (status = 'intended' AND tried_at IS NULL OR $4 AND status IN ('intended','unknown','pending'))`, tenantID, k.ID, k.Tries, again)
	if err != nil {
		return false, fmt.Errorf("booking %s: %w", k.ID, err)
	}
	return tag.RowsAffected() == 1, nil
}

// Save writes down what a carrier said about a booking. An answer that comes late, after
// another has settled the booking, changes nothing but what is still unknown.
func (k Kept) Save(ctx context.Context, tx pgx.Tx, tenantID string, a Answer, again time.Duration) error {
	status := map[Outcome]string{OutcomeBooked: BookedNow, OutcomePending: IssuedLater, OutcomeRefused: Refused, OutcomeVoided: CancelledNow}[a.Outcome]
	if status == "" {
		status = InDoubt
	}
	if status == BookedNow && a.Tracking == "" {
		return fmt.Errorf("booking %s: a booking without a number", k.ID)
	}
	over := status == Refused || status == CancelledNow
	tag, err := tx.Exec(ctx, `UPDATE bookings SET status = $3, tracking = CASE WHEN $4 = '' THEN tracking ELSE $4 END, carrier_id = CASE WHEN $5 = '' THEN carrier_id ELSE $5 END, price = coalesce(nullif($6::bigint, 0), price),
	    code = $7, message = $8, tries = tries + CASE WHEN $3 IN ('unknown','pending') THEN 1 ELSE 0 END, updated_at = now(), tried_at = coalesce(tried_at, now()), booked_at = CASE WHEN $3 = 'booked' THEN coalesce(booked_at, now()) ELSE booked_at END,
	    next_at = CASE WHEN $9 THEN NULL ELSE now() + $10::interval END
	   WHERE tenant = $1 AND id = $2 AND status IN ('intended','unknown','pending','booked') AND NOT (status = 'booked' AND $3 IN ('unknown','pending','refused'))`,
		tenantID, k.ID, status, a.Tracking, a.CarrierID, a.Price, first(a.Code, 80), first(a.Message, 400), over, again)
	if err != nil {
		return fmt.Errorf("booking %s: %w", k.ID, err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	if a.Label != nil {
		if err := k.KeepLabel(ctx, tx, tenantID, *a.Label); err != nil {
			return err
		}
	}
	if over {
		return k.giveBack(ctx, tx, tenantID)
	}
	return nil
}

// SaveFailure writes down that nothing happened at the carrier.
func (k Kept) SaveFailure(ctx context.Context, tx pgx.Tx, tenantID, code, message string) error {
	tag, err := tx.Exec(ctx, `UPDATE bookings SET status = 'failed', code = $3, message = $4, next_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2 AND status IN ('intended','unknown','pending')`, tenantID, k.ID, first(code, 80), first(message, 400))
	if err != nil {
		return fmt.Errorf("booking %s: %w", k.ID, err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	return k.giveBack(ctx, tx, tenantID)
}

// Later postpones what is to be done about a booking; zero leaves it to a person.
func (k Kept) Later(ctx context.Context, tx pgx.Tx, tenantID, code, message string, again time.Duration) error {
	_, err := tx.Exec(ctx, `UPDATE bookings SET tries = tries + 1, code = $3, message = $4, updated_at = now(), next_at = CASE WHEN $5::interval = interval '0' THEN NULL ELSE now() + $5::interval END,
	    status = CASE WHEN status = 'intended' AND tried_at IS NOT NULL THEN 'unknown' ELSE status END WHERE tenant = $1 AND id = $2 AND status IN ('intended','unknown','pending','booked')`, tenantID, k.ID, first(code, 80), first(message, 400), again)
	if err != nil {
		return fmt.Errorf("booking %s: %w", k.ID, err)
	}
	return nil
}

// Lapse says that a booking is not used and that the carrier cannot cancel it. Tracking is
// the number that the carrier has told since, so that its bill can be read.
func (k Kept) Lapse(ctx context.Context, tx pgx.Tx, tenantID, orderID string) error {
	tag, err := tx.Exec(ctx, `UPDATE bookings SET status = 'lapsed', next_at = NULL, updated_at = now(), tracking = CASE WHEN tracking = '' THEN $3 ELSE tracking END WHERE tenant = $1 AND id = $2 AND void_at IS NOT NULL AND tried_at IS NOT NULL AND status IN ('intended','unknown','pending','booked')`, tenantID, k.ID, k.Tracking)
	if err != nil || tag.RowsAffected() == 0 {
		return wrap(err, "booking "+k.ID)
	}
	return timeline.Add(ctx, tx, tenantID, orderID, "label_lapsed", "shipping", map[string]any{"carrier": k.Carrier, "tracking": k.Tracking})
}

// giveBack frees the room that a booking took of its carrier's day.
func (k Kept) giveBack(ctx context.Context, tx pgx.Tx, tenantID string) error {
	_, err := tx.Exec(ctx, `UPDATE carrier_days d SET parcels = greatest(0, d.parcels - 1) FROM bookings b WHERE b.tenant = $1 AND b.id = $2 AND d.tenant = $1 AND d.carrier = b.carrier AND d.day = b.day`, tenantID, k.ID)
	return wrap(err, "capacity of "+string(k.Carrier))
}

// KeepLabel keeps a carrier's label. The first one stays.
func (k Kept) KeepLabel(ctx context.Context, tx pgx.Tx, tenantID string, l Label) error {
	_, err := tx.Exec(ctx, `INSERT INTO carrier_labels (tenant, booking_id, format, data) VALUES ($1,$2,$3,$4) ON CONFLICT DO NOTHING`, tenantID, k.ID, l.Format, l.Data)
	return wrap(err, "label of booking "+k.ID)
}

// CarrierLabels are the labels that the carrier of a shipment or a return has made, in the
// order of the parcels: of all of them, or of the one at a position; zero is all.
func CarrierLabels(ctx context.Context, tx pgx.Tx, tenantID string, of Owner, position int) ([]Label, error) {
	rows, err := tx.Query(ctx, `SELECT l.format, l.data FROM carrier_labels l JOIN bookings b ON b.tenant = l.tenant AND b.id = l.booking_id JOIN parcels p ON p.tenant = b.tenant AND p.id = b.parcel_id
	  WHERE l.tenant = $1 AND b.`+of.column+` = $2 AND b.status = 'booked' AND b.void_at IS NULL AND p.unpacked_at IS NULL AND ($3 = 0 OR p.position = $3) ORDER BY p.position`, tenantID, of.ID, position)
	if err != nil {
		return nil, fmt.Errorf("labels of %s: %w", of, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Label])
	return list, wrap(err, "labels of "+of.String())
}

// Finish labels a packed shipment all of whose parcels are booked: from now on it can be
// handed over. It changes nothing while something is missing, the order is frozen, or a
// booking is not wanted any more.
func Finish(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, shipmentID string) error {
	t := step{tenant: shop.ID, shipmentID: shipmentID, from: []string{Packed}, to: Labelled, set: `, labelled_at = now(), carrier = $7, not_booked = ''`}
	// Whoever unpacks or freezes it at the same moment comes before or after.
	if _, err := tx.Exec(ctx, `SELECT FROM shipments WHERE tenant = $1 AND id = $2 FOR UPDATE`, shop.ID, shipmentID); err != nil {
		return fmt.Errorf("shipment %s: %w", shipmentID, err)
	}
	s, err := t.look(ctx, tx)
	if refused(err) {
		return nil
	}
	if err != nil {
		return err
	}
	bookings, err := Bookings(ctx, tx, shop.ID, OfShipment(s.ID))
	if err != nil {
		return err
	}
	carrier, numbers := Ready(s.Parcels, bookings)
	if len(numbers) == 0 {
		return nil
	}
	t.args = []any{string(carrier)}
	if err := s.stopped(ctx, tx, shop.ID); refused(err) {
		return nil
	} else if err != nil {
		return err
	}
	if err := Follow(ctx, tx, shop.ID, s.Parcels, numbers); err != nil {
		return err
	}
	if s, err = t.take(ctx, tx, s); refused(err) {
		return errors.New("the shipment was changed meanwhile: read it again")
	} else if err != nil {
		return err
	}
	var by string
	if err := tx.QueryRow(ctx, `SELECT wanted_by FROM shipments WHERE tenant = $1 AND id = $2`, shop.ID, s.ID).Scan(&by); err != nil {
		return fmt.Errorf("shipment %s: %w", s.ID, err)
	}
	return timeline.Add(ctx, tx, shop.ID, s.OrderID, "labelled", "shipping", map[string]any{"shipment_id": s.ID, "carrier": s.Carrier, "tracking": numbers, "by": by})
}

// Ready is the carrier of parcels that all have a label, and their numbers; none while one
// has not.
func Ready(parcels []PackedParcel, bookings []Kept) (carrier Name, numbers []string) {
	for _, p := range parcels {
		i := slices.IndexFunc(bookings, func(k Kept) bool { return k.ParcelID == p.ID && k.Live() && k.Status == BookedNow })
		if i < 0 || !bookings[i].Labelled {
			return "", nil
		}
		carrier, numbers = bookings[i].Carrier, append(numbers, bookings[i].Tracking)
	}
	return carrier, numbers
}

// Follow has the carrier asked about parcels under these numbers from now on.
func Follow(ctx context.Context, tx pgx.Tx, tenantID string, parcels []PackedParcel, numbers []string) error {
	for i, p := range parcels {
		if _, err := tx.Exec(ctx, `UPDATE parcels SET tracking = $3, state = 'announced', track_at = now() + $4::interval WHERE tenant = $1 AND id = $2`, tenantID, p.ID, numbers[i], firstLook); err != nil {
			return fmt.Errorf("tracking of parcel %s: %w", p.ID, err)
		}
	}
	return nil
}

func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func first(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}

// GiveUp says that a booking is not wanted any more: the run voids it, and its
// parcel is booked anew.
func (k Kept) GiveUp(ctx context.Context, tx pgx.Tx, tenantID string) error {
	return unwant(ctx, tx, tenantID, `id = $2`, k.ID)
}

// Withdraw ends a booking that its carrier never heard of.
func (k Kept) Withdraw(ctx context.Context, tx pgx.Tx, tenantID string) error {
	tag, err := tx.Exec(ctx, `UPDATE bookings SET status = 'failed', code = '`+withdrawn+`', next_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'intended' AND tried_at IS NULL`, tenantID, k.ID)
	if err != nil || tag.RowsAffected() == 0 {
		return wrap(err, "booking "+k.ID)
	}
	return k.giveBack(ctx, tx, tenantID)
}
