package tenant_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/tenant"
)

func TestNotices_AreValidated(t *testing.T) {
	t.Parallel()
	for says, change := range map[string]func(n *tenant.Notices){
		"notices.language":                 func(n *tenant.Notices) { n.Language = "fr" },
		"notices.from_name":                func(n *tenant.Notices) { n.FromName = "Tienda\r\nBcc: eve@evil.example" },
		"notices.from:":                    func(n *tenant.Notices) { n.From = "Tienda <a@x.example>" },
		"notices.reply_to:":                func(n *tenant.Notices) { n.ReplyTo = "a@x.example\r\nBcc: eve@evil.example" },
		"notices.channels: each once of":   func(n *tenant.Notices) { n.Channels = []string{"email", "email"} },
		"notices.channels: each once of e": func(n *tenant.Notices) { n.Channels = []string{"pigeon"} },
		"notices.off":                      func(n *tenant.Notices) { n.Off = []string{"gossip"} },
	} {
		s := tenant.Defaults("acme")
		change(&s.Notices)
		require.ErrorContains(t, s.Validate(), says)
	}
	s := tenant.Defaults("acme")
	s.Notices = tenant.Notices{FromName: "Tienda Ñandú", From: "a@x.example", ReplyTo: "b@x.example", Language: "en", Channels: []string{"sms", "whatsapp"}, Off: []string{"delivered"}}
	require.NoError(t, s.Validate())
	require.True(t, s.Notices.Sends("shipped", "sms"))
	require.False(t, s.Notices.Sends("delivered", "sms"))
	require.False(t, s.Notices.Sends("shipped", "email"))
}
