package route

import (
	"container/heap"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
)

// Graph is a floor of any form: places, and the ways between them. Ways go in
// both directions. It may be used by any number of goroutines at once.
type Graph struct {
	nodes []Node
	index map[string]int
	ways  [][]leg // from each node
	depot int
	// Shortest ways from a node, worked out when they are first needed.
	from []atomic.Pointer[tree]
}

// Node is a place. Its point is only for drawing a path.
type Node struct {
	Name string
	At   Point
}

// Edge is a way between two nodes. Its length, in mm, may be more than the
// distance between their points.
type Edge struct {
	A, B   string
	Length int64
}

// UnreachableError names the nodes to which no way leads from the depot, in
// alphabetical order.
type UnreachableError struct{ Nodes []string }

func (e *UnreachableError) Error() string {
	const most = 10
	shown := e.Nodes[:min(len(e.Nodes), most)]
	more := ""
	if n := len(e.Nodes) - len(shown); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("no way leads from the depot to %s%s; join each of them to a node that can be reached", strings.Join(shown, ", "), more)
}

type leg struct {
	to     int
	length int64
}

// tree has, for each node, the length of the shortest way and the node before
// it on that way.
type tree struct {
	length []int64
	before []int
}

// NewGraph makes a floor of its nodes and edges. It refuses names that occur
// twice or not at all, lengths that are not positive or beyond a thousand
// kilometres, and, with an UnreachableError, nodes that pickers could not get to.
func NewGraph(nodes []Node, edges []Edge, depot string) (*Graph, error) {
	g := &Graph{nodes: slices.Clone(nodes), index: map[string]int{}, ways: make([][]leg, len(nodes)), from: make([]atomic.Pointer[tree], len(nodes))}
	for i, n := range nodes {
		switch _, twice := g.index[n.Name]; {
		case n.Name == "":
			return nil, fmt.Errorf("node %d has no name", i)
		case twice:
			return nil, fmt.Errorf("node %q is there twice", n.Name)
		case beyond(n.At.X) || beyond(n.At.Y):
			return nil, fmt.Errorf("node %q is farther than %d mm from the origin", n.Name, int64(farthest))
		}
		g.index[n.Name] = i
	}
	for _, e := range edges {
		if err := g.join(e); err != nil {
			return nil, err
		}
	}
	at, err := g.find(depot)
	if err != nil {
		return nil, fmt.Errorf("depot: %w", err)
	}
	g.depot = at
	if lost := g.unreachable(); len(lost) > 0 {
		return nil, &UnreachableError{lost}
	}
	return g, nil
}

func (g *Graph) join(e Edge) error {
	a, errA := g.find(e.A)
	b, errB := g.find(e.B)
	if err := errors.Join(errA, errB); err != nil {
		return fmt.Errorf("edge between %q and %q: %w", e.A, e.B, err)
	}
	if e.Length <= 0 || e.Length > farthest {
		return fmt.Errorf("the edge between %q and %q is %d mm long; it has to be from 1 to %d", e.A, e.B, e.Length, int64(farthest))
	}
	g.ways[a] = append(g.ways[a], leg{b, e.Length})
	g.ways[b] = append(g.ways[b], leg{a, e.Length})
	return nil
}

// ErrNoNode is returned for a name that no node of the graph has.
var ErrNoNode = errors.New("no such node")

func (g *Graph) find(name string) (int, error) {
	i, ok := g.index[name]
	if !ok {
		return 0, fmt.Errorf("%w: %q", ErrNoNode, name)
	}
	return i, nil
}

func (g *Graph) unreachable() []string {
	var out []string
	for i, length := range g.tree(g.depot).length {
		if length == unreachable {
			out = append(out, g.nodes[i].Name)
		}
	}
	slices.Sort(out)
	return out
}

// Tour finds a short tour from the depot past the nodes of stops and back. It is
// a shortest one for up to 9 different stops. For more it is found by insertion,
// then 2-opt and Or-opt after many small disturbances: most often a shortest one
// for a picker's list, without a proof. The same seed gives the same tour. The
// error is ErrNoNode.
func (g *Graph) Tour(stops []string, seed uint64) (Tour, error) {
	places, at, err := g.places(stops)
	if err != nil {
		return Tour{}, err
	}
	d := g.distances(places)
	round := short(d, seed)
	t := Tour{Length: d.around(round), Path: []Point{g.nodes[g.depot].At}, Order: make([]int, 0, len(stops))}
	for i, p := range round {
		t.Order = append(t.Order, at[places[p]]...)
		t.Path = g.follow(t.Path, places[p], places[round[(i+1)%len(round)]])
	}
	return t, nil
}

// Length is the length of Tour, without its path. For stops that are no nodes
// it is -1.
func (g *Graph) Length(stops []string, seed uint64) int64 {
	places, _, err := g.places(stops)
	if err != nil {
		return -1
	}
	d := g.distances(places)
	return d.around(short(d, seed))
}

// places are the depot and then each node with stops, and which stops those are.
func (g *Graph) places(stops []string) (places []int, at map[int][]int, err error) {
	at = map[int][]int{}
	for i, name := range stops {
		n, err := g.find(name)
		if err != nil {
			return nil, nil, fmt.Errorf("stop %d: %w", i, err)
		}
		at[n] = append(at[n], i)
	}
	places = []int{g.depot}
	for _, n := range slices.Sorted(maps.Keys(at)) {
		if n != g.depot {
			places = append(places, n)
		}
	}
	return places, at, nil
}

func (g *Graph) distances(places []int) matrix {
	d := matrix{n: len(places), cells: make([]int64, 0, len(places)*len(places))}
	for _, from := range places {
		t := g.tree(from)
		for _, to := range places {
			d.cells = append(d.cells, t.length[to])
		}
	}
	return d
}

// follow adds the shortest way between two nodes to a path.
func (g *Graph) follow(path []Point, from, to int) []Point {
	t := g.tree(from)
	var way []Point
	for n := to; n != from; n = t.before[n] {
		way = append(way, g.nodes[n].At)
	}
	slices.Reverse(way)
	return append(path, way...)
}

// tree finds the shortest ways from a node by Dijkstra's algorithm. Two
// goroutines may both work it out; they find the same.
func (g *Graph) tree(from int) *tree {
	if t := g.from[from].Load(); t != nil {
		return t
	}
	t := &tree{length: slices.Repeat([]int64{unreachable}, len(g.nodes)), before: make([]int, len(g.nodes))}
	t.length[from] = 0
	open := &frontier{{from, 0}}
	for open.Len() > 0 {
		near := heap.Pop(open).(leg)
		if near.length > t.length[near.to] {
			continue
		}
		for _, w := range g.ways[near.to] {
			if sum := near.length + w.length; sum < t.length[w.to] {
				t.length[w.to], t.before[w.to] = sum, near.to
				heap.Push(open, leg{w.to, sum})
			}
		}
	}
	g.from[from].Store(t)
	return t
}

// frontier is the heap of Dijkstra's algorithm, nearest first.
type frontier []leg

func (f frontier) Len() int           { return len(f) }
func (f frontier) Less(i, j int) bool { return f[i].length < f[j].length }
func (f frontier) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *frontier) Push(x any)        { *f = append(*f, x.(leg)) }
func (f *frontier) Pop() any {
	last := len(*f) - 1
	x := (*f)[last]
	*f = (*f)[:last]
	return x
}
