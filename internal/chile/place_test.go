package chile_test

import (
	"strings"
	"testing"

	"justlogistics/internal/chile"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"
)

// Per region, from north to south, as the state's list of codes has them.
var officialCounts = []struct {
	region  chile.Region
	comunas int
}{
	{"AP", 4}, {"TA", 7}, {"AN", 9}, {"AT", 9}, {"CO", 15}, {"VS", 38}, {"RM", 52}, {"LI", 33},
	{"ML", 30}, {"NB", 21}, {"BI", 33}, {"AR", 32}, {"LR", 12}, {"LL", 30}, {"AI", 10}, {"MA", 11},
}

func TestComunas_AreThe346OfTheOfficialDivision(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range officialCounts {
		comunas := chile.Comunas(c.region)
		require.Len(t, comunas, c.comunas, c.region)
		for _, comuna := range comunas {
			require.Equal(t, c.region, comuna.Region)
			require.False(t, seen[comuna.Name], comuna.Name)
			seen[comuna.Name] = true
			require.Equal(t, strings.TrimSpace(comuna.Name), comuna.Name)
			require.True(t, norm.NFC.IsNormalString(comuna.Name))
			for _, spelling := range []string{
				comuna.Name, strings.ToUpper(comuna.Name), strings.ToLower(comuna.Name), withoutAccents(comuna.Name),
				norm.NFD.String(comuna.Name), "  " + strings.ReplaceAll(comuna.Name, " ", "  ") + " ",
			} {
				found, ok := chile.LookupComuna(spelling)
				require.True(t, ok, "%q", spelling)
				require.Equal(t, comuna, found)
			}
		}
	}
	require.Len(t, seen, 346)
}

func withoutAccents(s string) string {
	return strings.NewReplacer("á", "a", "é", "e", "í", "i", "ó", "o", "ú", "u", "ü", "u", "ñ", "n", "Á", "A", "Ñ", "N").Replace(s)
}

func TestLookupComuna_KnowsOtherSpellingsInUse(t *testing.T) {
	t.Parallel()
	for spelling, official := range map[string]string{
		"Til Til": "Tiltil", "llay llay": "Llaillay", "La Calera": "Calera", "Puerto Natales": "Natales", "O’HIGGINS": "O'Higgins",
		"o higgins": "O'Higgins", "Coihaique": "Coyhaique", "Aisen": "Aysén", "Paihuano": "Paiguano", "Marchigue": "Marchihue",
	} {
		c, ok := chile.LookupComuna(spelling)
		require.True(t, ok, spelling)
		require.Equal(t, official, c.Name)
	}
	for _, s := range []string{"", " ", "'", "Lima", "Providenci", "Region Metropolitana"} {
		_, ok := chile.LookupComuna(s)
		require.False(t, ok, "%q", s)
	}
}

func TestParseRegion_AcceptsCodesNumeralsAndNames(t *testing.T) {
	t.Parallel()
	for want, forms := range map[chile.Region][]string{
		chile.Arica:       {"AP", "XV", "Región de Arica y Parinacota"},
		chile.Tarapaca:    {"TA", "I", "tarapaca"},
		chile.Antofagasta: {"AN", "II", "ANTOFAGASTA"},
		chile.Atacama:     {"AT", "III", "Región de Atacama"},
		chile.Coquimbo:    {"CO", "IV", "Coquimbo"},
		chile.Valparaiso:  {"VS", "V", "Valparaiso", "V Región"},
		chile.Santiago:    {"RM", "rm", "CL-RM", "cl-rm", "XIII", "Región Metropolitana de Santiago", "Región Metropolitana", "REGION METROPOLITANA", "Metropolitana", " RM "},
		chile.OHiggins:    {"LI", "VI", "O'Higgins", "Región del Libertador General Bernardo O’Higgins", "Libertador Gral. Bernardo O'Higgins"},
		chile.Maule:       {"ML", "VII", "Región del Maule"},
		chile.Nuble:       {"NB", "XVI", "Ñuble", "region de nuble"},
		chile.Biobio:      {"BI", "VIII", "Biobío", "Bío-Bío", "Región del Bío Bío"},
		chile.Araucania:   {"AR", "IX", "La Araucanía", "Región de La Araucanía", "araucania"},
		chile.LosRios:     {"LR", "XIV", "Los Ríos"},
		chile.LosLagos:    {"LL", "X", "Región de Los Lagos"},
		chile.Aysen:       {"AI", "XI", "Aysén", "Aisén", "Región de Aysén del General Carlos Ibáñez del Campo"},
		chile.Magallanes:  {"MA", "XII", "Magallanes", "Región de Magallanes y de la Antártica Chilena"},
	} {
		for _, form := range forms {
			got, err := chile.ParseRegion(form)
			require.NoError(t, err, form)
			require.Equal(t, want, got, form)
		}
		got, err := chile.ParseRegion(want.Name())
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, s := range []string{"", "CL", "CL-", "XX", "XVII", "AR-B", "Región", "Región de", "Mendoza"} {
		_, err := chile.ParseRegion(s)
		require.ErrorIs(t, err, chile.ErrUnknownRegion, "%q", s)
	}
}

func TestRegions_GoFromNorthToSouth(t *testing.T) {
	t.Parallel()
	regions := chile.Regions()
	require.Len(t, regions, len(officialCounts))
	for i, c := range officialCounts {
		require.Equal(t, c.region, regions[i])
	}
}

func TestDistance_CountsStepsAlongTheCountry(t *testing.T) {
	t.Parallel()
	require.Zero(t, chile.Distance("RM", "RM"))
	require.Equal(t, 1, chile.Distance("RM", "VS"))
	require.Equal(t, 15, chile.Distance("MA", "AP"))
	require.Less(t, chile.Distance("NB", "BI"), chile.Distance("NB", "RM"))
	for _, a := range chile.Regions() {
		for _, b := range chile.Regions() {
			require.Equal(t, chile.Distance(a, b), chile.Distance(b, a))
			require.Less(t, chile.Distance(a, b), chile.Distance(a, "??"), "a region that does not exist is farthest")
		}
	}
}

func TestValidatePlace_NamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	c, err := chile.ValidatePlace("providencia", "Región Metropolitana")
	require.NoError(t, err)
	require.Equal(t, chile.Comuna{Name: "Providencia", Region: chile.Santiago}, c)

	_, err = chile.ValidatePlace("Providencia", "XX")
	require.ErrorIs(t, err, chile.ErrUnknownRegion)
	_, err = chile.ValidatePlace("Springfield", "RM")
	require.ErrorIs(t, err, chile.ErrUnknownComuna)
	_, err = chile.ValidatePlace("Concepcion", "RM")
	require.ErrorIs(t, err, chile.ErrComunaOutsideRegion)
	require.ErrorContains(t, err, "Biobío")
}

func FuzzValidatePlace_NeverPanics(f *testing.F) {
	f.Add("Providencia", "RM")
	f.Add("\xff\xfe", "CL-\x00")
	f.Fuzz(func(t *testing.T, comuna, region string) {
		c, err := chile.ValidatePlace(comuna, region)
		if err == nil {
			require.NotEmpty(t, c.Name)
		}
	})
}
