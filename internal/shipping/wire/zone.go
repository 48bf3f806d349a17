package wire

import (
	"sync"
	"time"

	_ "time/tzdata" // the zone must be there whatever the machine has
)

// santiago is continental Chile's zone. The carriers write the time of their office;
// that of Magallanes and Rapa Nui differs by an hour or two, which orders no two
// events of a parcel differently.
var santiago = sync.OnceValue(func() *time.Location {
	zone, err := time.LoadLocation("America/Santiago")
	if err != nil {
		return time.FixedZone("CLT", -4*60*60) // unreachable: tzdata is compiled in
	}
	return zone
})
