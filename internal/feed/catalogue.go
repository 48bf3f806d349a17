package feed

import (
	"maps"
	"slices"
)

// subject is what an event's data names first.
type subject int

const (
	ofCheckout subject = iota // a checkout: its id
	ofOrder                   // an order: its id
	ofPayment                 // money of a checkout, which need not have an order
)

// public is how an entry of a timeline is told outside.
type public struct {
	Type    string
	subject subject
	// keys are members of the entry's data that go out as they are: ids, codes and
	// amounts. What is not named here stays inside.
	keys []string
}

// catalogue is every kind of entry that is public. A kind that is not here is
// internal, and costs nothing but its row.
var catalogue = map[string]public{
	"expired":          {"checkout.expired", ofCheckout, nil},
	"payment_failed":   {"checkout.payment_failed", ofCheckout, nil},
	"cancelled":        {"checkout.cancelled", ofCheckout, nil},
	"checkout_refused": {"checkout.cancelled", ofCheckout, []string{"code"}},

	"order_paid":           {"order.paid", ofOrder, []string{"payment_id", "gateway", "amount"}},
	"order_in_fulfillment": {"order.in_fulfillment", ofOrder, nil},
	"order_shipped":        {"order.shipped", ofOrder, nil},
	"order_delivered":      {"order.delivered", ofOrder, nil},
	"order_completed":      {"order.completed", ofOrder, nil},
	"order_cancelled":      {"order.cancelled", ofOrder, nil},

	"labelled":           {"shipment.labelled", ofOrder, []string{"shipment_id", "carrier", "tracking"}},
	"ready_for_pickup":   {"shipment.ready_for_pickup", ofOrder, []string{"shipment_id", "carrier"}},
	"handed_over":        {"shipment.handed_over", ofOrder, []string{"shipment_id", "carrier"}},
	"in_transit":         {"shipment.in_transit", ofOrder, []string{"shipment_id", "carrier"}},
	"out_for_delivery":   {"shipment.out_for_delivery", ofOrder, []string{"shipment_id", "carrier"}},
	"delayed":            {"shipment.delayed", ofOrder, []string{"shipment_id", "carrier", "promised_at"}},
	"delivered":          {"shipment.delivered", ofOrder, []string{"shipment_id", "carrier"}},
	"delivery_failed":    {"shipment.delivery_failed", ofOrder, []string{"shipment_id", "carrier"}},
	"returned_to_sender": {"shipment.returned_to_sender", ofOrder, []string{"shipment_id", "carrier"}},
	"lost":               {"shipment.lost", ofOrder, []string{"shipment_id", "carrier"}},

	"return_requested":       {"return.requested", ofOrder, []string{"return_id", "units"}},
	"return_approved":        {"return.approved", ofOrder, []string{"return_id", "until"}},
	"return_labelled":        {"return.label_issued", ofOrder, []string{"return_id", "carrier", "tracking"}},
	"return_label_cancelled": {"return.label_cancelled", ofOrder, []string{"return_id", "carrier"}},
	"return_arrived":         {"return.arrived", ofOrder, []string{"return_id", "carrier"}},
	"return_rejected":        {"return.rejected", ofOrder, []string{"return_id"}},
	"return_cancelled":       {"return.cancelled", ofOrder, []string{"return_id"}},
	"return_expired":         {"return.expired", ofOrder, []string{"return_id"}},
	"return_sent":            {"return.in_transit", ofOrder, []string{"return_id"}},
	"return_received":        {"return.received", ofOrder, []string{"return_id", "arrived"}},
	"return_inspected":       {"return.inspected", ofOrder, []string{"return_id"}},
	"return_refunded":        {"return.refunded", ofOrder, []string{"return_id", "amount"}},
	"return_closed":          {"return.closed", ofOrder, []string{"return_id"}},

	"refund_succeeded": {"refund.succeeded", ofPayment, []string{"refund_id", "part_id", "amount"}},
	"refund_failed":    {"refund.failed", ofPayment, []string{"refund_id", "part_id", "amount", "code"}},

	"dispute_opened": {"payment.disputed", ofPayment, []string{"payment_id", "gateway", "amount"}},
	"dispute_won":    {"payment.dispute_won", ofPayment, []string{"payment_id", "gateway", "amount"}},
	"dispute_lost":   {"payment.charged_back", ofPayment, []string{"payment_id", "gateway", "amount"}},
}

// Public reports whether entries of that kind are told outside.
func Public(kind string) bool {
	_, ok := catalogue[kind]
	return ok
}

// Types lists the types of public events, each once, in alphabetical order.
func Types() []string {
	types := map[string]bool{}
	for _, p := range catalogue {
		types[p.Type] = true
	}
	return slices.Sorted(maps.Keys(types))
}

// entry is a timeline's row with what its order or checkout is called.
type entry struct {
	Seq      int64
	Subject  string
	Kind     string
	Data     map[string]any
	Checkout bool   // the subject is a checkout
	Order    bool   // the subject is an order
	Number   string // of the order or checkout
	Currency string
}

// tell makes the public data of an entry; ok is false for what is internal: a
// kind that nobody is told of, or one about something else than an order or a
// checkout, such as the end of a reservation.
func (e entry) tell() (typ string, data map[string]any, ok bool) {
	p, known := catalogue[e.Kind]
	data = map[string]any{}
	switch {
	case !known:
		return "", nil, false
	case p.subject == ofCheckout && e.Checkout:
		data["checkout_id"] = e.Subject
	case p.subject == ofOrder && e.Order:
		data["order_id"] = e.Subject
	case p.subject == ofPayment && (e.Order || e.Checkout):
		if e.Checkout {
			data["checkout_id"] = e.Subject
		}
		if e.Order {
			data["order_id"] = e.Subject
		}
	default:
		return "", nil, false
	}
	data["number"] = e.Number
	for _, key := range p.keys {
		if v, there := e.Data[key]; there {
			data[key] = v
		}
	}
	if _, there := data["amount"]; there {
		data["currency"] = e.Currency
	}
	return p.Type, data, true
}
