// SPDX-License-Identifier: Apache-2.0

package hostnet

import "net/netip"

// EarlyFallback makes the fallback table for an instance that is still to come, in the form in which the last instance leaves
// it: it answers for the addresses with nothing behind them while nobody on this host has them. So a cache of another program
// keeps its queries, and a start that fails leaves these addresses with DNS. It returns the addresses that the table answers
// for; there are none where cfg asks for no table, and where Open refuses cfg or lacks the capability, and says so.
//
// A table that is there while an instance lives is that instance's: it is not touched. The connections that a dead instance's
// table remembers stay.
func EarlyFallback(cfg Config) ([]netip.Addr, error) {
	if cfg.Validate() != nil || checkCapability(cfg) != nil {
		return nil, nil
	}
	f := newFallback(cfg)
	if f == nil || len(f.routes) == 0 {
		return nil, nil
	}
	turn, err := takeTurn()
	if turn == nil {
		return nil, err // without an error: an instance is leaving, and makes the table
	}
	defer turn.release()
	if peers(-1) > 0 && fallbackExists() {
		return nil, nil
	}
	if err := f.Leave(); err != nil {
		return nil, err
	}
	return f.addresses(), nil
}
