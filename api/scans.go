package api

import (
	"regexp"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
)

// scanRoutes are the operators' commands.
func (s *Server) scanRoutes() {
}

// by is who works in a warehouse: the operator that the request names, or what
// stands for one.
func (r *request) by() stock.By {
	by := stock.By{Person: r.GetHeader("X-Operator"), KeyID: r.key.ID}
	if by.Person == "" {
		by.Person = r.actor()
	}
	return by
}

// operator refuses a name that is none. Its form is checked where it is written.
func operator(r *request, f *problem.Fields) {
	name := r.GetHeader("X-Operator")
	if name != "" && !operatorName.MatchString(name) {
		f.Add("X-Operator", "invalid", "an operator's name is 1 to 64 visible characters")
	}
}

var operatorName = regexp.MustCompile(`^[!-~]( ?[!-~]){0,63}$`)
