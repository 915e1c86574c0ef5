// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"net/netip"
	"slices"
)

// EarlyFallback makes the fallback table before an instance opens its network. The table has the form in which the last
// instance leaves it. It answers for the addresses that have nothing behind them, while no link of this host carries them. So
// another program's cache keeps its queries, and the addresses have DNS after a start that fails.
//
// EarlyFallback returns the addresses that the table answers for. There are none if cfg asks for no table, or if Open would
// refuse cfg; Open then returns the error.
//
// EarlyFallback does not touch the table of an instance that lives. It keeps the connections that a dead instance's table
// remembers.
func EarlyFallback(cfg Config) ([]netip.Addr, error) {
	return earlyFallback(cfg, (*Fallback).Leave)
}

// ForeseenFallback is EarlyFallback before the configuration is read, for what may be less than that says. The table of a dead
// instance that answers for all addresses of cfg in that form stays as it is: it may have more of them, or another target.
func ForeseenFallback(cfg Config) ([]netip.Addr, error) {
	return earlyFallback(cfg, func(f *Fallback) error {
		if f.isLeft() {
			return nil
		}
		return f.Leave()
	})
}

func earlyFallback(cfg Config, leave func(*Fallback) error) ([]netip.Addr, error) {
	if cfg.Validate() != nil || checkCapability(cfg) != nil {
		return nil, nil
	}
	f := newFallback(cfg)
	if f == nil || len(f.routes) == 0 {
		return nil, nil
	}
	turn, err := takeTurn()
	if err != nil || turn == nil && fallbackExists() {
		return nil, err // without an error: an instance is leaving, and makes the table
	}
	defer turn.release()
	if peers(-1) > 0 && fallbackExists() {
		return nil, nil
	}
	if err := leave(f); err != nil {
		return nil, err
	}
	return f.addresses(), nil
}

// RemoveFallback takes the fallback table away, of whatever family, for a configuration that wants none. The table of an
// instance that lives, or that is leaving, stays.
func RemoveFallback() error {
	turn, err := takeTurn()
	if turn == nil {
		return err
	}
	defer turn.release()
	if peers(-1) > 0 {
		return nil
	}
	return removeTables(fallbackTable, false, true)
}

// isLeft reports whether a table is there that answers for all of f's addresses as Leave makes it, with whatever target.
// A table that cannot be read is none.
func (f *Fallback) isLeft() bool {
	for _, six := range families(f.addresses()) {
		rewrites, err := readRewrites(six)
		if err != nil {
			return false
		}
		for _, a := range f.addresses() {
			here := func(w rewrite) bool { return w.addr == a && w.port == f.port }
			anyCase := func(w rewrite) bool { return here(w) && w.anyCase }
			if a.Is6() == six && (!slices.ContainsFunc(rewrites, here) || slices.ContainsFunc(rewrites, anyCase)) {
				return false
			}
		}
	}
	return true
}
