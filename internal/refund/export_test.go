package refund

// Statement is what List asks the database.
func (f Filter) Statement(tenant string) (sql string, args []any) { return f.statement(tenant) }
