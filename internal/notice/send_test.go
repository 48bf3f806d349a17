package notice_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/checkout"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/notice"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/problem"
	"justlogistics/internal/sandbox"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/tenant"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const (
	buyersMail  = "ana.rojas@example.cl"
	buyersPhone = "+56961234567"
)

// desk is a shop with a sender, and the sandbox that takes what it sends.
type desk struct {
	*shoptest.Shop
	t      *testing.T
	played *sandbox.Server
	url    string
	sender *notice.Sender
	keys   *secretbox.Keyring
	logs   *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newDesk(t *testing.T, change ...func(*tenant.Settings)) *desk {
	t.Helper()
	d := &desk{Shop: shoptest.New(t, change...), t: t, logs: &lockedBuffer{}}
	var err error
	d.played, err = sandbox.Open(sandbox.Options{NoSync: true})
	require.NoError(t, err)
	server := httptest.NewServer(d.played.Handler())
	d.url = server.URL
	t.Cleanup(func() {
		server.Close()
		require.NoError(t, d.played.Close())
	})
	d.keys, err = secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
	require.NoError(t, err)
	d.sender = d.another(d.listen("127.0.0.1:0"))
	d.Product(t, "A", 10_000, 100)
	return d
}

// listen opens the catcher's door and returns its address.
func (d *desk) listen(at string) string {
	d.t.Helper()
	l, err := net.Listen("tcp", at)
	require.NoError(d.t, err)
	d.played.ServeMail(l)
	return l.Addr().String()
}

// another is one more sender, which speaks with a mail server at an address.
func (d *desk) another(at string) *notice.Sender {
	d.t.Helper()
	server, err := notice.ParseMailServer("smtp://"+at+"?tls=none", "Tienda <pedidos@tienda.example>")
	require.NoError(d.t, err)
	return &notice.Sender{DB: d.DB, Mail: server, Keys: d.keys, Client: httpclient.New(httpclient.Options{}), Logger: slog.New(slog.NewJSONHandler(d.logs, nil))}
}

// paid makes a paid order, of which the buyer is told.
func (d *desk) paid() (orderID string) {
	d.t.Helper()
	sub := shoptest.Submission("A", 1)
	sub.Customer.Email, sub.Customer.Phone = buyersMail, buyersPhone
	checkoutID, paymentID := d.Offer(d.t, sub)
	total := shoptest.Value[int64](d.t, d.Shop, `SELECT total FROM checkouts WHERE id = $1`, checkoutID)
	r, err := checkout.Record(d.t.Context(), d.DB, shoptest.Tenant, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, total), AskedAt: d.Now(d.t)})
	require.NoError(d.t, err)
	require.True(d.t, r.Paid)
	return checkoutID
}

func (d *desk) queue(orderID string, kind notice.Kind, dedupe string, data notice.Data) {
	d.t.Helper()
	d.Do(d.t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(d.t.Context(), tx, shoptest.Tenant)
		if err != nil {
			return err
		}
		return notice.Queue(d.t.Context(), tx, shop, orderID, kind, dedupe, data)
	})
}

// round lets the sender work on what is due, and brings what waits to its turn.
func (d *desk) round() int {
	d.t.Helper()
	d.Exec(d.t, `UPDATE notices SET next_at = now() - interval '1 second' WHERE status = 'queued'`)
	n, err := d.sender.Round(d.t.Context())
	require.NoError(d.t, err)
	return n
}

type caught struct {
	EnvelopeTo []string `json:"envelope_to"`
	From       string   `json:"from"`
	To         string   `json:"to"`
	ReplyTo    string   `json:"reply_to"`
	Subject    string   `json:"subject"`
	MessageID  string   `json:"message_id"`
	Text       string   `json:"text"`
	HTML       string   `json:"html"`
}

