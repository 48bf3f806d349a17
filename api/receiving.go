package api

// receivingRoutes are purchase orders, receipts and put-away.
func (s *Server) receivingRoutes() {
}
