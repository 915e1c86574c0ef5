// SPDX-License-Identifier: Apache-2.0

// Package keep stores the answers of upstreams in bounded memory that outlives the configuration. With a directory the answers
// outlive the process, too. Of identical questions at the same time only one goes to the upstream.
package keep

import (
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"

	"github.com/nodelocaldns/nodelocaldns/internal/background"
	"github.com/nodelocaldns/nodelocaldns/internal/memlimit"
	"github.com/nodelocaldns/nodelocaldns/internal/serverblocks"
	"github.com/nodelocaldns/nodelocaldns/plugin/keep/internal/store"
)

func init() { plugin.Register("keep", setup) }

const maxBareDenial = 5 * time.Minute

// directive is one directive of a Corefile. Options that it does not give are zero.
type directive struct {
	store.Options
	bareDenial time.Duration
	where      string // FILE:LINE
}

// config holds the options of all directives of a Corefile.
type config struct {
	store.Options
	dirAt, sizeAt string // FILE:LINE of the first directive with the option
}

type configKey struct{}

func setup(c *caddy.Controller) error {
	d, err := parse(c)
	if err != nil {
		return plugin.Error("keep", err)
	}
	blocks, err := serverblocks.Of(c)
	if err != nil {
		return plugin.Error("keep", err)
	}
	conf, ok := c.Get(configKey{}).(*config)
	if !ok {
		conf = &config{Options: store.Options{Size: min(store.DefaultSize, memlimit.Process().Share(store.DefaultSize))}}
		c.Set(configKey{}, conf)
		c.OnStartup(func() error { return shared.Open(conf.Options) })
	}
	if err := conf.add(d); err != nil {
		return plugin.Error("keep", err)
	}
	own := blocks[c.ServerBlockIndex]
	k := &Keep{
		process: &shared, block: hashOf(own), rules: rulesOf(own.Tokens["cache"]), behind: background.New(math.MaxInt, patience),
	}
	k.rules.bareDenial = d.bareDenial
	c.OnShutdown(k.behind.Close)
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		k.Next = next
		return k
	})
	return nil
}

// add adds the options of d. It returns an error if another server block has other values.
func (conf *config) add(d directive) error {
	if d.Dir != "" {
		if conf.dirAt != "" && conf.Dir != d.Dir {
			return fmt.Errorf("%s: the directory differs from that at %s: say the same in each server block, or nothing", d.where, conf.dirAt)
		}
		conf.Dir, conf.dirAt = d.Dir, d.where
	}
	if d.Size != 0 {
		if conf.sizeAt != "" && conf.Size != d.Size {
			return fmt.Errorf("%s: size differs from that at %s: say the same in each server block, or nothing", d.where, conf.sizeAt)
		}
		conf.Size, conf.sizeAt = d.Size, d.where
	}
	return nil
}

// parse reads one directive.
func parse(c *caddy.Controller) (d directive, err error) {
	for i := 0; c.Next(); i++ {
		d.where = fmt.Sprintf("%s:%d", c.File(), c.Line())
		if i > 0 {
			return d, c.Err("given twice in one server block")
		}
		args := c.RemainingArgs()
		if len(args) > 1 {
			return d, c.ArgErr()
		}
		if len(args) == 1 {
			if !filepath.IsAbs(args[0]) {
				return d, c.Errf("directory %q: want an absolute path", args[0])
			}
			d.Dir = filepath.Clean(args[0])
		}
		for c.NextBlock() {
			name, args := c.Val(), c.RemainingArgs()
			if len(args) != 1 {
				return d, c.Errf("%s: want one value, got %d", name, len(args))
			}
			if err := d.set(c, name, args[0]); err != nil {
				return d, err
			}
		}
	}
	return d, nil
}

func (d *directive) set(c *caddy.Controller, name, value string) (err error) {
	switch name {
	case "size":
		if d.Size, err = strconv.Atoi(value); err != nil || d.Size < store.MinSize || d.Size > store.MaxSize {
			return c.Errf("size %q: want octets, from %d to %d", value, store.MinSize, store.MaxSize)
		}
	case "bare_denial":
		if d.bareDenial, err = time.ParseDuration(value); err != nil || d.bareDenial < time.Second || d.bareDenial > maxBareDenial {
			return c.Errf("bare_denial %q: want a duration such as 5s, from 1s to 5m", value)
		}
	default:
		return c.Errf("unknown option %q: known are size and bare_denial", name)
	}
	return nil
}
