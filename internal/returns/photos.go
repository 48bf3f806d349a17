package returns

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // the pictures that are taken
	_ "image/png"
	"time"

	"github.com/jackc/pgx/v5"
	_ "golang.org/x/image/webp"

	"justlogistics/internal/problem"
)

const (
	// MostPhotoBytes is how large a picture may be, MostPhotos how many a return may have.
	MostPhotoBytes = 5 << 20
	MostPhotos     = 30
	// mostPixels of a side: what cameras make.
	mostPixels = 12_000
)

// Photo is a picture of goods that come back.
type Photo struct {
	N int `json:"n"`
	// LineID is what it shows, empty for all of it.
	LineID    string    `json:"line_id"`
	Type      string    `json:"type"`
	Bytes     int       `json:"bytes"`
	By        string    `json:"by"`
	CreatedAt time.Time `json:"created_at"`
}

// photoTypes are the names of what the decoders know.
var photoTypes = map[string]string{"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}

// AddPhoto keeps a picture of a return. What type it is its bytes say, whatever its sender
// does. The same picture again is the one that is there.
//
// 409 wrong_status for a return that is over, too_many_photos; 422 not_a_picture for what
// is no JPEG, PNG or WebP, unknown_line.
func AddPhoto(ctx context.Context, tx pgx.Tx, tenantID, returnID, lineID string, data []byte, person string) (Return, error) {
	kind, err := pictured(data)
	if err != nil {
		return Return{}, err
	}
	r, err := lock(ctx, tx, tenantID, returnID)
	if err != nil {
		return r, err
	}
	if err := r.may(0, Requested, Approved, LabelIssued, InTransit, Received, Inspected, Refunded); err != nil {
		return r, err
	}
	if lineID != "" && !r.has(lineID) {
		var f problem.Fields
		f.Add("line_id", "unknown_line", "the return has no such line")
		return r, f.Err()
	}
	digest := sha256.Sum256(data)
	var there bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM return_photos WHERE tenant = $1 AND return_id = $2 AND digest = $3)`, tenantID, r.ID, digest[:]).Scan(&there); err != nil {
		return r, fmt.Errorf("photos of return %s: %w", r.ID, err)
	}
	switch {
	case there:
		return r, nil
	case len(r.Photos) >= MostPhotos:
		return r, r.conflict("too_many_photos", fmt.Sprintf("A return has at most %d pictures.", MostPhotos))
	}
	_, err = tx.Exec(ctx, `INSERT INTO return_photos (tenant, return_id, n, line_id, type, digest, data, person) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)`, tenantID, r.ID, len(r.Photos)+1, lineID, kind, digest[:], data, person)
	if err != nil {
		return r, fmt.Errorf("photo of return %s: %w", r.ID, err)
	}
	return Get(ctx, tx, tenantID, r.ID)
}

// has reports whether units of a line are in the return.
func (r Return) has(lineID string) bool {
	for _, u := range r.Units {
		if u.LineID == lineID {
			return true
		}
	}
	return false
}

// pictured says which type of picture bytes are.
func pictured(data []byte) (string, error) {
	cfg, format, err := image.DecodeConfig(bytes.NewReader(data))
	kind := photoTypes[format]
	if err != nil || kind == "" || cfg.Width < 1 || cfg.Height < 1 || cfg.Width > mostPixels || cfg.Height > mostPixels {
		return "", problem.New(problem.Refused, "not_a_picture", fmt.Sprintf("Send a JPEG, PNG or WebP of at most %d pixels a side.", mostPixels))
	}
	return kind, nil
}

// ReadPhoto is a picture's type and bytes. 404 for one that is not there.
func ReadPhoto(ctx context.Context, tx pgx.Tx, tenantID, returnID string, n int) (kind string, data []byte, err error) {
	err = tx.QueryRow(ctx, `SELECT type, data FROM return_photos WHERE tenant = $1 AND return_id = $2 AND n = $3`, tenantID, returnID, n).Scan(&kind, &data)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil, problem.Missing("photo")
	}
	if err != nil {
		return "", nil, fmt.Errorf("photo %d of return %s: %w", n, returnID, err)
	}
	return kind, data, nil
}
