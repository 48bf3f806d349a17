package api

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"

	"justlogistics/internal/carriers"
	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
	"justlogistics/internal/shipping"
	"justlogistics/internal/stock"
	"justlogistics/internal/telemetry"
	"justlogistics/internal/tenant"
)

//go:embed pages/journey.html
var journeyFiles embed.FS

var journeyPage = template.Must(template.ParseFS(journeyFiles, "pages/journey.html"))

// spoken are the page's words in Spanish and English.
type spoken struct{ es, en string }

func (s spoken) in(lang string) string {
	if lang == "en" {
		return s.en
	}
	return s.es
}

// statusWords are what a buyer reads of a shipment, stateWords of a parcel.
var (
	statusWords = map[string]spoken{
		shipping.Labelled: {"Tu pedido está listo para salir", "Your order is ready to leave"}, shipping.HandedOver: {"Tu pedido va en camino", "Your order is on its way"},
		shipping.OnTheWay: {"Tu pedido va en camino", "Your order is on its way"}, shipping.Delivering: {"Tu pedido llega hoy", "Your order arrives today"},
		shipping.Arrived: {"Tu pedido fue entregado", "Your order was delivered"}, shipping.NotDelivered: {"No pudimos entregar tu pedido: lo intentaremos otra vez", "Your order could not be delivered: there will be another try"},
		shipping.ReturnedToShop: {"Tu pedido vuelve a la tienda", "Your order goes back to the shop"}, shipping.Missing: {"Estamos buscando tu pedido", "We are looking for your order"},
		shipping.Cancelled: {"Este envío fue anulado", "This shipment was cancelled"},
	}
	stateWords = map[shipping.State]spoken{
		shipping.Announced: {"Etiqueta creada", "Label made"}, shipping.InTransit: {"En camino", "On its way"}, shipping.OutForDelivery: {"En reparto", "Out for delivery"},
		shipping.Delivered: {"Entregado", "Delivered"}, shipping.DeliveryFailed: {"No se pudo entregar", "Could not be delivered"}, shipping.AtPoint: {"Te espera en el punto de retiro", "Waits for you at the pick-up point"},
		shipping.Returning: {"Vuelve a la tienda", "Goes back to the shop"}, shipping.Returned: {"Devuelto a la tienda", "Back at the shop"}, shipping.Lost: {"Extraviado", "Lost"},
		shipping.Damaged: {"Dañado en el camino", "Damaged on the way"},
	}
)

