package api

// countingRoutes are counts and stock alerts.
func (s *Server) countingRoutes() {
}
