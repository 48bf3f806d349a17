package api

import "justlogistics/internal/warehouse/operator"

// actions are what a scanner's commands do, by their kind.
func (s *Server) actions() map[string]operator.Action {
	return map[string]operator.Action{}
}
