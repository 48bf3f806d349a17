// Package lifecycle holds the one table of status moves: what may follow what,
// for everything that has a status. The database refuses any other move (its
// copy of the table is written by `justlogistics migrate up`), the diagrams in
// docs/state-machines.md are drawn from it.
package lifecycle

import (
	"slices"
	"strings"
)

//go:generate go run ./diagrams ../../docs/state-machines.md

// Machine names a kind of thing with a status.
type Machine string

// The machines.
const (
	Checkout    Machine = "checkout"
	Payment     Machine = "payment"
	Order       Machine = "order"
	Refund      Machine = "refund"
	Reservation Machine = "reservation"
	Transfer    Machine = "transfer"
	Shipment    Machine = "shipment"
	Return      Machine = "return"
)

// Move is one allowed change of status.
type Move struct {
	Machine  Machine
	From, To string
}

type row struct {
	machine Machine
	from    string
	to      string // space separated
}

var rows = []row{
	{Checkout, "reserving", "awaiting_payment paid expired cancelled payment_failed"},
	{Checkout, "awaiting_payment", "paid expired cancelled payment_failed"},
	// A late approval that finds stock.
	{Checkout, "expired", "paid"},
	{Checkout, "payment_failed", "paid"},

	// An approval is forward from every unpaid state.
	{Payment, "pending", "processing authorized captured declined cancelled expired unknown"},
	{Payment, "processing", "pending authorized captured declined cancelled expired unknown"},
	{Payment, "unknown", "pending processing authorized captured declined cancelled expired"},
	{Payment, "declined", "processing authorized captured unknown"},
	{Payment, "cancelled", "processing authorized captured unknown"},
	{Payment, "expired", "processing authorized captured unknown"},
	{Payment, "authorized", "captured cancelled expired disputed"},
	{Payment, "captured", "partially_refunded refunded disputed"},
	// A refund that fails days later counts as not made.
	{Payment, "partially_refunded", "captured refunded disputed"},
	{Payment, "refunded", "captured partially_refunded disputed"},
	// To authorized: only where nothing was captured.
	{Payment, "disputed", "authorized captured partially_refunded refunded charged_back"},

	{Order, "paid", "in_fulfillment cancelled"},
	{Order, "in_fulfillment", "shipped cancelled"},
	{Order, "shipped", "delivered"},
	{Order, "delivered", "completed"},

	{Refund, "pending", "unknown succeeded failed needs_attention"},
	{Refund, "unknown", "pending succeeded failed needs_attention"},
	{Refund, "needs_attention", "pending unknown succeeded failed"},
	{Refund, "failed", "pending"},
	{Refund, "succeeded", "failed"},

	{Reservation, "held", "confirmed released expired short"},
	{Reservation, "short", "held confirmed released expired"},
	{Reservation, "confirmed", "short released"},

	// To cancelled on the way: all of it was recalled.
	{Transfer, "requested", "in_transit cancelled"},
	{Transfer, "in_transit", "partially_received received received_short cancelled"},
	{Transfer, "partially_received", "received received_short"},

	// Back to pending: its pick list was cancelled, or not everything was found.
	{Shipment, "pending", "picking cancelled"},
	{Shipment, "picking", "pending packed cancelled"},
	// Back to picking: unpacked.
	{Shipment, "packed", "picking labelled cancelled"},
	{Shipment, "labelled", "packed handed_over cancelled"},
	{Shipment, "cancelled", "pending"},
	{Shipment, "handed_over", "in_transit out_for_delivery delivered delivery_failed returned_to_sender lost"},
	{Shipment, "in_transit", "out_for_delivery delivered delivery_failed returned_to_sender lost"},
	{Shipment, "out_for_delivery", "in_transit delivered delivery_failed returned_to_sender lost"},
	{Shipment, "delivery_failed", "in_transit out_for_delivery delivered returned_to_sender lost"},
	// What was lost may be found.
	{Shipment, "lost", "in_transit out_for_delivery delivered returned_to_sender"},

	{Return, "requested", "approved rejected cancelled"},
	{Return, "approved", "label_issued in_transit received expired cancelled"},
	{Return, "label_issued", "approved in_transit received expired cancelled"},
	{Return, "in_transit", "received cancelled"},
	// A parcel that comes after all.
	{Return, "expired", "received"},
	{Return, "received", "inspected"},
	// To closed: no money goes, or it had gone before.
	{Return, "inspected", "refunded closed"},
	{Return, "refunded", "closed"},
}

// initial and final statuses, for the diagrams.
var initial = map[Machine][]string{
	Checkout: {"reserving"}, Payment: {"pending"}, Order: {"paid", "completed"}, Refund: {"pending"}, Reservation: {"held"}, Transfer: {"requested"}, Shipment: {"pending"}, Return: {"requested"},
}

// Moves returns every allowed move.
func Moves() []Move {
	var out []Move
	for _, r := range rows {
		for to := range strings.FieldsSeq(r.to) {
			out = append(out, Move{r.machine, r.from, to})
		}
	}
	return out
}

// Allowed reports whether m may go from one status to another; staying is
// always allowed.
func Allowed(m Machine, from, to string) bool {
	return from == to || slices.Contains(Moves(), Move{m, from, to})
}

// Diagram draws a machine as a Mermaid state diagram.
func Diagram(m Machine) string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n")
	for _, s := range initial[m] {
		b.WriteString("  [*] --> " + s + "\n")
	}
	for _, mv := range Moves() {
		if mv.Machine == m {
			b.WriteString("  " + mv.From + " --> " + mv.To + "\n")
		}
	}
	return b.String()
}

// Machines lists the machines in the order they are documented.
func Machines() []Machine {
	return []Machine{Checkout, Payment, Order, Refund, Reservation, Transfer, Shipment, Return}
}
