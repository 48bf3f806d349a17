package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"justlogistics/internal/warehouse/sprp"
)

// routeCommand is for comparing our routes with published ones, and for looking
// at one.
type routeCommand struct {
	File   string `arg:"" help:"Instance in the SPRP format (github.com/katrinhessler/SPRP-SS); - reads standard input."`
	Blocks int    `default:"0" enum:"0,1,2" help:"Solve it with this many blocks; 0: as many as its LAYOUT says. Published two-block results are of single-block files."`
	JSON   bool   `name:"json" help:"Print the route as JSON."`
}

// Run is called by kong.
func (c routeCommand) Run() error { return c.run(os.Stdin, os.Stdout) }

func (c routeCommand) run(in io.Reader, out io.Writer) error {
	r, err := c.solve(in)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if c.JSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	return r.writeText(out)
}

func (c routeCommand) solve(in io.Reader) (foundRoute, error) {
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return foundRoute{}, err
		}
		defer f.Close()
		in = f
	}
	instance, err := sprp.Parse(in)
	if err != nil {
		return foundRoute{}, err
	}
	if c.Blocks != 0 {
		instance.Blocks = c.Blocks
	}
	s, err := instance.Solve()
	if err != nil {
		return foundRoute{}, err
	}
	r := foundRoute{
		Length: json.Number(sprp.Units(s.Length)), SShape: json.Number(sprp.Units(s.SShape)),
		Blocks: instance.Blocks, Proven: s.Proven, Picks: s.Picks,
	}
	if s.SShape > 0 {
		r.Saved = float64(s.SShape-s.Length) / float64(s.SShape)
	}
	return r, nil
}

// foundRoute is what the command prints. Lengths are in the unit of the file.
type foundRoute struct {
	Length json.Number     `json:"length"`
	SShape json.Number     `json:"s_shape"`
	Saved  float64         `json:"saved"` // of the S-shape's length
	Blocks int             `json:"blocks"`
	Proven bool            `json:"proven_shortest"`
	Picks  []sprp.Location `json:"picks"`
}

// writeText prints the length alone in the first line, for scripts.
func (r foundRoute) writeText(out io.Writer) error {
	proof := "no route is shorter"
	if !r.Proven {
		proof = "the best found; articles lie in too many places to try every choice of them"
	}
	_, err := fmt.Fprintf(out, "%s\n\n%s\nS-shape: %s, %.1f %% saved\n%d picks:\n", r.Length, proof, r.SShape, 100*r.Saved, len(r.Picks))
	for i, p := range r.Picks {
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%4d. aisle %d, cell %d: %d of article %d\n", i+1, p.Aisle, p.Cell, p.Quantity, p.Article)
	}
	return err
}
