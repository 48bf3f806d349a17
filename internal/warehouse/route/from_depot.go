package route

import "fmt"

// FromDepot is the shortest way from the depot to a stop, in mm. The error is
// that of Shortest.
func (a *Aisles) FromDepot(s Stop) (int64, error) {
	if err := a.check([]Stop{s}); err != nil {
		return 0, err
	}
	// The shortest tour to one stop goes back the way it came.
	return a.Length([]Stop{s}) / 2, nil
}

// FromDepot is the shortest way from the depot to a node, in mm. The error is
// ErrNoNode.
func (g *Graph) FromDepot(node string) (int64, error) {
	at, err := g.find(node)
	if err != nil {
		return 0, fmt.Errorf("way from the depot: %w", err)
	}
	return g.tree(g.depot).length[at], nil
}