func get[T any](d *desk, path string) (out T) {
	d.t.Helper()
	a, err := http.Get(d.url + path)
	require.NoError(d.t, err)
	raw, err := io.ReadAll(a.Body)
	require.NoError(d.t, err)
	require.NoError(d.t, a.Body.Close())
	require.NoError(d.t, json.Unmarshal(raw, &out), "%s", raw)
	return out
}

// mails are those that were caught, the newest first.
func (d *desk) mails() []caught {
	d.t.Helper()
	return get[struct{ Mails []caught }](d, "/mail.json?to="+buyersMail).Mails
}

func (d *desk) fault(provider, faults string) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodPut, d.url+"/faults/"+provider, strings.NewReader(faults))
	require.NoError(d.t, err)
	a, err := http.DefaultClient.Do(r)
	require.NoError(d.t, err)
	require.NoError(d.t, a.Body.Close())
	require.Equal(d.t, 200, a.StatusCode)
}

// told is what the rows say: kind, channel, status and error.
func (d *desk) told() []string {
	d.t.Helper()
	return shoptest.List[string](d.t, d.Shop, `SELECT kind || ' ' || channel || ' ' || status || ' ' || error FROM notices ORDER BY id`)
}

// requireNobodyNamed searches for the buyer where nothing of a buyer may be.
func (d *desk) requireNobodyNamed() {
	d.t.Helper()
	kept := strings.Join(shoptest.List[string](d.t, d.Shop, `SELECT to_jsonb(n)::text FROM notices n UNION ALL SELECT to_jsonb(e)::text FROM events e`), "\n") + d.logs.String()
	for _, personal := range []string{buyersMail, "ana.rojas", buyersPhone, "961234567", "Rojas", "Providencia"} {
		require.NotContains(d.t, kept, personal)
	}
}

func TestRound_SendsWhatWasQueued(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(s *tenant.Settings) {
		s.Notices.FromName, s.Notices.ReplyTo = "Tienda Ñandú", "ayuda@tienda.example"
	})
	orderID := d.paid()
	require.Equal(t, []string{"order_paid email queued "}, d.told())
	require.Equal(t, 1, d.round())
	require.Equal(t, []string{"order_paid email sent "}, d.told())
	mails := d.mails()
	require.Len(t, mails, 1)
	m := mails[0]
	require.Equal(t, []string{buyersMail}, m.EnvelopeTo)
	require.Equal(t, "Tienda Ñandú <pedidos@tienda.example>", strings.ReplaceAll(m.From, `"`, ""))
	require.Contains(t, m.ReplyTo, "ayuda@tienda.example")
	require.Contains(t, m.Subject, "Recibimos tu pago: pedido ACME-000001")
	require.Contains(t, m.Text, "Hola Ana:")
	require.Contains(t, m.Text, "1 × Producto A  $10.000")
	require.Contains(t, m.HTML, "$13.990")
	id := shoptest.Value[string](t, d.Shop, `SELECT id FROM notices`)
	require.Equal(t, "notice."+strings.ToLower(id)+"@tienda.example", m.MessageID)
	require.Equal(t, m.MessageID, shoptest.Value[string](t, d.Shop, `SELECT message_id FROM notices WHERE subject = $1`, orderID))
	require.Zero(t, d.round(), "once")
	d.requireNobodyNamed()
}

func TestRound_WritesInTheTenantsLanguage(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(s *tenant.Settings) { s.Notices.Language, s.Notices.From = "en", "shop@acme.example" })
	orderID := d.paid()
	by := time.Date(2026, 12, 7, 15, 0, 0, 0, time.UTC)
	d.queue(orderID, notice.Shipped, "s1", notice.Data{Carrier: "Starken", Tracking: []string{"9600"}, Link: "https://starken.example/9600", Units: []notice.Units{{SKU: "A", Quantity: 1}}, By: &by})
	require.Equal(t, 2, d.round())
	m := d.mails()[0]
	require.Contains(t, m.From, "shop@acme.example")
	require.Contains(t, m.Text, "Starken has taken over your order ACME-000001. It should arrive on Monday 7 December.")
	require.Contains(t, m.Text, "1 × Producto A\n")
	require.Contains(t, m.Text, "Follow your parcel: https://starken.example/9600")
}

