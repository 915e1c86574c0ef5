// SPDX-License-Identifier: Apache-2.0

package nodecheck

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/instance"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/link"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
	"github.com/nodelocaldns/nodelocaldns/internal/proxymode"
	"github.com/nodelocaldns/nodelocaldns/internal/sockets"
)

// A Listener is a port at which the cache will listen.
type Listener struct {
	Port uint16
	All  bool   // of all addresses; else of the cache's addresses
	For  string // what it is for
}

// A Link is a network interface.
type Link struct {
	Name, Type string
	Ours       bool // an instance of this program made it
	Addresses  []netip.Addr
}

// Env is the node, and what the cache is to do there.
type Env struct {
	Addresses  []netip.Addr // of the cache
	ClusterDNS []netip.Addr // servers of the cluster DNS, as the cache asks them; none: not known
	KubeDNS    netip.Addr   // the ClusterIP of Service kube-dns; zero: not known
	Domain     string       // of the cluster, such as cluster.local
	LinkName   string       // such as nodelocaldns
	LinkKind   string       // auto, tun, dummy or none
	Firewall   string       // auto, iptables, nftables or none
	Listeners  []Listener
	DNSPort    uint16 // of the cluster DNS
	Metrics    string // HOST:PORT of a running cache's metrics

	Proc, Root, ResolvConf string // /proc; where the host's /etc, /run and /usr are; path of resolv.conf

	Running   bool // an instance of this program runs on the node
	Mode      func() proxymode.Mode
	Links     func() ([]Link, error)
	Sockets   func(network string) ([]sockets.Socket, error)
	Owner     func(sockets.Socket) string // names the process
	LookPath  func(string) (string, error)
	HasTUN    func() error // nil: a TUN link can be made
	HasDummy  func() error // nil: a dummy link can be made, or it cannot be found out
	HasTables func() error // nil: the kernel has nf_tables
}

// ThisNode fills in what the flags do not say.
func (e *Env) ThisNode() {
	e.Proc, e.Root, e.ResolvConf = "/proc", "", "/etc/resolv.conf"
	if os.Getpid() != 1 {
		// In a container with the host's processes this is the host. In any other it is the container.
		e.Root = "/proc/1/root"
	}
	e.Running = len(instance.Holders()) > 0
	e.Mode, e.Links, e.Sockets, e.LookPath = proxymode.Detect, links, sockets.List, exec.LookPath
	e.Owner = func(s sockets.Socket) string { return s.Owner() }
	e.HasTUN, e.HasDummy = link.HasTUN, hasDummy
	e.HasTables = func() error { _, err := nft.Generation(); return err }
}

func links() (all []Link, err error) {
	found, err := link.Uninterrupted(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	for _, l := range found {
		one := Link{Name: l.Attrs().Name, Type: l.Type(), Ours: link.Ours(l.Attrs().Alias)}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			continue // it has gone meanwhile
		}
		for _, a := range addrs {
			ip, _ := netip.AddrFromSlice(a.IP)
			one.Addresses = append(one.Addresses, ip.Unmap())
		}
		all = append(all, one)
	}
	return all, nil
}

// hasDummy tries it in a network namespace of its own, which ends with the thread. Without the privilege for one there is no
// telling, and no error.
func hasDummy() error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocks it, so that the thread ends with the goroutine
		if unix.Unshare(unix.CLONE_NEWNET) != nil {
			result <- nil
			return
		}
		h, err := netlink.NewHandle()
		if err == nil {
			err = h.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "probe"}})
			h.Close()
		}
		result <- err
	}()
	return <-result
}

// carrier returns the link that carries a; ok is false if none does.
func (e *Env) carrier(a netip.Addr) (l Link, ok bool) {
	all, err := e.Links()
	if err != nil {
		return Link{}, false
	}
	i := slices.IndexFunc(all, func(l Link) bool { return slices.Contains(l.Addresses, a) })
	if i < 0 {
		return Link{}, false
	}
	return all[i], true
}
