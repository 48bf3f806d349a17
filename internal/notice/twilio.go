package notice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"justlogistics/internal/httpclient"
)

// Twilio is the name under which a tenant's credentials are kept, and the
// provider's in its own words.
const Twilio = "twilio"

const twilioURL = "https://api.twilio.com"

// TwilioConfig are a tenant's credentials for texts.
type TwilioConfig struct {
	// BaseURL is for a stand-in; empty: the provider's.
	BaseURL    string `json:"base_url"`
	AccountSID string `json:"account_sid"`
	AuthToken  string `json:"auth_token"`
	// SMSFrom and WhatsAppFrom are numbers in E.164 form, or for SMS a messaging
	// service (MG...). A channel without one is not sent.
	SMSFrom      string `json:"sms_from"`
	WhatsAppFrom string `json:"whatsapp_from"`
}

var (
	accountForm = regexp.MustCompile(`^AC[0-9a-zA-Z]{1,64}$`)
	serviceForm = regexp.MustCompile(`^MG[0-9a-zA-Z]{1,64}$`)
	phoneForm   = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
)

// twilio sends texts by the Messages resource of the Twilio API, version
// 2010-04-01 (twilio.com/docs/messaging/api/message-resource). The API has no
// idempotency keys: a text whose answer was lost may be sent twice.
type twilio struct {
	config TwilioConfig
	client *http.Client
}

// CheckTwilio tells whether credentials have the form that is needed, without
// calling anybody. Its errors name no secret.
func CheckTwilio(credentials []byte) error {
	_, err := newTwilio(credentials, http.DefaultClient)
	return err
}

func newTwilio(credentials []byte, client *http.Client) (*twilio, error) {
	t := &twilio{client: client}
	fields := json.NewDecoder(bytes.NewReader(credentials))
	fields.DisallowUnknownFields()
	if err := fields.Decode(&t.config); err != nil {
		// The error of encoding/json can quote what it read.
		return nil, errors.New("want a JSON object with account_sid, auth_token and sms_from or whatsapp_from, and no others but base_url")
	}
	c := &t.config
	if c.BaseURL == "" {
		c.BaseURL = twilioURL
	}
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	base, err := url.Parse(c.BaseURL)
	switch {
	case err != nil || base.Scheme != "https" && base.Scheme != "http" || base.Host == "" || base.User != nil:
		return nil, errors.New("base_url is no address")
	case !accountForm.MatchString(c.AccountSID):
		return nil, errors.New("account_sid: AC and the account's characters")
	case c.AuthToken == "" || strings.ContainsAny(c.AuthToken, " \r\n\t"):
		return nil, errors.New("auth_token is missing or has blanks")
	case c.SMSFrom == "" && c.WhatsAppFrom == "":
		return nil, errors.New("sms_from or whatsapp_from: one at least")
	case c.SMSFrom != "" && !phoneForm.MatchString(c.SMSFrom) && !serviceForm.MatchString(c.SMSFrom):
		return nil, errors.New("sms_from: a number such as +56912345678, or a messaging service (MG...)")
	case c.WhatsAppFrom != "" && !phoneForm.MatchString(c.WhatsAppFrom):
		return nil, errors.New("whatsapp_from: a number such as +56912345678")
	}
	return t, nil
}

// form is the call's body; ok is false when the tenant has no sender for the
// channel.
func (t *twilio) form(l letter) (form url.Values, ok bool) {
	form = url.Values{"To": {l.to}, "Body": {l.message.Short}}
	from := t.config.SMSFrom
	if l.channel == WhatsApp {
		from = t.config.WhatsAppFrom
		form.Set("To", "whatsapp:"+l.to)
	}
	switch {
	case from == "":
		return nil, false
	case serviceForm.MatchString(from):
		form.Set("MessagingServiceSid", from)
	case l.channel == WhatsApp:
		form.Set("From", "whatsapp:"+from)
	default:
		form.Set("From", from)
	}
	return form, true
}

// send gives one text away and returns the provider's id of it. Errors are
// *Failure.
func (t *twilio) send(ctx context.Context, l letter) (messageID string, err error) {
	form, ok := t.form(l)
	if !ok {
		return "", &Failure{Code: codeNoProvider, Final: true}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.config.BaseURL+"/2010-04-01/Accounts/"+t.config.AccountSID+"/Messages.json", strings.NewReader(form.Encode()))
	if err != nil {
		return "", &Failure{Code: "twilio_settings", Apart: true}
	}
	request.SetBasicAuth(t.config.AccountSID, t.config.AuthToken)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	answer, err := t.client.Do(request)
	if err != nil {
		return "", &Failure{Code: "twilio_unreachable", Apart: !httpclient.Reached(err)}
	}
	raw, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return "", &Failure{Code: "twilio_cut"}
	}
	// Its status is a word in a message and a number in a refusal: not read.
	var said struct {
		SID  string `json:"sid"`
		Code int    `json:"code"`
	}
	if err := json.Unmarshal(raw, &said); err != nil {
		return "", &Failure{Code: fmt.Sprintf("twilio_http_%d", answer.StatusCode)}
	}
	if answer.StatusCode == http.StatusCreated && said.SID != "" {
		return said.SID, nil
	}
	return "", twilioFailure(answer, said.Code)
}

// final are codes that are about the buyer's number, which no other try mends: it
// is none, takes no texts, or its owner wants none (twilio.com/docs/api/errors).
var final = map[int]bool{21211: true, 21214: true, 21217: true, 21421: true, 21610: true, 21612: true, 21614: true, 63024: true}

func twilioFailure(answer *http.Response, code int) *Failure {
	f := &Failure{Code: fmt.Sprintf("twilio_http_%d", answer.StatusCode), Final: final[code]}
	if code > 0 {
		f.Code = fmt.Sprintf("twilio_%d", code)
	}
	switch answer.StatusCode {
	case http.StatusTooManyRequests:
		f.Apart, f.Wait = true, httpclient.RetryAfter(answer.Header, time.Now())
	case http.StatusUnauthorized, http.StatusForbidden:
		f.Apart = !f.Final
	}
	return f
}