var keyShape = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// journey is the public page that tells a buyer where a shipment is, as HTML or, to
// whoever accepts JSON first, as data. It names no person and no address; who does not
// have the key cannot guess it.
func (s *Server) journey(c *gin.Context) {
	ctx := telemetry.With(c.Request.Context(), telemetry.Tenant(c.Param("tenant")))
	var j shipping.Journey
	zone := time.UTC
	var failure error = problem.Missing("shipment")
	if keyShape.MatchString(c.Param("key")) {
		failure = s.db.InTenant(ctx, c.Param("tenant"), func(tx pgx.Tx) (err error) {
			if j, err = shipping.Public(ctx, tx, c.Param("tenant"), c.Param("key")); err != nil {
				return err
			}
			shop, err := tenant.Get(ctx, tx, c.Param("tenant"))
			if err != nil {
				return err
			}
			zone, err = time.LoadLocation(shop.Settings.TimeZone)
			return err
		})
	}
	if errors.Is(failure, postgres.ErrNoTenant) {
		failure = problem.Missing("shipment")
	}
	h := c.Writer.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Robots-Tag", "noindex")
	if failure != nil || strings.HasPrefix(c.GetHeader("Accept"), "application/json") {
		s.encode(c, ok(j), failure).send(c)
		return
	}
	var b bytes.Buffer
	if err := journeyPage.Execute(&b, textOf(j, language(c), zone)); err != nil {
		s.log.ErrorContext(ctx, "the page of a shipment can't be written", slog.Any("error", err))
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
	c.Data(http.StatusOK, typeHTML, b.Bytes())
}

func language(c *gin.Context) string {
	if lang := c.Query("lang"); lang == "en" || lang == "es" {
		return lang
	}
	if strings.HasPrefix(strings.ToLower(c.GetHeader("Accept-Language")), "en") {
		return "en"
	}
	return "es"
}

// journeyText is the page's text.
type journeyText struct {
	Lang, Title, Order string
	Numbers            []string
	Events             []journeyEvent
}

type journeyEvent struct{ What, Place, At string }

func textOf(j shipping.Journey, lang string, zone *time.Location) journeyText {
	t := journeyText{Lang: lang, Title: statusWords[j.Status].in(lang), Order: spoken{"Pedido ", "Order "}.in(lang) + j.Number}
	if t.Title == "" {
		t.Title = spoken{"Estamos preparando tu pedido", "Your order is being prepared"}.in(lang)
	}
	for _, p := range j.Parcels {
		t.Numbers = append(t.Numbers, j.Carrier+" "+p.Tracking)
	}
	for _, e := range j.Events {
		what := stateWords[e.State].in(lang)
		if what == "" {
			what = e.Words // the carrier's, which we don't know
		}
		at := ""
		if e.At != nil {
			at = e.At.In(zone).Format("02-01-2006 15:04")
		}
		t.Events = append(t.Events, journeyEvent{what, e.Place, at})
	}
	return t
}

// words of a message that may be a parcel's number.
var numberShape = regexp.MustCompile(`[A-Za-z0-9-]{6,40}`)

// takeCarrierNews takes what a carrier sends without a signature that we know: it proves
// nothing, and the parcels that it names are asked about soon. Whoever carries for the
// shop itself signs, and is believed.
func (s *Server) takeCarrierNews(c *gin.Context, tenantID string, name shipping.Name) (reply, error) {
	ctx := telemetry.With(c.Request.Context(), telemetry.Tenant(tenantID))
	limitBody(c, maxBody)
	body, err := readRaw(c)
	if err != nil {
		return reply{}, err
	}
	if name == shipping.Manual {
		return s.takeCourierNews(ctx, c, tenantID, body)
	}
	_, err = s.carriers.Carrier(ctx, tenantID, name)
	if errors.Is(err, carriers.ErrNotConfigured) || errors.Is(err, postgres.ErrNoTenant) {
		return reply{}, problem.New(problem.NotFound, "not_found", "No notifications are taken at this address.")
	}
	if err != nil {
		return reply{}, err
	}
	if !s.hints.allow(c.ClientIP(), time.Now()) {
		s.counts.refused.WithLabelValues(string(name), "too_many").Inc()
		return reply{}, problem.New(problem.TooMany, "too_many_requests", "Too many unsigned notifications from this address.").After(10 * time.Second)
	}
	words := numberShape.FindAllString(string(body), -1)
	slices.Sort(words)
	words = slices.Compact(words)
	named := 0
	err = s.db.InTenant(ctx, tenantID, func(tx pgx.Tx) (err error) {
		named, err = shipping.Hint(ctx, tx, tenantID, name, words)
		return err
	})
	if err == nil && named == 0 {
		s.counts.refused.WithLabelValues(string(name), "unreadable").Inc()
	}
	return ok(received{true}), err
}

// courierNews is what a courier tells of one parcel.
type courierNews struct {
	Tracking string `json:"tracking"`
	Status   string `json:"status"`
	Note     string `json:"note"`
}

// takeCourierNews moves a shipment of own delivery by its courier's signed word. The same
// word again, or one that comes too late, changes nothing.
func (s *Server) takeCourierNews(ctx context.Context, c *gin.Context, tenantID string, body []byte) (reply, error) {
	err := s.carriers.VerifyCourier(ctx, tenantID, c.Request.Header, body)
	switch {
	case errors.Is(err, carriers.ErrNotConfigured), errors.Is(err, postgres.ErrNoTenant):
		return reply{}, problem.New(problem.NotFound, "not_found", "No notifications are taken at this address.")
	case errors.Is(err, carriers.ErrForged):
		s.counts.refused.WithLabelValues(string(shipping.Manual), "forged").Inc()
		return reply{}, problem.New(kindUnauthorized, "bad_signature", "The signature is missing, wrong or too old.")
	case err != nil:
		return reply{}, err
	}
	var in courierNews
	if err := json.Unmarshal(body, &in); err != nil {
		return reply{}, problem.New(problem.Malformed, "unreadable", "The notification can't be read.")
	}
	err = s.db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		shop, err := tenant.Get(ctx, tx, tenantID)
		if err != nil {
			return err
		}
		shipmentID, err := shipping.ByCourier(ctx, tx, tenantID, in.Tracking)
		if err != nil || shipmentID == "" {
			return err
		}
		_, err = shipping.Report(ctx, tx, shop, shipmentID, shipping.News{Status: in.Status, Note: in.Note, By: stock.By{Person: "courier"}})
		return err
	})
	if p, is := problem.As(err); is && p.Code == "wrong_status" {
		err = nil
	}
	return ok(received{true}), err
}

// getPassages is what carriers have said about a shipment.
func (s *Server) getPassages(r *request) (reply, error) {
	shipmentID, err := idParam(r, "id", "shipment")
	if err != nil {
		return reply{}, err
	}
	var list []shipping.Passage
	err = s.db.InTenant(r.ctx, r.tenant, func(tx pgx.Tx) error {
		if _, err := shipping.Get(r.ctx, tx, r.tenant, shipmentID); err != nil {
			return err
		}
		list, err = shipping.Passages(r.ctx, tx, r.tenant, shipping.OfShipment(shipmentID))
		return err
	})
	return ok(map[string]any{"data": list}), err
}
