package sandbox

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"net/http"
	"regexp"
	"time"
)

var tenantName = regexp.MustCompile(`^sandbox-([a-z]+)-([A-Za-z0-9_-]{1,64})$`)

// tenantOf reads the tenant out of a credential of kind, sandbox-{kind}-{tenant}; empty
// when it is none.
func tenantOf(kind, text string) string {
	m := tenantName.FindStringSubmatch(text)
	if m == nil || m[1] != kind {
		return ""
	}
	return m[2]
}

// local is a moment as the carriers write it: in Chile's time, without a zone.
func (d *parcelDesk) local(at time.Time) time.Time {
	zone, err := time.LoadLocation("America/Santiago")
	if err != nil {
		d.s.log.Error("no zone of Chile", "error", err)
		return at
	}
	return at.In(zone)
}

func carrierJSON(status int, v any) reply {
	raw, err := json.Marshal(v)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{}`)
	}
	return reply{status: status, header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, body: raw}
}

// readCarrier decodes strictly: a misspelled field of an adapter must not pass
// unnoticed.
func readCarrier(body []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

// act runs a handler in one transaction and answers what is on disk.
func (d *parcelDesk) act(reads bool, otherwise func() reply, handle func(t *tx) reply) reply {
	var answer reply
	do := func(t *tx) { answer = handle(t) }
	run := d.s.store.update
	if reads {
		run = d.s.store.view
	}
	if err := run(do); err != nil {
		d.s.log.Error("sandbox state", "carrier", d.carrier, "error", err)
		return otherwise()
	}
	return answer
}

// carrierLabel draws a parcel's label: small, and of the right kind.
func carrierLabel(x parcel, format string) []byte {
	switch format {
	case "jpeg":
		return jpegLabel(x.Tracking)
	case "zpl":
		return []byte("^XA\r\n^FO40,40^BY3^BCN,120,Y,N,N^FD" + x.Tracking + "^FS\r\n^FO40,220^A0N,40,40^FD" + capitals(x.To) + "^FS\r\n^XZ\r\n")
	case "epl":
		return []byte("\nN\nq800\nQ600,24\nB40,40,0,1,3,6,120,B,\"" + x.Tracking + "\"\nA40,220,0,4,1,1,N,\"" + capitals(x.To) + "\"\nP1\n")
	}
	return pdfLabel(x.Tracking + "  " + capitals(x.To))
}

func jpegLabel(tracking string) []byte {
	picture := image.NewGray(image.Rect(0, 0, 8*len(tracking)+8, 48))
	for i := range picture.Pix {
		picture.Pix[i] = 255
	}
	for i, r := range tracking {
		for bit := range 6 {
			if (int(r)>>bit)&1 == 1 {
				for y := 8; y < 40; y++ {
					picture.SetGray(4+8*i+bit, y, color.Gray{})
				}
			}
		}
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, picture, nil); err != nil {
		return nil // a buffer takes everything
	}
	return out.Bytes()
}

func pdfLabel(text string) []byte {
	content := "BT /F1 18 Tf 20 100 Td (" + text + ") Tj ET"
	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 283 425] /Contents 4 0 R /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
		fmt.Sprintf("<< /Length %d >>\nstream\n%s\nendstream", len(content), content),
	}
	var out bytes.Buffer
	out.WriteString("%PDF-1.4\n")
	var at []int
	for i, object := range objects {
		at = append(at, out.Len())
		fmt.Fprintf(&out, "%d 0 obj\n%s\nendobj\n", i+1, object)
	}
	start := out.Len()
	fmt.Fprintf(&out, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, offset := range at {
		fmt.Fprintf(&out, "%010d 00000 n \n", offset)
	}
	fmt.Fprintf(&out, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, start)
	return out.Bytes()
}

func base64Label(x parcel, format string) string {
	return base64.StdEncoding.EncodeToString(carrierLabel(x, format))
}
