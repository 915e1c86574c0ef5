// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// Renew makes the link carry the addresses, and renews their lease. repaired says that the link had gone since the last
// call. An error may be of one address, while the others are renewed. After the addresses have gone for good Renew does nothing.
func (n *Network) Renew() (repaired bool, err error) {
	if !slices.ContainsFunc(n.addrs, func(a Address) bool { return a.State != Absent }) {
		return false, nil
	}
	n.renewed = time.Now()
	back, err := n.link.Set(n.carried(), n.cfg.Lease)
	n.index.Store(int64(n.link.Index()))
	select {
	case <-n.lost:
		err = errors.Join(err, n.watch(n.cfg))
	default:
	}
	repaired, n.putBack = back || n.putBack, false
	return repaired, err
}

// keepLease renews the lease if a quarter of it is over: a step before may have taken long on a slow or busy node. A lease
// that has run out stays so, as the rules have to go before such addresses come back.
func (n *Network) keepLease() {
	if age := time.Since(n.renewed); age > n.cfg.Lease/4 && age < n.cfg.Lease {
		if repaired, _ := n.Renew(); repaired { // the next call of Renew returns the error, and is soon enough
			n.putBack = true
		}
	}
}

// whileRenewing runs f, which must touch neither link nor book, and keeps the lease meanwhile: on a slow or busy node the
// processes of iptables can take longer.
func (n *Network) whileRenewing(f func() error) error {
	if n.renewed.IsZero() || n.cfg.Lease == 0 {
		return f()
	}
	var renewing sync.WaitGroup
	done := make(chan struct{})
	renewing.Go(func() {
		ticker := time.NewTicker(n.cfg.Lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				n.keepLease()
			}
		}
	})
	err := f()
	close(done)
	renewing.Wait()
	return err
}
