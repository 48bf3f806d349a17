package picksheet

import "justlogistics/internal/label"

// captions are the fixed words of a sheet.
type captions struct {
	title, amount, walk, saved, printed, page, nothing string
	position, bin, name, lot, expires, quantity, order string
}

var captionsOf = map[label.Language]captions{
	label.Spanish: {
		title: "Lista de picking", amount: "Líneas: %d, unidades: %d", walk: "Recorrido: %d m", saved: "Ahorro contra recorrido en S: %d m",
		printed: "Impreso el", page: "Página %d de %d", nothing: "La lista no tiene líneas",
		position: "N°", bin: "Ubicación", name: "Producto", lot: "Lote", expires: "Vence", quantity: "Cant.", order: "Pedido / caja",
	},
	label.English: {
		title: "Pick list", amount: "Lines: %d, units: %d", walk: "Walk: %d m", saved: "Saved against S-shape: %d m",
		printed: "Printed at", page: "Page %d of %d", nothing: "The list has no lines",
		position: "No.", bin: "Bin", name: "Product", lot: "Lot", expires: "Expires", quantity: "Qty", order: "Order / box",
	},
}
