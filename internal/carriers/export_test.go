package carriers

// Tuned is New with circuits that a test need not wait for.
var Tuned = tuned
