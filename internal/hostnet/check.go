// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/conntrack"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/instance"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/nftables"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/xtables"
)

// Findings are what a Check saw. They hold after an error, too.
type Findings struct {
	Peers   string   // who the other instances on the node are; empty: there is none
	Skipped bool     // rules and fallback table were not looked at, as they are another instance's business, too
	Broken  []string // what somebody has changed: "rules", "fallback"; it was put back, if there is no error
	By      string   // the processes that may have done it, as "nft (pid 4711)", of the host; empty: the kernel does not tell
	Bare    bool     // rules were seen to be missing, and are not back
}

// NameOf returns where an object of Findings.Broken is, for the log; firewall is that of the Status.
func NameOf(object, firewall string) string {
	switch {
	case object == "fallback":
		return "table " + fallback.Name
	case firewall == NFTables:
		return "table " + nftables.Table
	}
	return "chains " + steering.ChainPrefix + "*"
}

// Check looks whether rules and fallback table are as Apply left them, and puts back what somebody has changed. With thorough it
// may start processes, follows the uplinks, and looks also beside other instances. Without thorough it looks only when it is alone:
// the rules of other instances are for the same end, and two instances that correct each other would never come to rest.
// An instance that steers nothing leaves the rules to the others. Once the others have gone Check removes what they left.
func (n *Network) Check(thorough bool) (f Findings, err error) {
	n.keepLease()
	alone := n.alone()
	f.Peers = n.peerNames(alone)
	if !alone && (!thorough || len(n.steered()) == 0) {
		f.Skipped, f.Bare = true, n.trust == bare
		n.forgetOwn()
		return f, nil
	}
	err = n.inherit()
	if err == nil && thorough {
		err = n.followUplinks()
	}
	if err == nil {
		seen := n.changes.Seen() // these cannot have broken what is intact below
		f.Broken, err = n.intact(thorough)
		f.By = n.blame(seen, n.inNFTables(f.Broken))
	}
	if err == nil && n.trust <= bare {
		n.trust = sure
		if slices.Contains(f.Broken, "rules") {
			n.trust = bare
		}
	}
	if err == nil && len(f.Broken) > 0 {
		err = n.repair(f.Broken)
	}
	f.Bare = n.trust == bare
	return f, err
}

// blame returns who may have broken something. A thing that could not be put back was broken by whom an earlier look has found.
func (n *Network) blame(seen int, broken []string) string {
	if len(broken) == 0 {
		n.changes.Forget(seen)
		n.culprit = ""
	} else if by := n.changes.By(); by != "" {
		n.culprit = by
	}
	return n.culprit
}

// inNFTables returns what of broken is in nf_tables, whose changes the kernel tells of. The rules of iptables-legacy are not.
func (n *Network) inNFTables(broken []string) []string {
	if n.firewall.String() != xtables.Legacy {
		return broken
	}
	return slices.DeleteFunc(slices.Clone(broken), func(what string) bool { return what == "rules" })
}

// peerNames asks for the holders of the names once: it takes a look at all descriptors of all processes.
func (n *Network) peerNames(alone bool) string {
	if alone {
		n.peers = ""
	} else if n.peers == "" {
		n.peers = instance.PeerHolders(n.slot)
	}
	return n.peers
}

// inherit removes, once after the last of the other instances has gone, what Set does not replace of theirs. An instance that
// was killed, or was not alone when it left, may have had another backend. Where updates surge, nobody starts alone.
func (n *Network) inherit() error {
	if !n.leftovers || !n.alone() {
		return nil
	}
	turn, err := n.takeTurn()
	if err != nil {
		return err
	}
	defer turn.Release()
	if !n.alone() {
		return nil // one that has come since
	}
	err = n.whileRenewing(n.clearLeftovers)
	n.forgetOwn()
	n.leftovers = err != nil
	return err
}

// followUplinks makes the rules those of the default routes as they are now.
func (n *Network) followUplinks() error {
	before := n.uplinks
	changed, err := n.lookAtUplinks(n.cfg)
	if !changed || err != nil {
		return err
	}
	if _, err = n.inTurn(steer(n.book, n.book, setRules)); err != nil {
		n.uplinks = before // to be tried again
	}
	return err
}

// intact returns what somebody else changed.
func (n *Network) intact(thorough bool) (broken []string, err error) {
	err = n.whileRenewing(func() error {
		ok, err := n.firewall.Intact(thorough)
		if err == nil && !ok {
			broken = append(broken, "rules")
		}
		return err
	})
	if n.fallback != nil {
		ok, ferr := n.fallback.Intact()
		if ferr == nil && !ok {
			broken = append(broken, "fallback")
		}
		err = errors.Join(err, ferr)
	}
	return broken, err
}

// repair puts back what is broken. TCP connections that went past the cache while rules were missing are left alone, as when
// steering begins. Where the fallback table alone was missing none did, and left alone, those that began with the cache
// meanwhile would be reset.
func (n *Network) repair(broken []string) error {
	to := n.book
	if n.fallback != nil && slices.Contains(broken, "rules") {
		to = to.after(time.Now(), missed, all)
	}
	_, err := n.inTurn(steer(n.book, to, setRules))
	if err == nil && n.trust == bare {
		n.trust = sure
	}
	if err == nil && slices.Contains(broken, "rules") {
		n.forgetAnswers()
	}
	return err
}

// forgetAnswers removes the connections that answers of the cache began while rules were missing. Once steering is off, the rules of
// kube-proxy and of the fallback table would see no packet of such a connection. If the kernel cannot remove the connections,
// clients lose what they ask from the same port until the connections have run out.
func (n *Network) forgetAnswers() {
	_ = n.whileRenewing(func() error {
		_, err := conntrack.Forget(n.cfg.Addresses, n.cfg.Port)
		return err
	})
}

// Renew makes the link carry the addresses, and renews their lease. repaired says that the link had gone since the last
// call. An error may be of one address, while the others are renewed. After the addresses have gone for good Renew does nothing.
func (n *Network) Renew() (repaired bool, err error) {
	if !slices.ContainsFunc(n.addrs, func(a Address) bool { return a.State != Absent }) {
		return false, nil
	}
	n.renewed = time.Now()
	back, err := n.link.Set(n.carried(), n.cfg.Lease)
	n.index.Store(int64(n.link.Index()))
	if n.watcher.Lost() {
		err = errors.Join(err, n.watch(n.cfg))
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

// renewalBound is how long a lease is kept for one change of rules. Each of its commands is bounded; a change with all of them at
// their bounds takes about a minute.
const renewalBound = 2 * time.Minute

// whileRenewing runs f, which must touch neither link nor book, and keeps the lease meanwhile, for renewalBound at most: on a slow
// or busy node the processes of iptables can take longer than the lease.
func (n *Network) whileRenewing(f func() error) error {
	if n.renewed.IsZero() || n.cfg.Lease == 0 {
		return f()
	}
	var renewing sync.WaitGroup
	done := make(chan struct{})
	renewing.Go(func() {
		hung := time.After(renewalBound)
		ticker := time.NewTicker(n.cfg.Lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-hung: // the lease runs out, since a cache that looks after nothing must not be asked
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
