package api

// placeRoutes are places, bins and what lies in them.
func (s *Server) placeRoutes() {
}
