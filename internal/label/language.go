package label

// Language is that of the captions. Names, codes and addresses stay as they are.
type Language string

// The languages there are; Spanish is the default.
const (
	Spanish Language = "es"
	English Language = "en"
)

// captions are the fixed words of the labels.
type captions struct {
	lot, expires, order, position, bin, quantity, shipment, weight, from, to string
	decimal                                                                  string
}

var captionsOf = map[Language]captions{
	Spanish: {
		lot: "Lote", expires: "Vence", order: "Pedido", position: "%d de %d", bin: "Ubicación", quantity: "Cantidad",
		shipment: "Envío", weight: "Peso", from: "Desde", to: "Para", decimal: ",",
	},
	English: {
		lot: "Lot", expires: "Expires", order: "Order", position: "%d of %d", bin: "Bin", quantity: "Quantity",
		shipment: "Shipment", weight: "Weight", from: "From", to: "To", decimal: ".",
	},
}
