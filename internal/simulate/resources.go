package simulate

import "time"

// These are the parts of the API's resources that a storefront reads. Amounts
// are in minor units.

type checkout struct {
	ID          string       `json:"id"`
	Status      string       `json:"status"`
	ExpiresAt   *time.Time   `json:"expires_at"`
	OrderID     *string      `json:"order_id"`
	Items       []soldItem   `json:"items"`
	Totals      totals       `json:"totals"`
	Reservation *reservation `json:"reservation"`
	Payment     *attempt     `json:"payment"`
	Payments    []attempt    `json:"payments"`
	Failure     *failure     `json:"failure"`
}

type soldItem struct {
	SKU       string `json:"sku"`
	Quantity  int    `json:"quantity"`
	UnitPrice int64  `json:"unit_price"`
	Total     int64  `json:"total"`
}

type totals struct {
	Items    int64  `json:"items"`
	Discount int64  `json:"discount"`
	Shipping int64  `json:"shipping"`
	Tax      int64  `json:"tax"`
	Total    int64  `json:"total"`
	Currency string `json:"currency"`
}

type reservation struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Lines  []struct {
		SKU       string `json:"sku"`
		Quantity  int    `json:"quantity"`
		Warehouse string `json:"warehouse"`
	} `json:"lines"`
}

type attempt struct {
	ID       string    `json:"id"`
	Gateway  string    `json:"gateway"`
	Status   string    `json:"status"`
	Captured int64     `json:"captured"`
	Refunded int64     `json:"refunded"`
	Applied  bool      `json:"applied"`
	Redirect *struct{} `json:"redirect"`
	Failure  *failure  `json:"failure"`
}

type failure struct {
	Code    string     `json:"code"`
	Message string     `json:"message"`
	Lines   []shortage `json:"lines"`
}

type order struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Totals totals `json:"totals"`
	// Metadata are the run's own words about the buyer, Timeline what happened.
	Metadata struct {
		Kind Kind `json:"kind"`
	} `json:"metadata"`
	Timeline []struct {
		Kind string         `json:"kind"`
		Data map[string]any `json:"data"`
	} `json:"timeline"`
	Lines []struct {
		LineID   string `json:"line_id"`
		SKU      string `json:"sku"`
		Quantity int    `json:"quantity"`
		Total    int64  `json:"total"`
	} `json:"lines"`
	Payments []attempt `json:"payments"`
	// Reasons are why the order asks for a person.
	Reasons []string `json:"attention_reasons"`
	// Shipments are frozen by what keeps them from leaving.
	Shipments []struct {
		ID     string  `json:"id"`
		Status string  `json:"status"`
		Frozen *string `json:"frozen"`
	} `json:"shipments"`
	Refunds []struct {
		ID     string `json:"id"`
		Status string `json:"status"`
		Amount int64  `json:"amount"`
		Reason string `json:"reason"`
		Parts  []struct {
			PaymentID string `json:"payment_id"`
			Amount    int64  `json:"amount"`
			Status    string `json:"status"`
		} `json:"parts"`
	} `json:"refunds"`
}

type stockOf struct {
	Available  int `json:"available"`
	Warehouses []struct {
		Warehouse string `json:"warehouse"`
		OnHand    int    `json:"on_hand"`
		Reserved  int    `json:"reserved"`
	} `json:"warehouses"`
}

// ended reports whether nothing more can happen to a checkout by itself: it has
// its final status, and no money of it is on its way.
func (c checkout) ended() bool { return c.endedBut(nil) }

// endedBut is ended, but for payments whose refund is in doubt.
func (c checkout) endedBut(doubted map[string]int64) bool {
	switch c.Status {
	case "paid", "expired", "cancelled", "payment_failed":
	default:
		return false
	}
	for _, p := range c.Payments {
		switch p.Status {
		case "pending", "processing", "unknown":
			return false
		case "captured", "authorized", "partially_refunded":
			// A stray approval ends when it is given back; what is given back of an
			// order has an end of its own.
			if !p.Applied && doubted[p.ID] == 0 {
				return false
			}
		}
	}
	return true
}
