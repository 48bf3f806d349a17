package bluexpress

import (
	"context"

	"justlogistics/internal/chile"
	"justlogistics/internal/shipping/wire"
)

// state is a region in Blue Express's own list; its districts have codes of three
// letters.
type state struct {
	Code   wire.Text `json:"code"`
	Name   string    `json:"name"`
	Cities []struct {
		Name      string `json:"name"`
		Default   string `json:"defaultDistrict"`
		Districts []struct {
			Name string `json:"name"`
			Code string `json:"code"`
		} `json:"districts"`
	} `json:"ciudades"`
}

// where is a comuna as Blue Express has it.
type where struct {
	state      wire.Text
	code, name string
	served     bool
}

// find looks a comuna up in the list of GET bx-geo/state/all: a district of that name in
// that region, or else the default district of a city of that name.
func (c *Carrier) find(ctx context.Context, comuna, region string) (where, error) {
	want, known := wire.Comuna(comuna, region)
	if !known {
		return where{}, nil
	}
	states, err := c.places.Get(ctx, c.caller.Now(), "", c.readPlaces)
	if err != nil {
		return where{}, err
	}
	return choose(states, want), nil
}

func choose(states []state, want chile.Comuna) where {
	var byCity where
	for _, s := range states {
		region, err := chile.ParseRegion(s.Name)
		if err != nil || region != want.Region {
			continue
		}
		is := func(name string) bool {
			named, known := wire.Comuna(name, string(want.Region))
			return known && named == want
		}
		for _, city := range s.Cities {
			for _, d := range city.Districts {
				if d.Code != "" && is(d.Name) {
					return where{state: s.Code, code: d.Code, name: d.Name, served: true}
				}
			}
			if city.Default != "" && is(city.Name) {
				byCity = where{state: s.Code, code: city.Default, name: city.Name, served: true}
			}
		}
	}
	return byCity
}

func (c *Carrier) readPlaces(ctx context.Context) ([]state, error) {
	r := c.ask(ctx, "/bx-geo/state/all")
	var out struct {
		Data []struct {
			States []state `json:"states"`
		} `json:"data"`
	}
	if !r.OK() || !r.Read(&out) || len(out.Data) == 0 || len(out.Data[0].States) == 0 {
		return nil, failed(r)
	}
	return out.Data[0].States, nil
}
