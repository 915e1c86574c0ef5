// SPDX-License-Identifier: Apache-2.0

// Package serverblocks gives the setup function of a plugin all server blocks of the Corefile.
//
// caddy gives a setup function only the tokens of its own directive.
package serverblocks

import (
	"bytes"
	"errors"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
)

type key struct{}

// Of returns all server blocks of the Corefile of c, in order. c.ServerBlockIndex is the index of the caller's block. Imports and
// environment variables are expanded. Of parses the Corefile once for each configuration.
func Of(c *caddy.Controller) ([]caddyfile.ServerBlock, error) {
	if blocks, ok := c.Get(key{}).([]caddyfile.ServerBlock); ok {
		return blocks, nil
	}
	instances := caddy.Instances()
	if len(instances) == 0 {
		return nil, errors.New("no configuration is being set up")
	}
	input := instances[len(instances)-1].Caddyfile() // the last one is being set up
	blocks, err := caddyfile.Parse(input.Path(), bytes.NewReader(input.Body()), nil)
	if err != nil {
		return nil, err
	}
	c.Set(key{}, blocks)
	return blocks, nil
}

// Give has Of return blocks for the configuration of c, which caddy does not start.
func Give(c *caddy.Controller, blocks []caddyfile.ServerBlock) { c.Set(key{}, blocks) }
