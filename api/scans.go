package api

// scanRoutes are the operators' commands.
func (s *Server) scanRoutes() {
}
