package api

// transferRoutes are transfers between warehouses.
func (s *Server) transferRoutes() {
}
