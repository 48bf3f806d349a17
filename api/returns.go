package api

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/checkout"
	"justlogistics/internal/gateways"
	"justlogistics/internal/id"
	"justlogistics/internal/inbox"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/telemetry"
	"justlogistics/internal/temporalclient"
	"justlogistics/workflows"
)

const (
	// settleIn is how long a buyer's browser waits for the gateway's word.
	settleIn = 8 * time.Second
	// returnBody bounds the form that a gateway posts through the browser.
	returnBody = 64 << 10
)

//go:embed pages/buyer.html
var pageFiles embed.FS

var buyerPage = template.Must(template.ParseFS(pageFiles, "pages/buyer.html"))

// page is what a buyer sees instead of the shop.
type page struct {
	Title, Text string
	// Refresh is where the page goes by itself after 3 seconds.
	Refresh string
	// Form sends the same parameters again, when they could not be stored.
	Form []formField
	// Shop leads back.
	Shop string
}

type formField struct{ Name, Value string }

func (s *Server) showPage(c *gin.Context, status int, answer string, p page) {
	s.counts.returned(c.Param("gateway"), answer)
	var b bytes.Buffer
	if err := buyerPage.Execute(&b, p); err != nil {
		s.log.ErrorContext(c.Request.Context(), "the buyer's page can't be written", slog.Any("error", err))
	}
	h := c.Writer.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self' https:; frame-ancestors 'none'; base-uri 'none'")
	c.Data(status, typeHTML, b.Bytes())
}

func (s *Server) unknownPayment(c *gin.Context) {
	s.showPage(c, http.StatusNotFound, "unknown", page{Title: "No encontramos este pago", Text: "La dirección no corresponde a ningún pago. Vuelve a la tienda y revisa tu pedido."})
}

// arrival is a buyer's browser at our door.
type arrival struct {
	*gin.Context
	ctx     context.Context
	tenant  string
	params  url.Values
	payment payment.Payment
	gateway payment.Gateway
}

// buyerReturn takes the buyer back from the gateway: the return is stored,
// settled through the workflow, and the buyer is sent on to the shop. Where
// that can't be done now, a page says so and tries again.
func (s *Server) buyerReturn(c *gin.Context) {
	limitBody(c, returnBody)
	if err := c.Request.ParseForm(); err != nil {
		s.showPage(c, http.StatusBadRequest, "unreadable", page{Title: "No pudimos leer la respuesta", Text: "Vuelve a la tienda y revisa tu pedido."})
		return
	}
	a, found, err := s.arrive(c)
	if err != nil {
		s.sendAgain(c, err)
		return
	}
	if !found {
		s.unknownPayment(c)
		return
	}
	ret, err := a.gateway.ParseReturn(a.payment.At(), a.params)
	if err != nil {
		s.log.WarnContext(a.ctx, "a return was refused", slog.String("payment_id", a.payment.ID), slog.Any("error", err))
		s.showPage(c, http.StatusBadRequest, "foreign", page{Title: "Esta respuesta no es de este pago", Text: "No se hizo ningún cobro con ella. Vuelve a la tienda y revisa tu pedido."})
		return
	}
	inboxID, settled, err := s.storeReturn(a, ret)
	if err != nil {
		s.sendAgain(c, err)
		return
	}
	if settled || s.settle(a, inboxID) {
		s.sendOn(c, a.tenant, a.payment.ID, inboxID)
		return
	}
	s.wait(c, a.tenant, a.payment, inboxID)
}

// arrive finds what a return is about. found is false for a payment, gateway or
// tenant that does not exist.
func (s *Server) arrive(c *gin.Context) (a arrival, found bool, err error) {
	a = arrival{Context: c, tenant: c.Param("tenant"), params: c.Request.Form}
	a.ctx = telemetry.With(c.Request.Context(), telemetry.Tenant(a.tenant))
	paymentID := c.Param("payment")
	if !id.Valid(paymentID) {
		return a, false, nil
	}
	err = s.db.InTenant(a.ctx, a.tenant, func(tx pgx.Tx) (err error) {
		a.payment, err = payment.Load(a.ctx, tx, a.tenant, paymentID)
		return err
	})
	if errors.Is(err, payment.ErrNoPayment) || errors.Is(err, postgres.ErrNoTenant) {
		return a, false, nil
	}
	if err != nil {
		return a, false, err
	}
	if string(a.payment.Gateway) != c.Param("gateway") || a.payment.CheckoutID == "" {
		return a, false, nil
	}
	a.ctx = telemetry.With(a.ctx, telemetry.CheckoutID(a.payment.CheckoutID))
	a.gateway, err = s.gateways.Gateway(a.ctx, a.tenant, a.payment.Gateway)
	if errors.Is(err, gateways.ErrNotConfigured) {
		return a, false, nil
	}
	return a, true, err
}

