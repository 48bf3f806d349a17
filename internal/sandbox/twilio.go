package sandbox

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

const twilioName = "twilio"

// twilio is the Messages resource of Twilio's API, version 2010-04-01. Fields and
// codes: twilio.com/docs/messaging/api/message-resource and
// twilio.com/docs/api/errors; its magic numbers: twilio.com/docs/iam/test-credentials.
// A tenant signs in as ACsandbox{tenant} (letters and digits of its name) with
// sandbox-token-{tenant}. Every text is taken and stays queued: nobody reads it.
type twilio struct{ s *Server }

func newTwilio(s *Server) *twilio { return &twilio{s} }

const (
	bucketTexts     = "twilio_texts"       // sequence -> text
	bucketTextIndex = "twilio_texts_index" // sid -> sequence
)

// text is a message that was taken; it is also the ledger's entry.
type text struct {
	Gateway   string    `json:"gateway"`
	Channel   string    `json:"channel"` // sms or whatsapp
	To        string    `json:"to"`
	From      string    `json:"from"`
	Body      string    `json:"body"`
	Reference string    `json:"reference"` // the provider's sid
	Account   string    `json:"account"`
	CreatedAt time.Time `json:"created_at"`
}

func (p *twilio) name() string      { return twilioName }
func (p *twilio) buckets() []string { return []string{bucketTexts, bucketTextIndex} }

func (p *twilio) start(context.Context, *sync.WaitGroup) error { return nil }

func (p *twilio) configure(*tx, []byte) (any, error) {
	return nil, invalidInput{"twilio has no configuration"}
}

func (p *twilio) configuration(*tx, url.Values) (any, error) { return struct{}{}, nil }

var (
	textsPath = regexp.MustCompile(`^/2010-04-01/Accounts/([A-Za-z0-9]+)/Messages\.json$`)
	textPath  = regexp.MustCompile(`^/2010-04-01/Accounts/([A-Za-z0-9]+)/Messages/(SM[0-9a-f]{32})\.json$`)
	numeric   = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
)

func (p *twilio) route(c *call) endpoint {
	if m := textsPath.FindStringSubmatch(c.path); m != nil && c.method == http.MethodPost {
		return endpoint{op: "create_message", act: func() reply { return p.signedIn(c, m[1], func() reply { return p.create(c, m[1]) }) }}
	}
	if m := textPath.FindStringSubmatch(c.path); m != nil && c.method == http.MethodGet {
		return endpoint{op: "get_message", act: func() reply { return p.signedIn(c, m[1], func() reply { return p.get(m[1], m[2]) }) }}
	}
	return endpoint{act: func() reply {
		return p.refuse(http.StatusNotFound, 20404, "The requested resource "+c.path+" was not found")
	}}
}

func (p *twilio) refuse(status, code int, message string) reply {
	return carrierJSON(status, map[string]any{"code": code, "message": message, "more_info": fmt.Sprintf("https://www.twilio.com/docs/errors/%d", code), "status": status})
}

func (p *twilio) fault(kind faultKind, rule faultRule) reply {
	switch kind {
	case faultError503:
		return reply{status: http.StatusServiceUnavailable, header: http.Header{"Content-Type": {"text/html"}}, body: []byte("<html>503</html>")}
	case faultRateLimited:
		answer := p.refuse(http.StatusTooManyRequests, 20429, "Too Many Requests")
		answer.header.Set("Retry-After", "1")
		return answer
	case faultRefuse:
		return p.refuse(http.StatusBadRequest, 21610, firstOr(rule.Message, "Attempt to send to unsubscribed recipient"))
	}
	return p.refuse(http.StatusInternalServerError, 20500, "Internal Server Error")
}

// signedIn answers only for the account that the credentials are of.
func (p *twilio) signedIn(c *call, account string, answer func() reply) reply {
	scheme, pair, _ := strings.Cut(c.header.Get("Authorization"), " ")
	raw, err := base64.StdEncoding.DecodeString(pair)
	user, token, _ := strings.Cut(string(raw), ":")
	tenant, ours := strings.CutPrefix(token, "sandbox-token-")
	plain := strings.Map(func(r rune) rune {
		if strings.ContainsRune(alphanumeric, r) {
			return r
		}
		return -1
	}, tenant)
	if err != nil || !strings.EqualFold(scheme, "Basic") || !ours || user != account || user != "ACsandbox"+plain {
		return p.refuse(http.StatusUnauthorized, 20003, "Authenticate")
	}
	return answer()
}