func TestQueue_TellsAStepOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	orderID := d.paid()
	for range 3 {
		d.queue(orderID, notice.Delivered, "s1", notice.Data{})
	}
	d.queue(orderID, notice.Delivered, "s2", notice.Data{})
	require.Equal(t, []string{"order_paid email queued ", "delivered email queued ", "delivered email queued "}, d.told())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_ = d.DB.InTenant(context.Background(), shoptest.Tenant, func(tx pgx.Tx) error {
				shop, err := tenant.Get(context.Background(), tx, shoptest.Tenant)
				if err != nil {
					return err
				}
				return notice.Queue(context.Background(), tx, shop, orderID, notice.Refunded, "r1", notice.Data{Amount: 1, Currency: "CLP"})
			})
		})
	}
	wg.Wait()
	require.Len(t, d.told(), 4)
	err := d.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		return notice.Queue(t.Context(), tx, tenant.Tenant{ID: shoptest.Tenant, Settings: tenant.Defaults("acme")}, orderID, "gossip", "x", notice.Data{})
	})
	require.ErrorContains(t, err, "gossip")
}

func TestQueue_RespectsWhatTheTenantAndTheBuyerGave(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(s *tenant.Settings) {
		s.Notices.Channels, s.Notices.Off = []string{"email", "sms", "whatsapp"}, []string{"delivered"}
	})
	orderID := d.paid()
	require.Equal(t, []string{"order_paid email queued ", "order_paid sms queued ", "order_paid whatsapp queued "}, d.told())
	d.queue(orderID, notice.Delivered, "s1", notice.Data{})
	require.Len(t, d.told(), 3, "switched off")
	d.Exec(t, `UPDATE orders SET customer = customer - 'phone'`)
	d.queue(orderID, notice.Shipped, "s1", notice.Data{})
	require.Equal(t, "shipped email queued ", d.told()[3])
	require.Len(t, d.told(), 4, "nobody to text")
	d.Change(t, func(s *tenant.Settings) { s.Notices.Channels = []string{} })
	d.queue(orderID, notice.Shipped, "s2", notice.Data{})
	require.Len(t, d.told(), 4)
}

func TestRound_AMailServerThatIsAwayLosesNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := l.Addr().String()
	require.NoError(t, l.Close())
	d.sender = d.another(at)
	for range 3 {
		d.paid()
	}
	for range 3 {
		require.Equal(t, 3, d.round())
		require.Equal(t, []string{"order_paid email queued smtp_unreachable", "order_paid email queued smtp_unreachable", "order_paid email queued smtp_unreachable"}, d.told())
	}
	require.True(t, shoptest.Value[bool](t, d.Shop, `SELECT bool_and(next_at BETWEEN now() + interval '100 seconds' AND now() + interval '133 seconds') FROM notices`), "30 s, 60 s, 120 s")
	d.listen(at)
	require.Equal(t, 3, d.round())
	require.Len(t, d.mails(), 3)
	d.requireNobodyNamed()
}

func TestRound_GreylistedIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.paid()
	d.fault("mail", `{"next":[{"op":"rcpt","kind":"rate_limited"},{"op":"data","kind":"error_503"}]}`)
	d.round()
	require.Equal(t, []string{"order_paid email queued smtp_450_4.7.1"}, d.told())
	d.round()
	require.Equal(t, []string{"order_paid email queued smtp_451_4.3.0"}, d.told())
	d.round()
	require.Equal(t, []string{"order_paid email sent "}, d.told())
	require.Len(t, d.mails(), 1)
	d.requireNobodyNamed()
}

