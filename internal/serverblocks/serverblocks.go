// SPDX-License-Identifier: Apache-2.0

// Package serverblocks tells a plugin's setup function what the Corefile says around its own directive.
//
// caddy hands a setup function the tokens of one directive and no others.
package serverblocks

import (
	"bytes"
	"errors"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
)

type key struct{}

// Of returns all server blocks of the Corefile that c belongs to, in order; c.ServerBlockIndex is the place of
// the caller's own. Imports and environment variables are expanded. The Corefile is parsed once for each
// configuration, whatever the number of callers.
func Of(c *caddy.Controller) ([]caddyfile.ServerBlock, error) {
	if blocks, ok := c.Get(key{}).([]caddyfile.ServerBlock); ok {
		return blocks, nil
	}
	instances := caddy.Instances()
	if len(instances) == 0 {
		return nil, errors.New("no configuration is being set up")
	}
	input := instances[len(instances)-1].Caddyfile() // the latest is the one that is being set up
	blocks, err := caddyfile.Parse(input.Path(), bytes.NewReader(input.Body()), nil)
	if err != nil {
		return nil, err
	}
	c.Set(key{}, blocks)
	return blocks, nil
}
