package checkout

import "sort"

// sortByRank orders things by rank, the lowest first, and names them.
func sortByRank[T any](things []T, rank func(T, int) int, name func(T) string) []string {
	type ranked struct {
		name string
		rank int
	}
	all := make([]ranked, len(things))
	for i, t := range things {
		all[i] = ranked{name(t), rank(t, i)}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].rank < all[j].rank })
	names := make([]string, len(all))
	for i, r := range all {
		names[i] = r.name
	}
	return names
}