// storeReturn keeps the return. settled is true when nothing can come of it any
// more: the payment is decided.
func (s *Server) storeReturn(a arrival, ret payment.Return) (inboxID string, settled bool, err error) {
	news := inbox.News{Gateway: a.payment.Gateway, Kind: inbox.Return, EventType: string(ret.Kind), PaymentID: a.payment.ID, Reference: ret.Token, Claim: payment.OutcomeUnknown, Detail: ret}
	err = s.db.InTenant(a.ctx, a.tenant, func(tx pgx.Tx) error {
		p, err := payment.Lock(a.ctx, tx, a.tenant, a.payment.ID)
		if err != nil {
			return err
		}
		if settled = decided(p, ret); settled {
			return inbox.StoreIgnored(a.ctx, tx, a.tenant, news, "the payment is "+string(p.Status)+" already")
		}
		stored, err := inbox.Store(a.ctx, tx, a.tenant, news)
		inboxID = stored.ID
		return err
	})
	return inboxID, settled, err
}

// decided reports whether a return can change nothing: the money is booked, or
// the attempt is dead and the buyer does not come from paying.
func decided(p payment.Payment, ret payment.Return) bool {
	switch {
	case p.Status.Approved():
		return p.Applied || p.NotAppliedReason != ""
	case p.Status == payment.StatusDeclined:
		return p.Closed
	case p.Status == payment.StatusCancelled, p.Status == payment.StatusExpired:
		return p.Closed && ret.Kind != payment.ReturnFinished
	}
	return false
}

// settle has the workflow settle a stored return and reports whether it did
// within the buyer's patience.
func (s *Server) settle(a arrival, inboxID string) bool {
	// The commit goes on when the buyer's browser gives up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), settleIn)
	defer cancel()
	request := workflows.SettleRequest{PaymentID: a.payment.ID, InboxID: inboxID}
	var answer workflows.SettleAnswer
	err := s.ask(ctx, workflows.ID(workflows.KindCheckout, a.tenant, a.payment.CheckoutID), inboxID, workflows.UpdateSettle, request, &answer)
	if err != nil && gone(err) {
		// The checkout's run has ended; money that appears now has a run of its own.
		options := start(workflows.KindLatePayment, a.tenant, a.payment.ID, "late payment of checkout "+a.payment.CheckoutID, temporal.NewSearchAttributes(temporalclient.TenantID.ValueSet(a.tenant)))
		options.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
		in := workflows.CheckoutInput{Tenant: a.tenant, CheckoutID: a.payment.CheckoutID, PaymentID: a.payment.ID, ReturnID: inboxID}
		_, err = s.startAndAsk(ctx, options, workflows.LatePaymentName, in, inboxID, workflows.UpdateSettle, []any{request}, &answer)
	}
	if err != nil {
		s.log.WarnContext(ctx, "a return is not settled yet", slog.String("payment_id", a.payment.ID), slog.Any("error", err))
	}
	return err == nil
}

