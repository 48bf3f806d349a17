package chile

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Region is the part of an ISO 3166-2:CL code after "CL-"
// (https://www.iso.org/obp/ui/#iso:code:3166:CL).
type Region string

// The sixteen regions from north to south.
const (
	Arica       Region = "AP"
	Tarapaca    Region = "TA"
	Antofagasta Region = "AN"
	Atacama     Region = "AT"
	Coquimbo    Region = "CO"
	Valparaiso  Region = "VS"
	Santiago    Region = "RM"
	OHiggins    Region = "LI"
	Maule       Region = "ML"
	Nuble       Region = "NB"
	Biobio      Region = "BI"
	Araucania   Region = "AR"
	LosRios     Region = "LR"
	LosLagos    Region = "LL"
	Aysen       Region = "AI"
	Magallanes  Region = "MA"
)

// ErrUnknownRegion tells that a text names no region of Chile.
var ErrUnknownRegion = errors.New("unknown region of Chile")

var regions = []struct {
	code   Region
	roman  string
	name   string
	others []string
}{
	{Arica, "XV", "Arica y Parinacota", nil},
	{Tarapaca, "I", "Tarapacá", nil},
	{Antofagasta, "II", "Antofagasta", nil},
	{Atacama, "III", "Atacama", nil},
	{Coquimbo, "IV", "Coquimbo", nil},
	{Valparaiso, "V", "Valparaíso", nil},
	{Santiago, "XIII", "Metropolitana de Santiago", []string{"Metropolitana", "Santiago"}},
	{OHiggins, "VI", "Libertador General Bernardo O'Higgins", []string{"Libertador Gral. Bernardo O'Higgins", "Libertador Bernardo O'Higgins", "O'Higgins", "O Higgins"}},
	{Maule, "VII", "Maule", nil},
	{Nuble, "XVI", "Ñuble", nil},
	{Biobio, "VIII", "Biobío", []string{"Bío Bío"}},
	{Araucania, "IX", "La Araucanía", []string{"Araucanía"}},
	{LosRios, "XIV", "Los Ríos", nil},
	{LosLagos, "X", "Los Lagos", nil},
	{Aysen, "XI", "Aysén del General Carlos Ibáñez del Campo", []string{"Aysén", "Aisén", "Aisén del General Carlos Ibáñez del Campo", "Aysén del Gral. Carlos Ibáñez del Campo", "Aisén del Gral. Carlos Ibáñez del Campo"}},
	{Magallanes, "XII", "Magallanes y de la Antártica Chilena", []string{"Magallanes", "Magallanes y Antártica Chilena"}},
}

// Regions returns the sixteen regions from north to south.
func Regions() []Region {
	all := make([]Region, len(regions))
	for i, r := range regions {
		all[i] = r.code
	}
	return all
}

// Name returns the region's Spanish name without "Región de", or the code
// itself when there is no such region.
func (r Region) Name() string {
	if i, ok := regionOrder[r]; ok {
		return regions[i].name
	}
	return string(r)
}

// ParseRegion accepts the code ("RM"), the full ISO code ("CL-RM"), the old
// roman numeral ("XIII"), and the official or usual name with or without
// accents, capitals and "Región de". Anything else is ErrUnknownRegion.
func ParseRegion(s string) (Region, error) {
	key := fold(s)
	for _, prefix := range []string{"cl ", "region de ", "region del ", "region "} {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			key = rest
			break
		}
	}
	// "V Región", as people number them.
	key = strings.TrimSuffix(key, " region")
	if r, ok := regionNames[key]; ok {
		return r, nil
	}
	return "", ErrUnknownRegion
}

// Distance counts the regions between a and b along the country, 0 for the same
// one: a ranking of warehouses by nearness, not kilometres. A region that does
// not exist is farther than any that does.
func Distance(a, b Region) int {
	i, okA := regionOrder[a]
	j, okB := regionOrder[b]
	switch {
	case !okA || !okB:
		return len(regions)
	case i > j:
		return i - j
	}
	return j - i
}

var regionOrder = func() map[Region]int {
	order := make(map[Region]int, len(regions))
	for i, r := range regions {
		order[r.code] = i
	}
	return order
}()

var regionNames = func() map[string]Region {
	names := map[string]Region{}
	add := func(name string, r Region) {
		key := fold(name)
		if other, taken := names[key]; taken && other != r {
			panic(fmt.Sprintf("chile: %q names both %s and %s", name, other, r))
		}
		names[key] = r
	}
	for _, r := range regions {
		add(string(r.code), r.code)
		add(r.roman, r.code)
		add(r.name, r.code)
		for _, other := range r.others {
			add(other, r.code)
		}
	}
	return names
}()

// fold makes spellings of one name equal: lower case, no accents (ñ is n), no
// apostrophes, one space for every run of other characters.
func fold(s string) string {
	var b strings.Builder
	gap := false
	for _, r := range norm.NFKD.String(strings.ToLower(s)) {
		switch {
		case unicode.Is(unicode.Mn, r), r == '\'', r == '’', r == '‘', r == '´', r == '`':
		case unicode.IsLetter(r), unicode.IsDigit(r):
			if gap && b.Len() > 0 {
				b.WriteByte(' ')
			}
			gap = false
			b.WriteRune(r)
		default:
			gap = true
		}
	}
	return b.String()
}
