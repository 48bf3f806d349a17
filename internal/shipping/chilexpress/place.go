package chilexpress

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"justlogistics/internal/chile"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// area is a row of the coverage. Only its four letters name a comuna in a call, never
// the code of the statistics office.
type area struct {
	Code     string    `json:"countyCode"`
	County   string    `json:"countyName"`
	Coverage string    `json:"coverageName"`
	Mode     wire.Text `json:"queryMode"` // 1 a comuna, 2 a sector of one
}

// noCoverage is the code of rows of comunas that are not served.
const noCoverage = "SCOB"

// where is a comuna as Chilexpress has it; served is false when it is not in its list.
type where struct {
	region, code, county string
	served               bool
}

// find looks a comuna up in Chilexpress's coverage of its region, by name and region
// both: codes of neighbours look alike, and names of comunas are parts of others.
func (c *Carrier) find(ctx context.Context, comuna, region string) (where, error) {
	want, known := wire.Comuna(comuna, region)
	if !known {
		return where{}, nil
	}
	regions, err := c.regions.Get(ctx, c.caller.Now(), "", c.readRegions)
	if err != nil {
		return where{}, err
	}
	id := regions[want.Region]
	if id == "" {
		return where{}, nil
	}
	areas, err := c.areas.Get(ctx, c.caller.Now(), id, func(ctx context.Context) ([]area, error) { return c.readAreas(ctx, id) })
	if err != nil {
		return where{}, err
	}
	return choose(areas, want, id), nil
}

// choose finds the row of a comuna: that of the comuna itself before that of a sector
// which bears its name.
func choose(areas []area, want chile.Comuna, region string) where {
	var found where
	for _, a := range areas {
		if a.Code == "" || a.Code == noCoverage || wire.Plain(a.Coverage) == "SIN COBERTURA" || string(a.Mode) == "2" {
			continue
		}
		if named, is := wire.Comuna(a.County, string(want.Region)); !is || named != want {
			continue
		}
		itself, is := wire.Comuna(a.Coverage, string(want.Region))
		if !found.served || is && itself == want {
			found = where{region: region, code: a.Code, county: a.County, served: true}
		}
	}
	return found
}

// readRegions reads the regions by their names: GET regions.
func (c *Carrier) readRegions(ctx context.Context) (map[chile.Region]string, error) {
	r := c.get(ctx, c.config.CoverageKey, "/georeference/api/v1.0/regions")
	var out struct {
		Regions []struct {
			ID   string `json:"regionId"`
			Name string `json:"regionName"`
		} `json:"regions"`
	}
	if !r.OK() || !r.Read(&out) || len(out.Regions) == 0 {
		return nil, failed(r)
	}
	ids := map[chile.Region]string{}
	for _, row := range out.Regions {
		if region, err := chile.ParseRegion(row.Name); err == nil {
			ids[region] = row.ID
		}
	}
	return ids, nil
}

// readAreas reads the comunas of a region: GET coverage-areas with type 1.
func (c *Carrier) readAreas(ctx context.Context, region string) ([]area, error) {
	r := c.get(ctx, c.config.CoverageKey, "/georeference/api/v1.0/coverage-areas?"+url.Values{"RegionCode": {region}, "type": {"1"}}.Encode())
	var out struct {
		Areas []area `json:"coverageAreas"`
	}
	if !r.OK() || !r.Read(&out) || out.Areas == nil {
		return nil, failed(r)
	}
	return out.Areas, nil
}

// officeKinds are the values of Type: own branches and partners' points.
//
// Unconfirmed: of two public clients one asks for own branches with 0, the other with
// 1. What an office is, is read from its officeType.
func officeKinds() []string { return []string{"0", "4"} }

// office is a branch (officeType 3) or a partner's point (4).
type office struct {
	Code   wire.Text `json:"officeCode"`
	Name   string    `json:"officeName"`
	Kind   wire.Text `json:"officeType"`
	Street string    `json:"streetName"`
	Number wire.Text `json:"streetNumber"`
	Hours  []string  `json:"businessHour"`
	Lat    *float64  `json:"latitude"`
	Lng    *float64  `json:"longitude"`
}

// Points lists branches and partners of a comuna: GET offices, once for each kind.
func (c *Carrier) Points(ctx context.Context, comuna, region string) ([]shipping.Point, error) {
	at, err := c.find(ctx, comuna, region)
	if err != nil || !at.served {
		return nil, err
	}
	official, _ := wire.Comuna(comuna, region)
	var points []shipping.Point
	for _, kind := range officeKinds() {
		query := url.Values{"Type": {kind}, "RegionCode": {at.region}, "CountyName": {at.county}}
		r := c.get(ctx, c.config.CoverageKey, "/georeference/api/v1.0/offices?"+query.Encode())
		var out struct {
			envelope
			Offices []office `json:"offices"`
		}
		read := r.Read(&out)
		if r.Status == http.StatusBadRequest && read && out.code() == codeNoOffice {
			continue // how Chilexpress says that there is none
		}
		if !r.OK() || !read {
			return nil, failed(r)
		}
		for _, o := range out.Offices {
			p := o.point()
			p.Comuna, p.Region = official.Name, string(official.Region)
			if p.ID != "" {
				points = append(points, p)
			}
		}
	}
	return points, nil
}

func (o office) point() shipping.Point {
	kind := "branch"
	if o.Kind == "4" {
		kind = "partner"
	}
	return shipping.Point{
		ID: o.id(), Name: o.Name, Kind: kind, Street: strings.TrimSpace(o.Street + " " + string(o.Number)), Hours: o.Hours,
		Lat: o.Lat, Lng: o.Lng,
	}
}

// id is what an order names as its commercialOfficeId.
//
// Unconfirmed: that it is the officeCode, not the addressId.
func (o office) id() string { return string(o.Code) }

// streetNumber is the number of an address as orders take it: digits, at most six. What
// is no such number goes into the supplement.
func streetNumber(p shipping.Place) (number, rest string) {
	if n, err := strconv.Atoi(strings.TrimSpace(p.Number)); err == nil && n >= 0 && n < 1_000_000 {
		return strconv.Itoa(n), p.Unit
	}
	return "0", strings.TrimSpace(p.Number + " " + p.Unit)
}
