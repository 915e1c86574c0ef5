// SPDX-License-Identifier: Apache-2.0

package link

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An Event says what went of what the cache needs.
type Event struct {
	Gone    Thing
	Address netip.Addr // with AddressGone
}

// A Thing is what an Event names; the zero Thing is nothing.
type Thing string

// The link, one of its addresses, or the like of another instance.
const (
	LinkGone    Thing = "link"
	AddressGone Thing = "address"
	PeerGone    Thing = "peer"
)

// A Watcher turns the kernel's messages about all links of the node into events about ours.
type Watcher struct {
	Prefix    string        // of the names of our links and our peers'
	Index     *atomic.Int64 // our link's
	Addresses []netip.Addr
	Out       chan Event // an event for which there is no room is dropped

	done chan struct{} // ends the watch
	lost atomic.Bool
}

// Lost reports whether the watch has ended by itself, as it does when the kernel had to drop messages, or could not begin.
func (w *Watcher) Lost() bool { return w != nil && w.lost.Load() }

// Stop ends the watch. A nil Watcher has none.
func (w *Watcher) Stop() {
	if w != nil {
		close(w.done)
	}
}

// Start begins the watch, once.
func (w *Watcher) Start() error {
	w.done = make(chan struct{})
	lost := func(error) { w.lost.Store(true) }
	links, addrs := make(chan netlink.LinkUpdate), make(chan netlink.AddrUpdate)
	if err := netlink.LinkSubscribeWithOptions(links, w.done, netlink.LinkSubscribeOptions{ErrorCallback: lost}); err != nil {
		lost(err)
		return fmt.Errorf("subscribing to link changes: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(addrs, w.done, netlink.AddrSubscribeOptions{ErrorCallback: lost}); err != nil {
		lost(err)
		return fmt.Errorf("subscribing to address changes: %w", err)
	}
	go func() {
		for u := range links {
			w.linkChanged(u)
		}
	}()
	go func() {
		for u := range addrs {
			w.addressChanged(u)
		}
	}()
	return nil
}

func (w *Watcher) linkChanged(u netlink.LinkUpdate) {
	switch gone := u.Header.Type == unix.RTM_DELLINK; {
	case int64(u.Index) == w.Index.Load() && (gone || u.IfInfomsg.Flags&unix.IFF_UP == 0):
		w.notify(Event{Gone: LinkGone})
	case gone && strings.HasPrefix(u.Attrs().Name, w.Prefix):
		w.notify(Event{Gone: PeerGone})
	}
}

func (w *Watcher) addressChanged(u netlink.AddrUpdate) {
	ip, _ := netip.AddrFromSlice(u.LinkAddress.IP)
	switch {
	case u.NewAddr || !slices.Contains(w.Addresses, ip.Unmap()):
	case int64(u.LinkIndex) == w.Index.Load():
		w.notify(Event{Gone: AddressGone, Address: ip.Unmap()})
	default:
		w.notify(Event{Gone: PeerGone})
	}
}

func (w *Watcher) notify(e Event) {
	select {
	case w.Out <- e:
	default:
	}
}
