package floor

import "strings"

// words are the labels of a map in one language.
type words struct {
	lang                         string
	bins, title, fill, picks     string
	noLimit, overfull, more      string
	depot, walk, stop            string
	zones, lowest, lowestInGraph string
	kinds                        map[BinKind]string
}

var spanish = words{
	lang: "es", bins: "ubicaciones", title: "Mapa de bodega", fill: "Ocupación", picks: "Retiros",
	noLimit: "sin límite", overfull: "sobre el límite", more: "y %d más",
	depot: "Inicio y entrega", walk: "Recorrido", stop: "Parada",
	zones: "Zonas", lowest: "Nivel más bajo: junto al pasillo", lowestInGraph: "Nivel más bajo: abajo",
	kinds: map[BinKind]string{
		Pick: "Picking", Reserve: "Reserva", Receiving: "Recepción", Packing: "Embalaje",
		Quarantine: "Cuarentena", Damaged: "Dañados", InTransit: "En tránsito",
	},
}

var english = words{
	lang: "en", bins: "bins", title: "Warehouse map", fill: "Fill", picks: "Picks",
	noLimit: "no limit", overfull: "over the limit", more: "and %d more",
	depot: "Start and drop-off", walk: "Walk", stop: "Stop",
	zones: "Zones", lowest: "Lowest level: next to the aisle", lowestInGraph: "Lowest level: at the bottom",
	kinds: map[BinKind]string{
		Pick: "Picking", Reserve: "Reserve", Receiving: "Receiving", Packing: "Packing",
		Quarantine: "Quarantine", Damaged: "Damaged", InTransit: "In transit",
	},
}

// wordsOf takes the labels of a language tag: Spanish for "es", "es-CL" and the
// like and for an empty one, English for every other.
func wordsOf(lang string) words {
	if tag, _, _ := strings.Cut(strings.ToLower(lang), "-"); tag == "es" || tag == "" {
		return spanish
	}
	return english
}
