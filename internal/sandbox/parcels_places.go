package sandbox

import (
	"strings"

	"justlogistics/internal/chile"
)

// carrierPlace is a comuna in a carrier's own list.
type carrierPlace struct {
	official string // as the state names it
	written  string // as the carrier writes it
	region   chile.Region
	code     string // of as many letters as the carrier's codes have
	number   int    // for carriers that count them
	served   bool
}

// unserved are comunas that the stand-ins do not deliver to.
var unserved = []string{"Juan Fernández", "Isla de Pascua", "Antártica", "Cabo de Hornos"}

// writtenOtherwise is how carriers write some comunas, against the state's spelling.
var writtenOtherwise = map[string]string{
	"Natales": "PUERTO NATALES", "Aysén": "AISEN", "Coyhaique": "COIHAIQUE", "Tiltil": "TIL TIL", "Llaillay": "LLAY-LLAY",
}

// carrierPlaces makes a carrier's list of comunas, with codes of letters that are
// alike for names that are alike, as theirs are. fixed are codes that the carrier is
// known to have.
func carrierPlaces(letters int, fixed map[string]string) []carrierPlace {
	taken := map[string]bool{}
	for _, code := range fixed {
		taken[code] = true
	}
	var all []carrierPlace
	for _, region := range chile.Regions() {
		for _, c := range chile.Comunas(region) {
			p := carrierPlace{official: c.Name, written: capitals(c.Name), region: region, number: len(all) + 1, served: true}
			if other, is := writtenOtherwise[c.Name]; is {
				p.written = other
			}
			for _, name := range unserved {
				p.served = p.served && name != c.Name
			}
			if p.code = fixed[c.Name]; p.code == "" {
				p.code = freeCode(p.written, letters, taken)
			}
			all = append(all, p)
		}
	}
	return all
}

// freeCode takes the first letters of a name, and changes the last ones until nobody
// else has them.
func freeCode(name string, letters int, taken map[string]bool) string {
	base := (strings.NewReplacer(" ", "", "Ñ", "N", "-", "", "'", "").Replace(name) + "XXXX")[:letters]
	for _, change := range []int{1, 2} {
		n := 1
		for range change {
			n *= 26
		}
		for i := range n + 1 {
			code := base
			if i > 0 {
				tail := ""
				for rest, k := i-1, 0; k < change; k++ {
					tail = string(rune('A'+rest%26)) + tail
					rest /= 26
				}
				code = base[:letters-change] + tail
			}
			if !taken[code] {
				taken[code] = true
				return code
			}
		}
	}
	return base
}

// capitals writes a name as the carriers' systems do: no accents, Ñ kept.
func capitals(name string) string {
	return strings.NewReplacer("Á", "A", "É", "E", "Í", "I", "Ó", "O", "Ú", "U", "Ü", "U", "’", "'").Replace(strings.ToUpper(name))
}

// placeWhere finds the first place that fits.
func placeWhere(places []carrierPlace, fits func(carrierPlace) bool) (carrierPlace, bool) {
	for _, p := range places {
		if fits(p) {
			return p, true
		}
	}
	return carrierPlace{}, false
}
