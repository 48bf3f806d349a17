package batch

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func cpu() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(0, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func limited(orders []Order, cap Load, seed uint64, calls int64) (Plan, time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var n atomic.Int64
	m := func(s []Stop) int64 {
		if n.Add(1) > calls {
			cancel()
		}
		return optimalRoute(s)
	}
	t0 := cpu()
	p, err := Build(ctx, orders, cap, m, Options{Seed: seed, Rounds: 1e6})
	if err != nil {
		panic(err)
	}
	return p, cpu() - t0
}

func TestExp(t *testing.T) {
	k, _ := strconv.Atoi(os.Getenv("CALLS"))
	if k == 0 {
		t.Skip()
	}
	verbose := os.Getenv("V") != ""
	for _, v := range []struct {
		p *int
		e string
	}{{&groupItems, "GI"}, {&shakes, "SH"}, {&taken, "TK"}, {&groupsPerRound, "GR"}, {&noDescend, "ND"}, {&temper, "TE"}, {&moveTries, "MT"}, {&insertTries, "IT"}, {&patience, "PA"}} {
		if x, err := strconv.Atoi(os.Getenv(v.e)); err == nil {
			*v.p = x
		}
	}
	tot, cnt, tc := 0.0, 0.0, time.Duration(0)
	byCap := map[int]float64{}
	for _, n := range []int{40, 60, 100} {
		for _, c := range []int{30, 45, 60, 75} {
			o := hennWaescher(n, 1)
			cap := Load{Units: c}
			w := newWave(o, cap, optimalRoute)
			f := float64(w.asTheyCome(&ruler{w: w}).length)
			for seed := range uint64(2) {
				p, d := limited(o, cap, seed, int64(k))
				r := float64(p.Length) / f
				if verbose {
					fmt.Printf("n=%d c=%d ils=%.4f rounds=%d cpu=%v b=%d\n", n, c, r, p.Rounds, d, len(p.Batches))
				}
				tot += r
				cnt++
				tc += d
				byCap[c] += r / 6
			}
		}
	}
	fmt.Printf("HW MEAN %.5f %v cpu=%v\n", tot/cnt, byCap, tc/time.Duration(cnt))
	o := hw2(500, 1)
	cap := Load{Orders: 8}
	w := newWave(o, cap, optimalRoute)
	f := w.asTheyCome(&ruler{w: w}).length
	for seed := range uint64(2) {
		p, d := limited(o, cap, seed, int64(4*k))
		fmt.Println("500x5", p.Rounds, float64(p.Length)/float64(f), d)
	}
}
