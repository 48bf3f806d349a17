package floor_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/warehouse/floor"
)

func TestDocumentation_HasExamplesThatAreAccepted(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/warehouse/floor.md")
	require.NoError(t, err)
	var plans []*floor.Plan
	for _, m := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(page, -1) {
		plans = append(plans, parse(t, string(m[1])))
	}
	require.Len(t, plans, 2)
	file := regexp.MustCompile("(?s)```\n(code;.*?)```").FindSubmatch(page)
	require.NotNil(t, file)
	bins, err := read(plans[0], string(file[1]))
	require.NoError(t, err)
	require.Len(t, bins, 3)
}
