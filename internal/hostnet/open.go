// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/link"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/nftables"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/xtables"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// checkCapability says in one line what every later step would say in its own way.
func checkCapability(cfg Config) error {
	if cfg.Link == None && cfg.Firewall == None && len(cfg.Fallback) == 0 {
		return nil
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("asking for this process's capabilities: %w", err)
	}
	if data[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return errors.New("CAP_NET_ADMIN is missing: run as root, or add NET_ADMIN to the container's capabilities")
	}
	return nil
}

// openFirewall chooses and probes the backend. In auto that is iptables where its commands work: there, and only there, an
// accept rule can be placed in the host's own firewall.
func (n *Network) openFirewall(cfg Config) (Firewall, error) {
	fams := family.Among(cfg.Addresses)
	switch cfg.Firewall {
	case None:
		return noFirewall{}, nil
	case NFTables:
		return nftables.New(fams), nil
	}
	f, err := xtables.New(xtables.HostVariant(), fams)
	if err == nil {
		return f, nil
	}
	if cfg.Firewall == Auto {
		if _, nftErr := nft.Generation(); nftErr == nil {
			if errors.As(err, new(xtables.UnreadableError)) {
				n.warnings = append(n.warnings, noIPTables(err))
			}
			return nftables.New(fams), nil
		} else {
			err = errors.Join(err, nftErr)
		}
	}
	return nil, err
}

// noFirewall leaves the rules to somebody else.
type noFirewall struct{}

func (noFirewall) Set(steering.Wanted) error       { return nil }
func (noFirewall) Intact(bool) (bool, error)       { return true, nil }
func (noFirewall) Owns(string, family.Family) bool { return false }
func (noFirewall) Remove() error                   { return nil }
func (noFirewall) String() string                  { return "no rules" }

// openLink chooses the kind of link and checks that its name is free; it creates nothing.
func (n *Network) openLink(cfg Config) (link.Link, error) {
	l, warning, err := link.Open(cfg.Link, n.linkName(cfg), cfg.Addresses)
	if warning != "" {
		n.warnings = append(n.warnings, fmt.Sprintf("%s; after a crash DNS falls back within %s instead of at once", warning, cfg.Lease))
	}
	return l, err
}

// makeLink makes the link, without an address yet. A TUN link that another process keeps
// belongs to an instance that does not know of this one, and the rules with it: they stay.
func (n *Network) makeLink() error {
	_, err := n.link.Set(nil, n.cfg.Lease)
	if errors.Is(err, unix.EBUSY) {
		n.firewall, n.fallback = nil, nil // abandon leaves them alone
		err = fmt.Errorf("%w: a process holds it that is no instance of this version: end it first (ps -C nodelocaldns)", err)
	}
	return err
}
