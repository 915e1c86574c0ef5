// SPDX-License-Identifier: Apache-2.0

// Package hostnet owns a DNS cache's piece of a node's network: a link with the cache's addresses, the firewall rules that
// steer DNS to it past connection tracking, and the table that sends DNS to the cluster's servers while the cache is away.
// It knows neither CoreDNS nor Kubernetes.
//
// What it sets up is arranged so that the kernel takes it back by itself when
// the process dies or hangs; docs/design.md has the facts this rests on.
package hostnet

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/fallback"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/link"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/uplink"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/xtables"
	"github.com/nodelocaldns/nodelocaldns/internal/unicast"
)

const (
	// DefaultInterface is the reference's name for its link.
	DefaultInterface = "nodelocaldns"

	// SelfQueryMark is the socket mark (SO_MARK) of the cache's queries to itself.
	SelfQueryMark = steering.SelfQueryMark

	// DefaultFallbackZone is the usual Config.FallbackZone: past the two of
	// Istio, and far below those of Antrea and OVN-Kubernetes.
	DefaultFallbackZone = 20
)

// Link and firewall kinds of a Config.
const (
	Auto     = "auto"
	None     = "none"
	TUN      = link.TUN
	Dummy    = link.Dummy
	IPTables = "iptables"
	NFTables = "nftables"
)

// Values of Config.Uplink.
const (
	// UplinkAuto accepts nothing that comes in by an interface of a default
	// route, unless pods may come in by it: the host's own firewall decides.
	UplinkAuto = "auto"
	// UplinkOpen accepts DNS from whoever it comes, as the reference does.
	UplinkOpen = "open"
)

// What callers need of the packages below this one.
type (
	// Event reports that the link, an address, or one of another instance has gone.
	Event = link.Event
	// Uplink is the interface of a default route.
	Uplink = uplink.Uplink
)

// What an Event says is gone: the link has gone, one of its addresses, or link or address of another instance.
const (
	LinkGone    = link.LinkGone
	AddressGone = link.AddressGone
	PeerGone    = link.PeerGone
)

// ErrLocked says that another program held the xtables lock for too long; the change was not made and can be tried again.
var ErrLocked = xtables.ErrLocked

// IsLocal reports whether the kernel takes packets to a for its own.
func IsLocal(a netip.Addr) bool { return link.IsLocal(a) }

// Leases returns for how long the kernel will keep each of addrs that a link of this host carries, unless somebody renews its
// lease; a negative time is for ever.
func Leases(addrs []netip.Addr) map[netip.Addr]time.Duration { return link.Leases(addrs) }

// The valid values of a Config.
var (
	Links     = []string{Auto, TUN, Dummy, None}
	Firewalls = []string{Auto, IPTables, NFTables, None}
	Uplinks   = []string{UplinkAuto, UplinkOpen}
)

// A Config is what the node's network is to be, apart from the addresses that DNS is steered to.
type Config struct {
	Interface  string        // at most 14 bytes; a second instance appends a digit
	Link       string        // Auto, TUN, Dummy or None
	Firewall   string        // Auto, IPTables, NFTables or None
	Addresses  []netip.Addr  // the cache's addresses, both families may be mixed
	Port       uint16        // the DNS port
	HealthPort uint16        // local health traffic to the first address is untracked too; 0: none
	Uplink     string        // UplinkAuto or UplinkOpen
	Lease      time.Duration // lifetime of the addresses without a renewal; 0: unlimited
	Fallback   []netip.Addr  // cluster DNS Service addresses, at most one a family; empty: no fallback table

	// FallbackZone is the first conntrack zone of the fallback table; the address at index n uses FallbackZone+n. With a
	// Fallback 1 to 65535, less room for the other addresses: 0 is the zone of everything else (NF_CT_DEFAULT_ZONE_ID of
	// linux/netfilter/nf_conntrack_zones_common.h).
	FallbackZone uint16
}

