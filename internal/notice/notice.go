// Package notice tells buyers what becomes of their order: by mail, SMS or
// WhatsApp. Whoever does a step queues a notice in the same transaction; a sender
// gives it to a mail server or a provider later, again and again until it is taken.
// No row of ours has the buyer's address: it is read when the notice is sent.
package notice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/tenant"
)

// Kind is a step of an order that buyers are told of.
type Kind string

// The kinds; tenant.NoticeKinds lists them.
const (
	OrderPaid         Kind = "order_paid"
	BackOrdered       Kind = "back_ordered"
	Delayed           Kind = "delayed"
	Shipped           Kind = "shipped"
	OutForDelivery    Kind = "out_for_delivery"
	ReadyForPickup    Kind = "ready_for_pickup"
	Delivered         Kind = "delivered"
	DeliveryFailed    Kind = "delivery_failed"
	ReturnedToSender  Kind = "returned_to_sender"
	PartiallyRefunded Kind = "partially_refunded"
	Refunded          Kind = "refunded"
	OrderCancelled    Kind = "order_cancelled"
	ReturnRequested   Kind = "return_requested"
	ReturnApproved    Kind = "return_approved"
	ReturnLabel       Kind = "return_label"
	ReturnRejected    Kind = "return_rejected"
	ReturnReminder    Kind = "return_reminder"
	ReturnReceived    Kind = "return_received"
	ReturnExpired     Kind = "return_expired"
	ReturnClosed      Kind = "return_closed"
)

// Channel is a way to the buyer; tenant.NoticeChannels lists them.
type Channel string

// The channels.
const (
	Email    Channel = "email"
	SMS      Channel = "sms"
	WhatsApp Channel = "whatsapp"
)

// Data is what a notice tells beside what the order itself says. It stands in the
// row: ids, amounts, public names, nothing of the buyer.
type Data struct {
	ShipmentID string `json:"shipment_id,omitempty"`
	// Carrier is its name for people; empty is the shop's own delivery.
	Carrier  string   `json:"carrier,omitempty"`
	Tracking []string `json:"tracking,omitempty"`
	// Link is where the parcels can be followed, http or https.
	Link string `json:"link,omitempty"`
	// LabelPath is where the buyer prints the label of what comes back, below the shop's
	// public address.
	LabelPath string `json:"label_path,omitempty"`
	// Units are what the notice is about, where that is not the whole order.
	Units []Units `json:"units,omitempty"`
	// Amount is money that went back, in minor units.
	Amount   int64          `json:"amount,omitempty"`
	Currency money.Currency `json:"currency,omitempty"`
	// ByTransfer: it went back by a bank transfer, not as it had come.
	ByTransfer bool `json:"by_transfer,omitempty"`
	// Unused: the money had paid no order.
	Unused bool `json:"unused,omitempty"`
	// Point is the name and address of the place where the parcels can be fetched.
	Point string `json:"point,omitempty"`
	// By is the day on which the buyer may expect what the notice tells of, or
	// until which parcels wait for them.
	By *time.Time `json:"by,omitempty"`
	// Return is the number of what comes back, Why what the shop says about it, Missing how
	// many of its units did not come.
	Return  string `json:"return,omitempty"`
	Why     string `json:"why,omitempty"`
	Missing int    `json:"missing,omitempty"`
}

// Units are so many units of a SKU.
type Units struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
}

// Queue writes a notice for each channel of the tenant's, to be sent once tx is
// committed. dedupe names the step, such as the shipment or the refund: the same
// kind with the same dedupe for the same order is told once, however often it is
// queued. Nothing is queued for a kind or channel that the tenant has switched off,
// nor for a buyer who left no address for it. subject is the order, or the
// checkout when it became none.
func Queue(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, subject string, kind Kind, dedupe string, data Data) error {
	if !slices.Contains(tenant.NoticeKinds, string(kind)) {
		return fmt.Errorf("notice for %s: no kind %q", subject, kind)
	}
	var ids, channels []string
	for _, c := range shop.Settings.Notices.Channels {
		if shop.Settings.Notices.Sends(string(kind), c) {
			ids, channels = append(ids, id.New()), append(channels, c)
		}
	}
	if len(channels) == 0 {
		return nil
	}
	raw, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO notices (tenant, id, subject, kind, channel, dedupe, data)
	  SELECT $1, c.id, $2, $3, c.channel, $4, $5 FROM unnest($6::text[], $7::text[]) AS c (id, channel), (`+buyer+`) b
	   WHERE CASE WHEN c.channel = 'email' THEN b.email ELSE b.phone END <> ''
	  ON CONFLICT ON CONSTRAINT a_step_tells_the_buyer_once DO NOTHING`, shop.ID, subject, string(kind), dedupe, raw, ids, channels)
	if err != nil {
		return fmt.Errorf("notice %s for %s: %w", kind, subject, err)
	}
	return nil
}

// buyer reads the addresses of the buyer of an order, or of a checkout that became
// none.
const buyer = `SELECT coalesce(email, '') AS email, coalesce(customer->>'phone', '') AS phone, coalesce(customer->>'name', '') AS name FROM orders WHERE tenant = $1 AND id = $2
	  UNION ALL SELECT coalesce(email, ''), coalesce(customer->>'phone', ''), coalesce(customer->>'name', '') FROM checkouts WHERE tenant = $1 AND id = $2
	     AND NOT EXISTS (SELECT FROM orders WHERE tenant = $1 AND id = $2)`

// Failure is why a notice did not go, without anything of the buyer: mail servers
// and providers like to repeat addresses.
type Failure struct {
	// Code is ours or the server's, such as smtp_550_5.1.1 or twilio_21211.
	Code string
	// Final: another try would fail alike.
	Final bool
	// Apart: the server or the account is in trouble, not this notice; the others
	// of the batch need not be tried.
	Apart bool
	// Wait is what the other side asks for before another try; 0 leaves it to us.
	Wait time.Duration
}

func (f *Failure) Error() string { return f.Code }

// failureOf finds the Failure in an error; any other has a code of its own, since
// its text may quote an address.
func failureOf(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Code: "unexpected"}
}
