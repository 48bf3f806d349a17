package starken

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"justlogistics/internal/chile"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// comuna is a row of GET agency/comuna: a quote wants the code of its city, an issuance
// its own.
type comuna struct {
	Code wire.Text `json:"code_dls"`
	Name string    `json:"name"`
	City city      `json:"city"`
}

type city struct {
	Code   wire.Text `json:"code_dls"`
	Name   string    `json:"name"`
	Region struct {
		Name string `json:"name"`
	} `json:"region"`
}

// agency is a row of GET agency/agency.
type agency struct {
	Code     wire.Text `json:"code_dls"`
	Name     string    `json:"name"`
	Comuna   comuna    `json:"comuna"`
	Address  string    `json:"address"`
	Lat      wire.Text `json:"latitude"`
	Lng      wire.Text `json:"longitude"`
	Status   string    `json:"status"`
	Delivers *bool     `json:"delivery"`
}

// where is a comuna as Starken has it.
type where struct {
	comuna, city int64
	official     chile.Comuna
	served       bool
}

// find looks a comuna up by its name, and checks the region of its city where Starken
// tells that.
func (c *Carrier) find(ctx context.Context, name, region string) (where, error) {
	want, known := wire.Comuna(name, region)
	if !known {
		return where{}, nil
	}
	rows, err := c.comunas.Get(ctx, c.caller.Now(), "", func(ctx context.Context) ([]comuna, error) { return list[comuna](ctx, c, "/agency/comuna") })
	if err != nil {
		return where{}, err
	}
	regions, err := c.cities.Get(ctx, c.caller.Now(), "", c.readCities)
	if err != nil {
		return where{}, err
	}
	return choose(rows, regions, want), nil
}

func choose(rows []comuna, regions map[string]chile.Region, want chile.Comuna) where {
	for _, row := range rows {
		named, known := wire.Comuna(row.Name, string(want.Region))
		own, hasCode := row.Code.Whole()
		city, hasCity := row.City.Code.Whole()
		if !known || named != want || !hasCode || !hasCity {
			continue
		}
		if region, told := regions[string(row.City.Code)]; told && region != want.Region {
			continue
		}
		return where{comuna: own, city: city, official: want, served: true}
	}
	return where{}
}

// readCities reads the regions of the cities: GET agency/city.
func (c *Carrier) readCities(ctx context.Context) (map[string]chile.Region, error) {
	rows, err := list[city](ctx, c, "/agency/city")
	if err != nil {
		return nil, err
	}
	regions := map[string]chile.Region{}
	for _, row := range rows {
		if region, err := chile.ParseRegion(row.Region.Name); err == nil {
			regions[string(row.Code)] = region
		}
	}
	return regions, nil
}

// list reads a catalogue.
func list[V any](ctx context.Context, c *Carrier, path string) ([]V, error) {
	r := c.call(ctx, http.MethodGet, path, nil)
	var rows []V
	if !r.OK() || !r.Read(&rows) || len(rows) == 0 {
		return nil, failed(r)
	}
	return rows, nil
}

// Points lists the agencies of a comuna that hand parcels out.
func (c *Carrier) Points(ctx context.Context, name, region string) ([]shipping.Point, error) {
	at, err := c.find(ctx, name, region)
	if err != nil || !at.served {
		return nil, err
	}
	rows, err := c.agencies.Get(ctx, c.caller.Now(), "", func(ctx context.Context) ([]agency, error) { return list[agency](ctx, c, "/agency/agency") })
	if err != nil {
		return nil, err
	}
	var points []shipping.Point
	for _, a := range rows {
		here, known := wire.Comuna(a.Comuna.Name, string(at.official.Region))
		if !known || here != at.official || a.closed() || a.Code.Digits() == "" {
			continue
		}
		points = append(points, shipping.Point{
			ID: a.Code.Digits(), Name: a.Name, Kind: "branch", Street: a.Address, Comuna: at.official.Name, Region: string(at.official.Region),
			Lat: degrees(a.Lat), Lng: degrees(a.Lng),
		})
	}
	return points, nil
}

// closed: the agency does not hand parcels out.
//
// Unconfirmed: that status ACTIVE and delivery say so; what does not say is open.
func (a agency) closed() bool {
	return !slices.Contains([]string{"", "ACTIVE"}, a.Status) || a.Delivers != nil && !*a.Delivers
}

func degrees(t wire.Text) *float64 {
	f, err := strconv.ParseFloat(string(t), 64)
	if err != nil || f < -180 || f > 180 {
		return nil
	}
	return &f
}