// Validate returns an error that names the first value that is out of range.
func (c Config) Validate() error {
	switch err := CheckInterface(c.Interface); {
	case err != nil:
		return fmt.Errorf("interface %q: %w", c.Interface, err)
	case !slices.Contains(Links, c.Link):
		return fmt.Errorf("link %q: want auto, tun, dummy or none", c.Link)
	case !slices.Contains(Firewalls, c.Firewall):
		return fmt.Errorf("firewall %q: want auto, iptables, nftables or none", c.Firewall)
	case !slices.Contains(Uplinks, c.Uplink):
		return fmt.Errorf("uplink %q: want auto or open", c.Uplink)
	case c.Lease != 0 && (c.Lease < 2*time.Second || c.Lease > time.Hour || c.Lease%time.Second != 0):
		return fmt.Errorf("lease %s: want 0 or whole seconds from 2s to 1h", c.Lease)
	}
	return errors.Join(c.validateAddresses(), c.validateFallback())
}

// CheckInterface returns an error if name cannot be a Config's Interface: the kernel takes 15 bytes without space, slash and
// colon, and neither "." nor ".." (dev_valid_name of linux/net/core/dev.c); a second instance appends a digit; a percent
// sign has the kernel choose a number.
func CheckInterface(name string) error {
	if name == "" || len(name) > 14 || name == "." || name == ".." || strings.ContainsAny(name, "/ \t\n:%") {
		return errors.New("want 1 to 14 characters without space, slash, colon or percent sign")
	}
	return nil
}

func (c Config) validateAddresses() error {
	if len(c.Addresses) == 0 {
		return errors.New("no address: name the cache's addresses, or bind the server block to them")
	}
	for i, a := range c.Addresses {
		switch err := unicast.Check(a); {
		case err != nil:
			return fmt.Errorf("address %w", err)
		case a.Zone() != "" || a.Is4In6():
			return fmt.Errorf("address %s: want one without a zone, and IPv4 not mapped to IPv6", a)
		case a.IsLoopback():
			return fmt.Errorf("address %s: a loopback address cannot be put on a link of its own", a)
		case slices.Contains(c.Addresses[:i], a):
			return fmt.Errorf("address %s: given twice", a)
		}
	}
	return nil
}

func (c Config) validateFallback() error {
	for i, f := range c.Fallback {
		if others := family.Of(f).Only(c.Fallback[:i]); len(others) > 0 {
			return fmt.Errorf("fallback %s: %s is given already; one address a family", f, others[0])
		}
		if err := unicast.CheckService(f); err != nil {
			return fmt.Errorf("fallback %w; want the address of the cluster DNS Service", err)
		}
		if f.Zone() != "" || f.IsLinkLocalUnicast() || f.Is4In6() {
			return fmt.Errorf("fallback %s: want the address of the cluster DNS Service", f)
		}
	}
	highest := math.MaxUint16 - len(c.Addresses) + 1
	if c.FallbackZone == 0 && len(c.Fallback) > 0 || int(c.FallbackZone) > highest {
		return fmt.Errorf("fallback zone %d: want a conntrack zone from 1 to %d, one for each address from there on", c.FallbackZone, highest)
	}
	return nil
}

// newFallback returns nil if cfg wants neither rules nor a fallback.
func newFallback(c Config) *fallback.Table {
	if c.Firewall == None && len(c.Fallback) == 0 {
		return nil
	}
	return fallback.New(c.Addresses, c.Port, c.Fallback, c.FallbackZone)
}

// Equal reports whether c and other say the same.
func (c Config) Equal(other Config) bool {
	return slices.Equal(c.Addresses, other.Addresses) && slices.Equal(c.Fallback, other.Fallback) &&
		c.Interface == other.Interface && c.Link == other.Link && c.Firewall == other.Firewall && c.Uplink == other.Uplink &&
		c.Port == other.Port && c.HealthPort == other.HealthPort && c.Lease == other.Lease && c.FallbackZone == other.FallbackZone
}
