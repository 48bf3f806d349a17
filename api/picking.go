package api

// pickingRoutes are waves and pick lists.
func (s *Server) pickingRoutes() {
}
