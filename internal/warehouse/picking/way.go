package picking

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/warehouse/batch"
	"justlogistics/internal/warehouse/floor"
	"justlogistics/internal/warehouse/route"
)

// Point is a corner of a list's path, in millimetres.
type Point struct {
	X int64 `json:"x"`
	Y int64 `json:"y"`
}

// Stop is a bin on the way of a list; the stops are in walking order. Units that
// lie in no bin have none.
type Stop struct {
	Bin string `json:"bin"`
}

// way is what is known of a warehouse's floor and of the bins to walk to. Without
// a plan, bins are visited in the order of their codes and nothing has a length.
type way struct {
	aisles *route.Aisles
	graph  *route.Graph
	nodes  []string
	nodeAt []floor.Point
	at     map[string]batch.Stop // where one stands for a bin
	zone   map[string]string
	seed   uint64
}

// walk is a planned way. Lengths are nil where the floor doesn't tell them.
type walk struct {
	stops          []Stop
	path           []Point
	length, sshape *int64
}

func (w walk) saved() *int64 {
	if w.length == nil || w.sshape == nil {
		return nil
	}
	saved := *w.sshape - *w.length
	return &saved
}

// loadWay reads the plan of a warehouse and where its bins of these codes are.
func loadWay(ctx context.Context, tx pgx.Tx, tenantID, warehouse string, codes []string, seed uint64) (*way, error) {
	var raw []byte
	if err := tx.QueryRow(ctx, `SELECT plan FROM warehouses WHERE tenant = $1 AND code = $2`, tenantID, warehouse).Scan(&raw); err != nil {
		return nil, fmt.Errorf("plan of %s: %w", warehouse, err)
	}
	w := &way{at: map[string]batch.Stop{}, zone: map[string]string{}, seed: seed}
	if raw != nil {
		if err := w.read(raw); err != nil {
			return nil, fmt.Errorf("plan of %s: %w", warehouse, err)
		}
	}
	rows, err := tx.Query(ctx, `SELECT code, zone, stop_aisle, coalesce(stop_y_mm, 0), coalesce(stop_node, '') FROM bins WHERE tenant = $1 AND warehouse = $2 AND code = ANY($3) ORDER BY code`, tenantID, warehouse, codes)
	if err != nil {
		return nil, fmt.Errorf("bins of %s: %w", warehouse, err)
	}
	index := map[string]int{}
	for i, n := range w.nodes {
		index[n] = i
	}
	var code, zone, node string
	var aisle *int
	var y int64
	_, err = pgx.ForEachRow(rows, []any{&code, &zone, &aisle, &y, &node}, func() error {
		w.zone[code] = zone
		i, known := index[node]
		switch {
		case w.aisles != nil && aisle != nil && w.onFloor(*aisle, y):
			w.at[code] = batch.Stop{Aisle: *aisle, Y: y}
		case w.graph != nil && known:
			w.at[code] = batch.Stop{Aisle: i}
		case w.aisles == nil && w.graph == nil:
			w.at[code] = batch.Stop{Y: int64(len(w.at))}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("bins of %s: %w", warehouse, err)
	}
	return w, nil
}

// read takes the floor from a plan.
func (w *way) read(raw []byte) error {
	plan, err := floor.ParsePlan(raw)
	if err != nil {
		return err
	}
	if plan.Kind == floor.ByAisles {
		w.aisles = &route.Aisles{X: plan.AisleX(), Cross: plan.CrossY(), Depot: route.Depot{Cross: plan.Depot.Cross, X: plan.Depot.XMM}}
		return w.aisles.Check()
	}
	nodes := make([]route.Node, len(plan.Nodes))
	for i, n := range plan.Nodes {
		nodes[i] = route.Node{Name: n.Name, At: route.Point{X: n.XMM, Y: n.YMM}}
		w.nodes = append(w.nodes, n.Name)
		w.nodeAt = append(w.nodeAt, floor.Point{XMM: n.XMM, YMM: n.YMM})
	}
	var edges []route.Edge
	for _, e := range plan.Ways() {
		edges = append(edges, route.Edge{A: e.From, B: e.To, Length: e.LengthMM})
	}
	w.graph, err = route.NewGraph(nodes, edges, plan.Depot.Node)
	return err
}

// onFloor leaves out the stop of a bin that an older plan has placed elsewhere: it
// is walked to last, and nobody is kept from picking.
func (w *way) onFloor(aisle int, y int64) bool {
	return aisle >= 0 && aisle < len(w.aisles.X) && w.aisles.Cross[0] <= y && y <= w.aisles.Cross[len(w.aisles.Cross)-1]
}

// measure is the length of a tour past stops that are sorted and distinct.
func (w *way) measure(stops []batch.Stop) int64 {
	switch {
	case w.aisles != nil:
		var room [64]route.Stop
		on := room[:0]
		for _, s := range stops {
			on = append(on, route.Stop{Aisle: s.Aisle, Y: s.Y})
		}
		return w.aisles.Length(on)
	case w.graph != nil:
		names := make([]string, len(stops))
		for i, s := range stops {
			names[i] = w.nodes[s.Aisle]
		}
		return w.graph.Length(names, w.seed)
	}
	// Bins whose codes are neighbours lie near each other, as far as one knows.
	return 2 * (1 + stops[len(stops)-1].Y - stops[0].Y)
}

// tour plans the way past bins: those of which nobody knows the place come last,
// and units in no bin, which have no stop, after them.
func (w *way) tour(bins []string) (walk, error) {
	bins = slices.Clone(bins)
	slices.Sort(bins)
	bins = slices.DeleteFunc(slices.Compact(bins), func(b string) bool { return b == "" })
	out := walk{stops: []Stop{}, path: []Point{}}
	var known, unknown []string
	for _, b := range bins {
		if _, ok := w.at[b]; ok {
			known = append(known, b)
		} else {
			unknown = append(unknown, b)
		}
	}
	order, t, err := w.route(known)
	if err != nil {
		return out, err
	}
	for _, i := range order {
		out.stops = append(out.stops, Stop{known[i]})
	}
	for _, b := range unknown {
		out.stops = append(out.stops, Stop{b})
	}
	if w.aisles == nil && w.graph == nil {
		return out, nil
	}
	out.length = &t.Length
	for _, p := range t.Path {
		out.path = append(out.path, Point{p.X, p.Y})
	}
	if w.aisles != nil {
		s, err := w.aisles.SShape(w.stopsOf(known))
		if err != nil {
			return out, fmt.Errorf("the walk in S-shape: %w", err)
		}
		out.sshape = &s.Length
	}
	return out, nil
}

func (w *way) stopsOf(bins []string) []route.Stop {
	stops := make([]route.Stop, len(bins))
	for i, b := range bins {
		stops[i] = route.Stop{Aisle: w.at[b].Aisle, Y: w.at[b].Y}
	}
	return stops
}

// route is the order in which one walks past bins.
func (w *way) route(bins []string) (order []int, t route.Tour, err error) {
	switch {
	case w.aisles != nil:
		t, err = w.aisles.Shortest(w.stopsOf(bins))
	case w.graph != nil:
		names := make([]string, len(bins))
		for i, b := range bins {
			names[i] = w.nodes[w.at[b].Aisle]
		}
		t, err = w.graph.Tour(names, w.seed)
	default:
		for i := range bins {
			t.Order = append(t.Order, i)
		}
	}
	if err != nil {
		return nil, t, fmt.Errorf("route: %w", err)
	}
	return t.Order, t, nil
}

// plan routes what is left of a list anew.
func (l *list) plan(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT DISTINCT bin FROM allocations WHERE tenant = $1 AND list_id = $2 AND state = 'open' AND bin <> ''`, l.tenant, l.ID)
	if err != nil {
		return fmt.Errorf("bins of pick list %s: %w", l.ID, err)
	}
	bins, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("bins of pick list %s: %w", l.ID, err)
	}
	w, err := loadWay(ctx, tx, l.tenant, l.warehouse, bins, 0)
	if err != nil {
		return err
	}
	t, err := w.tour(bins)
	if err != nil {
		return fmt.Errorf("pick list %s: %w", l.ID, err)
	}
	l.stops = t.stops
	stops, err := json.Marshal(t.stops)
	if err != nil {
		return err
	}
	path, err := json.Marshal(t.path)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE pick_lists SET stops = $3, path = $4, left_mm = $5 WHERE tenant = $1 AND id = $2`, l.tenant, l.ID, stops, path, t.length)
	if err != nil {
		return fmt.Errorf("way of pick list %s: %w", l.ID, err)
	}
	return nil
}

// places numbers the stops; what has none comes last.
func places(stops []Stop) func(bin string) int {
	at := make(map[string]int, len(stops))
	for i, s := range stops {
		at[s.Bin] = i
	}
	return func(bin string) int {
		if i, ok := at[bin]; ok {
			return i
		}
		return len(stops)
	}
}

// inOrder sorts by the place of a bin on the way, and by what comes after it.
func inOrder[T any](items []T, place func(string) int, bin func(T) string, then func(a, b T) int) {
	slices.SortStableFunc(items, func(a, b T) int { return cmp.Or(cmp.Compare(place(bin(a)), place(bin(b))), then(a, b)) })
}

// Walk reads the way of a list for a map: the path, and where one stands for each
// stop, in walking order. It is of what was left to pick when the way was last
// planned; a warehouse without a plan has neither. Bins that nobody knows the place
// of, which come last, have no stop. It is 404 when that warehouse has no such list.
func Walk(ctx context.Context, tx pgx.Tx, tenantID, warehouse, listID string) (path, stops []floor.Point, err error) {
	var rawPath, rawStops []byte
	err = tx.QueryRow(ctx, `SELECT path, stops FROM pick_lists WHERE tenant = $1 AND id = $2 AND warehouse = $3`, tenantID, listID, warehouse).Scan(&rawPath, &rawStops)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil, problem.Missing("pick list")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("way of pick list %s: %w", listID, err)
	}
	var corners []Point
	var bins []Stop
	if err := errors.Join(json.Unmarshal(rawPath, &corners), json.Unmarshal(rawStops, &bins)); err != nil {
		return nil, nil, fmt.Errorf("way of pick list %s: %w", listID, err)
	}
	codes := make([]string, len(bins))
	for i, b := range bins {
		codes[i] = b.Bin
	}
	w, err := loadWay(ctx, tx, tenantID, warehouse, codes, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range corners {
		path = append(path, floor.Point{XMM: c.X, YMM: c.Y})
	}
	for _, code := range codes {
		if at, ok := w.stand(code); ok {
			stops = append(stops, at)
		}
	}
	return path, stops, nil
}

// stand is where one stands for a bin, if the plan knows it.
func (w *way) stand(bin string) (floor.Point, bool) {
	at, ok := w.at[bin]
	switch {
	case ok && w.aisles != nil:
		return floor.Point{XMM: w.aisles.X[at.Aisle], YMM: at.Y}, true
	case ok && w.graph != nil:
		return w.nodeAt[at.Aisle], true
	}
	return floor.Point{}, false
}
