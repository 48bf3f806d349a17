package tenant

import (
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"unicode"
)

// NoticeKinds are the steps of which buyers are told, in the order in which an order may go through them.
var NoticeKinds = []string{"order_paid", "back_ordered", "delayed", "shipped", "out_for_delivery", "ready_for_pickup", "delivered", "delivery_failed", "returned_to_sender", "partially_refunded", "refunded", "order_cancelled",
	"return_requested", "return_approved", "return_label", "return_rejected", "return_reminder", "return_received", "return_expired", "return_closed"}

// NoticeChannels are the ways to a buyer.
var NoticeChannels = []string{"email", "sms", "whatsapp"}

// Notices are a tenant's rules for what its buyers are told at each step of their
// orders.
type Notices struct {
	// FromName stands before the address; empty: the tenant's name.
	FromName string `json:"from_name,omitempty"`
	// From is the sender's address; empty: the installation's (MAIL_FROM). The mail
	// server must accept it.
	From string `json:"from,omitempty"`
	// ReplyTo is where buyers' answers go; empty: to the sender.
	ReplyTo string `json:"reply_to,omitempty"`
	// Language is es or en.
	Language string `json:"language"`
	// Channels of email, sms and whatsapp; none turns all notices off.
	Channels []string `json:"channels"`
	// Off are kinds that this tenant does not send.
	Off []string `json:"off,omitempty"`
}

// Sends reports whether buyers are told of a step by this channel.
func (n Notices) Sends(kind, channel string) bool {
	return slices.Contains(n.Channels, channel) && !slices.Contains(n.Off, kind)
}

func (n Notices) validate() error {
	if n.Language != "es" && n.Language != "en" {
		return fmt.Errorf("notices.language: es or en, not %q", n.Language)
	}
	if len(n.FromName) > 100 || strings.ContainsFunc(n.FromName, unicode.IsControl) {
		return errors.New("notices.from_name: at most 100 bytes without control characters")
	}
	for field, address := range map[string]string{"from": n.From, "reply_to": n.ReplyTo} {
		if parsed, err := mail.ParseAddress(address); address != "" && (err != nil || parsed.Address != address || strings.ContainsFunc(address, unicode.IsControl)) {
			return fmt.Errorf("notices.%s: an address alone, such as pedidos@tienda.example", field)
		}
	}
	if err := each("notices.channels", n.Channels, NoticeChannels); err != nil {
		return err
	}
	return each("notices.off", n.Off, NoticeKinds)
}

// each demands that a list names known things, each once.
func each(field string, list, known []string) error {
	for i, name := range list {
		if !slices.Contains(known, name) || slices.Contains(list[:i], name) {
			return fmt.Errorf("%s: each once of %s, not %q", field, strings.Join(known, ", "), name)
		}
	}
	return nil
}