func TestRound_ANoOfTheServerIsFinalAndStandsInTheTimeline(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	first, second := d.paid(), d.paid()
	d.fault("mail", `{"next":[{"op":"rcpt","kind":"refuse"}]}`)
	require.Equal(t, 2, d.round(), "the one that is refused does not keep the other")
	require.Equal(t, []string{"order_paid email failed smtp_550_5.1.1", "order_paid email sent "}, d.told())
	require.Equal(t, []string{"notice_failed smtp_550_5.1.1"}, shoptest.List[string](t, d.Shop, `SELECT kind || ' ' || (data->>'code') FROM events WHERE subject = $1 AND kind LIKE 'notice%'`, first))
	require.Empty(t, shoptest.List[string](t, d.Shop, `SELECT kind FROM events WHERE subject = $1 AND kind LIKE 'notice%'`, second))
	require.Empty(t, shoptest.List[string](t, d.Shop, `SELECT id FROM orders WHERE attention IS NOT NULL`), "nobody is called for a mail")
	require.Zero(t, d.round())
	d.requireNobodyNamed()

	noticeID := shoptest.Value[string](t, d.Shop, `SELECT id FROM notices WHERE status = 'failed'`)
	d.Do(t, func(tx pgx.Tx) error {
		n, err := notice.Resend(t.Context(), tx, shoptest.Tenant, noticeID, "key:k")
		require.NoError(t, err)
		require.Equal(t, "queued", n.Status)
		_, err = notice.Resend(t.Context(), tx, shoptest.Tenant, noticeID, "key:k")
		p, is := problem.As(err)
		require.True(t, is)
		require.Equal(t, "notice_not_failed", p.Code)
		return nil
	})
	d.round()
	require.Equal(t, []string{"order_paid email sent ", "order_paid email sent "}, d.told())
}

func TestRound_WhoDiesBetweenSendingAndWritingHasItSentAgainUnderTheSameName(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.paid()
	list, err := d.sender.Claim(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NoError(t, d.sender.Die(t.Context(), list[0]))
	require.Zero(t, d.round(), "the lease stands")
	require.Equal(t, []string{"order_paid email sending "}, d.told())
	d.Exec(t, `UPDATE notices SET next_at = next_at - $1::interval`, notice.LeaseFor)
	require.Equal(t, 1, d.round())
	require.Equal(t, []string{"order_paid email sent "}, d.told())
	mails := d.mails()
	require.Len(t, mails, 2)
	require.Equal(t, mails[0].MessageID, mails[1].MessageID)
}

func TestRound_AnAnswerThatIsLostHasItSentAgainUnderTheSameName(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.paid()
	d.fault("mail", `{"next":[{"op":"data","kind":"cut_after"},{"op":"rcpt","kind":"cut_before"}]}`)
	d.round()
	d.round()
	require.Equal(t, []string{"order_paid email queued smtp_broken"}, d.told())
	d.round()
	mails := d.mails()
	require.Len(t, mails, 2)
	require.Equal(t, mails[0].MessageID, mails[1].MessageID)
	d.requireNobodyNamed()
}

func TestRound_SendersAtOnceSendEachOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	orderID := d.paid()
	const n = 120
	for i := range n - 1 {
		d.queue(orderID, notice.Delivered, fmt.Sprint(i), notice.Data{})
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				sent, err := d.sender.Round(t.Context())
				if err != nil || sent == 0 {
					return
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, n, shoptest.Value[int](t, d.Shop, `SELECT count(*) FROM notices WHERE status = 'sent' AND attempts = 1`))
	seen := map[string]int{}
	for _, m := range get[struct{ Mails []caught }](d, "/mail.json?limit=1000").Mails {
		seen[m.MessageID]++
	}
	require.Len(t, seen, n)
	for id, times := range seen {
		require.Equal(t, 1, times, id)
	}
}

// stopping is a listener whose first connection tells somebody to stop.
type stopping struct {
	net.Listener
	stop func()
}

func (s stopping) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	s.stop()
	return c, err
}