func (p *twilio) create(c *call, account string) reply {
	form, err := url.ParseQuery(string(c.body))
	if err != nil || !strings.HasPrefix(c.header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return p.refuse(http.StatusBadRequest, 21604, "A 'To' phone number is required.")
	}
	to, toWhatsApp := strings.CutPrefix(form.Get("To"), "whatsapp:")
	from, fromWhatsApp := strings.CutPrefix(form.Get("From"), "whatsapp:")
	if from == "" {
		from = form.Get("MessagingServiceSid")
	}
	switch {
	case to == "":
		return p.refuse(http.StatusBadRequest, 21604, "A 'To' phone number is required.")
	case from == "":
		return p.refuse(http.StatusBadRequest, 21603, "A 'From' phone number is required.")
	case !numeric.MatchString(to) || to == "+15005550001":
		return p.refuse(http.StatusBadRequest, 21211, "The 'To' number "+to+" is not a valid phone number.")
	case to == "+15005550009":
		return p.refuse(http.StatusBadRequest, 21614, "To number: "+to+", is not a mobile number")
	case to == "+15005550004":
		return p.refuse(http.StatusBadRequest, 21610, "Attempt to send to unsubscribed recipient")
	case from == "+15005550001":
		return p.refuse(http.StatusBadRequest, 21212, "The 'From' number "+from+" is not a valid phone number, shortcode, or alphanumeric sender ID.")
	case toWhatsApp != fromWhatsApp && !strings.HasPrefix(from, "MG"):
		return p.refuse(http.StatusBadRequest, 21910, "Invalid From and To pair. From and To should be of the same channel")
	case form.Get("Body") == "":
		return p.refuse(http.StatusBadRequest, 21602, "Message body is required.")
	case len([]rune(form.Get("Body"))) > 1600:
		return p.refuse(http.StatusBadRequest, 21617, "The concatenated message body exceeds the 1600 character limit")
	}
	m := text{Gateway: twilioName, Channel: "sms", To: to, From: from, Body: form.Get("Body"), Account: account, Reference: "SM" + randomText(32, hexDigits), CreatedAt: p.s.now()}
	if toWhatsApp {
		m.Channel = "whatsapp"
	}
	err = p.s.store.update(func(t *tx) {
		n := t.next(bucketTexts)
		put(t, bucketTexts, ordered(n), m)
		put(t, bucketTextIndex, m.Reference, n)
	})
	if err != nil {
		p.s.log.Error("sandbox state", "error", err)
		return p.refuse(http.StatusInternalServerError, 20500, "Internal Server Error")
	}
	return p.show(http.StatusCreated, m)
}

func (p *twilio) get(account, sid string) reply {
	var m text
	var found bool
	err := p.s.store.view(func(t *tx) {
		if n, known := get[uint64](t, bucketTextIndex, sid); known {
			m, found = get[text](t, bucketTexts, ordered(n))
		}
	})
	if err != nil || !found || m.Account != account {
		return p.refuse(http.StatusNotFound, 20404, "The requested resource was not found")
	}
	return p.show(http.StatusOK, m)
}

func (p *twilio) show(status int, m text) reply {
	prefix := ""
	if m.Channel == "whatsapp" {
		prefix = "whatsapp:"
	}
	at := m.CreatedAt.Format(time.RFC1123Z)
	return carrierJSON(status, map[string]any{
		"account_sid": m.Account, "api_version": "2010-04-01", "body": m.Body, "date_created": at, "date_sent": nil, "date_updated": at, "direction": "outbound-api",
		"error_code": nil, "error_message": nil, "from": prefix + m.From, "messaging_service_sid": nil, "num_media": "0", "num_segments": "1", "price": nil, "price_unit": nil,
		"sid": m.Reference, "status": "queued", "subresource_uris": map[string]string{"media": "/2010-04-01/Accounts/" + m.Account + "/Messages/" + m.Reference + "/Media.json"},
		"to": prefix + m.To, "uri": "/2010-04-01/Accounts/" + m.Account + "/Messages/" + m.Reference + ".json",
	})
}
