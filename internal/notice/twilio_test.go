package notice_test

import (
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/notice"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/tenant"
)

func textsOnly(s *tenant.Settings) { s.Notices.Channels = []string{"sms", "whatsapp"} }

// texting gives the shop an account at the stand-in, with whatever else.
func (d *desk) texting(more map[string]string) {
	d.t.Helper()
	credentials := map[string]string{"base_url": d.url + "/twilio", "account_sid": "ACsandboxacme", "auth_token": "sandbox-token-acme", "sms_from": "+56912345678", "whatsapp_from": "+56912345679"}
	for k, v := range more {
		credentials[k] = v
	}
	raw, err := json.Marshal(credentials)
	require.NoError(d.t, err)
	require.NoError(d.t, notice.CheckTwilio(raw))
	d.Do(d.t, func(tx pgx.Tx) error {
		return tenant.SetCredentials(d.t.Context(), tx, d.keys, shoptest.Tenant, notice.Twilio, raw)
	})
}

type sentText struct{ Channel, To, From, Body, Reference string }

func (d *desk) texts() []sentText {
	d.t.Helper()
	return get[struct{ Messages []sentText }](d, "/ledger").Messages
}

func TestRound_SendsTextsByTheTenantsAccount(t *testing.T) {
	t.Parallel()
	d := newDesk(t, textsOnly)
	d.texting(nil)
	d.paid()
	require.Equal(t, 2, d.round())
	require.Equal(t, []string{"order_paid sms sent ", "order_paid whatsapp sent "}, d.told())
	texts := d.texts()
	require.Len(t, texts, 2)
	byChannel := map[string]sentText{}
	for _, x := range texts {
		byChannel[x.Channel] = x
		require.Equal(t, buyersPhone, x.To)
		require.Equal(t, "Tienda acme: recibimos el pago de tu pedido ACME-000001 por $13.990. Te avisaremos cuando salga.", x.Body)
	}
	require.Equal(t, "+56912345678", byChannel["sms"].From)
	require.Equal(t, "+56912345679", byChannel["whatsapp"].From)
	require.Equal(t, byChannel["sms"].Reference, shoptest.Value[string](t, d.Shop, `SELECT message_id FROM notices WHERE channel = 'sms'`))
	d.requireNobodyNamed()
}

func TestRound_ByAMessagingServiceAndNotByAChannelWithoutASender(t *testing.T) {
	t.Parallel()
	d := newDesk(t, textsOnly)
	d.texting(map[string]string{"sms_from": "MG00000000000000000000000000000001", "whatsapp_from": ""})
	d.paid()
	d.round()
	require.Equal(t, []string{"order_paid sms sent ", "order_paid whatsapp failed no_provider"}, d.told())
	require.Equal(t, "MG00000000000000000000000000000001", d.texts()[0].From)
}

func TestRound_ANumberThatIsNoneIsFinal(t *testing.T) {
	t.Parallel()
	for number, code := range map[string]string{"+15005550001": "twilio_21211", "+15005550009": "twilio_21614", "+15005550004": "twilio_21610"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, func(s *tenant.Settings) { s.Notices.Channels = []string{"sms"} })
			d.texting(nil)
			orderID := d.paid()
			d.Exec(t, `UPDATE orders SET customer = jsonb_set(customer, '{phone}', to_jsonb($1::text))`, number)
			d.round()
			require.Equal(t, []string{"order_paid sms failed " + code}, d.told())
			require.Equal(t, []string{code}, shoptest.List[string](t, d.Shop, `SELECT data->>'code' FROM events WHERE subject = $1 AND kind = 'notice_failed'`, orderID))
			require.Empty(t, d.texts())
			require.NotContains(t, d.logs.String(), "500555")
			require.Empty(t, shoptest.List[string](t, d.Shop, `SELECT to_jsonb(n)::text FROM notices n WHERE to_jsonb(n)::text LIKE '%500555%'`))
		})
	}
}

func TestRound_AProviderInTroubleIsTriedAgain(t *testing.T) {
	t.Parallel()
	for fault, code := range map[string]string{"error_500": "twilio_20500", "error_503": "twilio_http_503", "rate_limited": "twilio_20429", "cut_before": "twilio_unreachable", "cut_after": "twilio_unreachable", "cut_during": "twilio_cut"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, func(s *tenant.Settings) { s.Notices.Channels = []string{"sms"} })
			d.texting(nil)
			d.paid()
			d.fault("twilio", `{"next":[{"op":"create_message","kind":"`+fault+`"}]}`)
			d.round()
			require.Equal(t, []string{"order_paid sms queued " + code}, d.told())
			d.round()
			require.Equal(t, []string{"order_paid sms sent "}, d.told())
			d.requireNobodyNamed()
		})
	}
}

func TestRound_AnAccountThatIsRefusedWaitsForOtherCredentials(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(s *tenant.Settings) { s.Notices.Channels = []string{"sms"} })
	d.paid()
	d.round()
	require.Equal(t, []string{"order_paid sms suppressed no_provider"}, d.told())
	d.texting(map[string]string{"auth_token": "sandbox-token-other"})
	d.paid()
	d.paid()
	d.round()
	require.Equal(t, []string{"order_paid sms queued twilio_20003", "order_paid sms queued twilio_20003"}, d.told()[1:])
	require.Equal(t, 1., get[struct{ Calls map[string]float64 }](d, "/faults/twilio").Calls["create_message"], "one answer is enough for a batch")
	d.texting(nil)
	d.round()
	require.Len(t, d.texts(), 2)
}

func TestCheckTwilio_SaysWhatIsWrongAndNoSecret(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"no JSON": `s3cret`, "another field": `{"account_sid":"AC1","auth_token":"s3cret","sms_from":"+56912345678","colour":"s3cret"}`, "no account": `{"auth_token":"s3cret","sms_from":"+56912345678"}`,
		"no token": `{"account_sid":"AC1","sms_from":"+56912345678"}`, "nobody sends": `{"account_sid":"AC1","auth_token":"s3cret"}`, "a national number": `{"account_sid":"AC1","auth_token":"s3cret","sms_from":"912345678"}`,
		"a service for WhatsApp": `{"account_sid":"AC1","auth_token":"s3cret","whatsapp_from":"MG1"}`, "an address that is none": `{"account_sid":"AC1","auth_token":"s3cret","sms_from":"+56912345678","base_url":"ftp://s3cret"}`,
		"a token with a blank": `{"account_sid":"AC1","auth_token":"s3cret x","sms_from":"+56912345678"}`,
	} {
		err := notice.CheckTwilio([]byte(raw))
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "s3cret", name)
	}
}