func TestRound_OneThatIsStoppedBringsItsMailToAnEndAndGivesTheOthersBack(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for range 3 {
		d.paid()
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d.played.ServeMail(stopping{l, cancel})
	n, err := d.another(l.Addr().String()).Round(ctx)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Equal(t, []string{"queued 0", "queued 0", "sent 1"}, shoptest.List[string](t, d.Shop, `SELECT status || ' ' || attempts FROM notices ORDER BY 1`))
	d.round()
	require.Len(t, d.mails(), 3)
}

func TestRound_OldNewsIsNotSent(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.paid()
	d.Exec(t, `UPDATE notices SET queued_at = now() - interval '73 hours'`)
	d.round()
	require.Equal(t, []string{"order_paid email suppressed too_late"}, d.told())

	d.paid()
	d.fault("mail", `{"outage":0,"next":[{"op":"rcpt","kind":"rate_limited","count":2}]}`)
	d.round()
	d.Exec(t, `UPDATE notices SET queued_at = now() - interval '73 hours' WHERE status = 'queued'`)
	d.round()
	require.Equal(t, "order_paid email failed gave_up smtp_450_4.7.1", d.told()[1])
	require.Empty(t, d.mails())
}

func TestRound_SuppressesWhatNobodyWantsToHear(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	orderID := d.paid()
	shipment := shoptest.Value[string](t, d.Shop, `SELECT id FROM shipments`)
	d.queue(orderID, notice.OutForDelivery, shipment, notice.Data{ShipmentID: shipment})
	d.queue(orderID, notice.Delayed, "gone", notice.Data{})
	d.Exec(t, `ALTER TABLE shipments DISABLE TRIGGER USER; UPDATE shipments SET status = 'cancelled', due_at = NULL`)
	d.Change(t, func(s *tenant.Settings) { s.Notices.Off = []string{"delayed"} })
	d.round()
	require.Equal(t, []string{"order_paid email sent ", "out_for_delivery email suppressed moot", "delayed email suppressed switched_off"}, d.told())

	d.queue(orderID, notice.Delivered, "s", notice.Data{})
	d.Exec(t, `UPDATE orders SET email = ''`)
	d.round()
	require.Equal(t, "delivered email suppressed no_address", d.told()[3])
}

func TestRound_WithoutAMailServerMailIsSuppressedAndCanBeSentLater(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.paid()
	without := *d.sender
	without.Mail = nil
	_, err := without.Round(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"order_paid email suppressed no_mail_server"}, d.told())
	d.Do(t, func(tx pgx.Tx) error {
		_, err := notice.Resend(t.Context(), tx, shoptest.Tenant, shoptest.Value[string](t, d.Shop, `SELECT id FROM notices`), "key:k")
		return err
	})
	d.round()
	require.Len(t, d.mails(), 1)
}

func TestParseMailServer_TellsWhatIsWrongWithoutThePassword(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"smtp://mail.example", "smtp://u:s3cret@mail.example:2525?tls=none", "smtps://u:s3cret@mail.example", "smtp://[::1]:25/"} {
		_, err := notice.ParseMailServer(good, "a@shop.example")
		require.NoError(t, err, good)
	}
	for _, bad := range []string{"", "mail.example:25", "http://u:s3cret@mail.example", "smtp://u:s3cret@mail.example?tls=some", "smtp://u:s3cret@mail.example:0", "smtp://u:s3cret@mail.example/x", "smtp://u:s3cret@%zz"} {
		_, err := notice.ParseMailServer(bad, "a@shop.example")
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "s3cret")
	}
	for _, from := range []string{"", "shop", "a@x.example, b@x.example"} {
		_, err := notice.ParseMailServer("smtp://mail.example", from)
		require.ErrorContains(t, err, "MAIL_FROM")
	}
}