// destination is where the shop wants the buyer, with what became of the order.
func (s *Server) destination(ctx context.Context, tenantID, paymentID string) (string, error) {
	var target, status, checkoutID string
	err := s.db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		p, err := payment.Load(ctx, tx, tenantID, paymentID)
		if err != nil {
			return err
		}
		c, err := checkout.Read(ctx, tx, tenantID, p.CheckoutID)
		if err != nil {
			return err
		}
		target, status, checkoutID = p.ReturnURL, string(c.Status), p.CheckoutID
		if target == "" {
			target = c.ReturnURL
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	u, err := url.Parse(target)
	if err != nil {
		return "", err
	}
	q := u.Query()
	q.Set("checkout_id", checkoutID)
	q.Set("status", status)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// sendOn sends the buyer to the shop.
func (s *Server) sendOn(c *gin.Context, tenantID, paymentID, inboxID string) {
	to, err := s.destination(c.Request.Context(), tenantID, paymentID)
	if err != nil {
		s.log.WarnContext(c.Request.Context(), "a buyer can't be sent on yet", slog.Any("error", err))
		s.showPage(c, http.StatusOK, "waits", waiting(waitPath(c, inboxID), ""))
		return
	}
	s.counts.returned(c.Param("gateway"), "sent_on")
	c.Header("Cache-Control", "no-store")
	c.Header("Referrer-Policy", "no-referrer")
	c.Redirect(http.StatusSeeOther, to)
}

func waiting(refresh, shop string) page {
	return page{Title: "Estamos confirmando tu pago", Refresh: refresh, Shop: shop,
		Text: "Recibimos tu respuesta y la estamos confirmando con el medio de pago. Esta página se actualiza sola; no pagues de nuevo."}
}

// waitPath is this payment's waiting page. It carries no token of the gateway:
// the id of the stored return is as hard to guess.
func waitPath(c *gin.Context, inboxID string) string {
	p := "/payments/" + url.PathEscape(c.Param("tenant")) + "/" + url.PathEscape(c.Param("gateway")) + "/" + url.PathEscape(c.Param("payment")) + "/return/wait"
	if inboxID == "" {
		return p
	}
	return p + "?t=" + url.QueryEscape(inboxID)
}

func (s *Server) wait(c *gin.Context, tenantID string, p payment.Payment, inboxID string) {
	shop, err := s.destination(c.Request.Context(), tenantID, p.ID)
	if err != nil {
		shop = ""
	}
	s.showPage(c, http.StatusOK, "waits", waiting(waitPath(c, inboxID), shop))
}

// sendAgain is the page for a return that could not be stored: it keeps the
// parameters in the buyer's browser, which brings them again.
func (s *Server) sendAgain(c *gin.Context, err error) {
	s.log.WarnContext(c.Request.Context(), "a return could not be stored", slog.Any("error", err))
	p := page{Title: "Un momento, por favor", Text: "No pudimos registrar tu respuesta todavía. No pagues de nuevo: esta página lo intenta otra vez en unos segundos."}
	if c.Request.Method == http.MethodGet {
		p.Refresh = c.Request.URL.RequestURI()
	} else {
		p.Text = "No pudimos registrar tu respuesta todavía. No pagues de nuevo: espera unos segundos y presiona el botón."
		names := make([]string, 0, len(c.Request.PostForm))
		for name := range c.Request.PostForm {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			for _, value := range c.Request.PostForm[name] {
				p.Form = append(p.Form, formField{name, value})
			}
		}
		if p.Form == nil {
			p.Form = []formField{{Name: "reintento", Value: "1"}}
		}
	}
	s.showPage(c, http.StatusOK, "not_stored", p)
}

// buyerWait is the waiting page: it sends the buyer on once the stored return
// is settled.
func (s *Server) buyerWait(c *gin.Context) {
	tenantID, paymentID, inboxID := c.Param("tenant"), c.Param("payment"), c.Query("t")
	if !id.Valid(paymentID) || inboxID != "" && !id.Valid(inboxID) {
		s.unknownPayment(c)
		return
	}
	ctx := c.Request.Context()
	var p payment.Payment
	var exists, settled bool
	err := s.db.InTenant(ctx, tenantID, func(tx pgx.Tx) (err error) {
		if p, err = payment.Load(ctx, tx, tenantID, paymentID); err != nil {
			return err
		}
		if inboxID == "" { // the return was settled, only the way on was not found
			exists, settled = true, decided(p, payment.Return{Kind: payment.ReturnFinished})
			return nil
		}
		exists, settled, err = inbox.Settled(ctx, tx, tenantID, paymentID, inboxID)
		return err
	})
	switch {
	case errors.Is(err, payment.ErrNoPayment), errors.Is(err, postgres.ErrNoTenant), err == nil && (!exists || string(p.Gateway) != c.Param("gateway")):
		s.unknownPayment(c)
	case err != nil:
		s.log.WarnContext(ctx, "the waiting page can't read the payment", slog.Any("error", err))
		s.showPage(c, http.StatusOK, "waits", waiting(waitPath(c, inboxID), ""))
	case settled:
		s.sendOn(c, tenantID, paymentID, inboxID)
	default:
		s.wait(c, tenantID, p, inboxID)
	}
}
