package sandbox

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// disputer is a provider whose buyers can have their bank take a payment back.
type disputer interface {
	// dispute opens a dispute over what the merchant has kept of the payment
	// with this key, or ends the one that is open: status is open, won or lost.
	// errNotDisputable when the payment is not in that state.
	dispute(t *tx, key, status string) error
}

var errNotDisputable = errors.New("not disputable")

var disputeSteps = []string{"open", "won", "lost"}

// serveDisputes adds POST /disputes/{payment}/{status}, which plays the buyer's
// bank: the provider then tells the merchant in its own way.
func (s *Server) serveDisputes() {
	s.mux.HandleFunc("POST /disputes/{payment}/{status}", func(w http.ResponseWriter, r *http.Request) {
		id, status := r.PathValue("payment"), r.PathValue("status")
		if !slices.Contains(disputeSteps, status) {
			s.refused(w, fmt.Errorf("a dispute is open, won or lost, not %s: %w", status, errNotFound))
			return
		}
		var gateway string
		var refusal error
		err := s.store.update(func(t *tx) {
			gateway, refusal = "", fmt.Errorf("payment %s: %w", id, errNotFound)
			for _, ref := range t.pagesOf(id, "") {
				d, can := s.providers[ref.Provider].(disputer)
				if !can {
					refusal = fmt.Errorf("%w: the sandbox has no disputes of %s", errNotDisputable, ref.Provider)
					continue
				}
				if refusal = d.dispute(t, ref.Key, status); refusal == nil {
					gateway = ref.Provider
					return
				}
			}
		})
		if err = errors.Join(err, refusal); err != nil {
			s.refused(w, err)
			return
		}
		s.writeJSON(w, http.StatusOK, map[string]string{"payment_id": id, "gateway": gateway, "status": status})
	})
}
