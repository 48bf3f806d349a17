package codec

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"justlogistics/internal/secretbox"

	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

const maxBody = 1 << 20

// Handler is the endpoint that lets Temporal's web UI show decrypted payloads,
// in the protocol of https://docs.temporal.io/codec-server: it answers POST and
// preflight requests on any path that ends in "/decode", and never encrypts.
//
// Browsers are let in from allowedOrigin only ("http://localhost:8233"); with an
// empty one, from nowhere. This is no authentication: a program can claim any
// origin, so past a developer's machine the endpoint stands behind a login.
//
// 400 for what is not a list of payloads or can not be decrypted (the text says
// which key is missing), 403 for another origin, 413 over 1 MiB, 415.
func Handler(keyring *secretbox.Keyring, allowedOrigin string) http.Handler {
	return &handler{decoder: New(keyring).Decode, origin: strings.TrimSuffix(allowedOrigin, "/")}
}

type handler struct {
	decoder func([]*commonpb.Payload) ([]*commonpb.Payload, error)
	origin  string
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/decode") {
		http.NotFound(w, r)
		return
	}
	w.Header().Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); origin != "" {
		if h.origin == "" || origin != h.origin {
			http.Error(w, "this origin may not decode payloads", http.StatusForbidden)
			return
		}
		w.Header().Set("Access-Control-Allow-Origin", h.origin)
		// The UI can be set to send cookies along.
		w.Header().Set("Access-Control-Allow-Credentials", "true")
	}
	switch r.Method {
	case http.MethodOptions:
		w.Header().Set("Access-Control-Allow-Methods", "POST, OPTIONS")
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Namespace")
		w.Header().Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPost:
		h.decode(w, r)
	default:
		w.Header().Set("Allow", "POST, OPTIONS")
		http.Error(w, "use POST", http.StatusMethodNotAllowed)
	}
}

func (h *handler) decode(w http.ResponseWriter, r *http.Request) {
	// Also keeps out a form or plain text from a page that sends no preflight.
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		http.Error(w, "send Content-Type: application/json", http.StatusUnsupportedMediaType)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		http.Error(w, "more than 1 MiB of payloads", http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(w, "the body ended early", http.StatusBadRequest)
		return
	}
	var payloads commonpb.Payloads
	if err := protojson.Unmarshal(body, &payloads); err != nil {
		http.Error(w, `want {"payloads":[{"metadata":{...},"data":"..."}]}`, http.StatusBadRequest)
		return
	}
	decoded, err := h.decoder(payloads.Payloads)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := protojson.Marshal(&commonpb.Payloads{Payloads: decoded})
	if err != nil {
		http.Error(w, "the decoded payloads can not be written as JSON", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	// A client that went away is the only way this fails.
	_, _ = w.Write(answer)
}
