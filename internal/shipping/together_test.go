package shipping

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTogether_TroubleFirstElseAsFarAsTheLastOne(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		of   []State
		want string
	}{
		{nil, ""},
		{[]State{Unmapped}, ""},
		{[]State{Announced}, ""},
		{[]State{Announced, Announced}, ""},
		{[]State{InTransit}, OnTheWay},
		{[]State{AtPoint}, OnTheWay},
		{[]State{OutForDelivery}, Delivering},
		{[]State{OutForDelivery, InTransit}, OnTheWay},
		{[]State{OutForDelivery, Announced}, Delivering},
		{[]State{Delivered}, Arrived},
		{[]State{Delivered, Delivered}, Arrived},
		{[]State{Delivered, Announced}, OnTheWay},
		{[]State{Delivered, InTransit}, OnTheWay},
		{[]State{Delivered, OutForDelivery}, Delivering},
		{[]State{Delivered, Damaged}, OnTheWay},
		{[]State{Damaged}, ""},
		{[]State{DeliveryFailed}, NotDelivered},
		{[]State{Returning}, NotDelivered},
		{[]State{DeliveryFailed, Delivered}, NotDelivered},
		{[]State{Returned}, ReturnedToShop},
		{[]State{Returned, Delivered}, ReturnedToShop},
		{[]State{Returned, DeliveryFailed}, ReturnedToShop},
		{[]State{Lost}, Missing},
		{[]State{Lost, Returned}, Missing},
		{[]State{Lost, Delivered}, Missing},
		{[]State{Voided}, ""},
		{[]State{Announced, InTransit}, OnTheWay},
	} {
		t.Run(fmt.Sprint(row.of), func(t *testing.T) {
			t.Parallel()
			require.Equal(t, row.want, together(row.of))
			backwards := make([]State, 0, len(row.of))
			for _, s := range row.of {
				backwards = append([]State{s}, backwards...)
			}
			require.Equal(t, row.want, together(backwards), "their order does not matter")
		})
	}
}
