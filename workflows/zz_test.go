package workflows_test
import ("testing";"time";"fmt")
func TestZZ(t *testing.T) {
	for _, g := range []string{"transbank","stripe"} {
	t0 := time.Now()
	s := simulate(schedule{Gateway: g, Units: 2, SCL: 1, CCP: 3, Hold: 900, Steps: []step{{At: 30*time.Second, Do: approve}}})
	fmt.Println(time.Since(t0)); fmt.Println(s.story())
	}
}
