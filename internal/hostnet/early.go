// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"net/netip"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/instance"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
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
	return earlyFallback(cfg, func(*fallback.Table) bool { return false })
}

// ForeseenFallback is EarlyFallback before the configuration is read, for what may be less than that says. The table of a dead
// instance that answers for all addresses of cfg in that form stays as it is: it may have more of them, or another target.
func ForeseenFallback(cfg Config) ([]netip.Addr, error) {
	return earlyFallback(cfg, (*fallback.Table).IsLeft)
}

func earlyFallback(cfg Config, stays func(*fallback.Table) bool) ([]netip.Addr, error) {
	if cfg.Validate() != nil || checkCapability(cfg) != nil {
		return nil, nil
	}
	f := newFallback(cfg)
	if len(f.Addresses()) == 0 {
		return nil, nil
	}
	turn, err := instance.TakeTurn()
	if err != nil || turn == nil && fallback.Exists() {
		return nil, err // without an error: an instance is leaving, and makes the table
	}
	defer turn.Release()
	if instance.Peers(-1) > 0 && fallback.Exists() {
		return nil, nil
	}
	if !stays(f) {
		err = f.Leave()
	}
	if err != nil {
		return nil, err
	}
	return f.Addresses(), nil
}

// RemoveFallback takes the fallback table away, of whatever family, for a configuration that wants none. The table of an
// instance that lives, or that is leaving, stays.
func RemoveFallback() error {
	turn, err := instance.TakeTurn()
	if turn == nil {
		return err
	}
	defer turn.Release()
	if instance.Peers(-1) > 0 {
		return nil
	}
	return nft.RemoveTables(fallback.Name, family.Both...)
}
