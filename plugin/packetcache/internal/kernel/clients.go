// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"net/netip"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
)

// Asked is what a client was answered by the program.
type Asked struct {
	Client         netip.Addr
	Last           *store.Entry // one of the answers; nil: it has expired
	Hits, NXDomain uint64       // NXDomain is the number of hits with that answer
}

// An admission is the structure of that name of the program.
type admission struct {
	until, hits, nxdomain, mac uint64
	last, _                    uint32
}

// clients are those that the program answers. All else is as if they had no room: they are answered by the process.
type clients struct {
	m     *ebpf.Map
	slots []admission // mapped: the program reads until and counts
	of    map[answerClient]admitted
	free  []uint32 // indices in slots; the one that has been free for longest is the first
	quota quota    // of what is free
}

// A quota is what the interfaces take of: places, or calls. An interface gets no more than it leaves to all others. So a client that
// invents addresses does not keep clients at other interfaces from being admitted.
type quota struct {
	left  int
	taken map[uint32]int // by interface
}

func newQuota(n int) quota { return quota{n, map[uint32]int{}} }

// take takes one, if the interface may have one.
func (s *quota) take(ifindex uint32) bool {
	if s.taken[ifindex] >= s.left {
		return false
	}
	s.left--
	s.taken[ifindex]++
	return true
}

// giveBack gives one back that an interface took.
func (s *quota) giveBack(ifindex uint32) {
	s.left++
	if s.taken[ifindex]--; s.taken[ifindex] == 0 {
		delete(s.taken, ifindex)
	}
}

// admitted is a client with an admission.
type admitted struct {
	client netip.Addr
	slot   uint32
}

func newClients(m *ebpf.Map, slots []admission) clients {
	c := clients{m: m, slots: slots, of: map[answerClient]admitted{}, quota: newQuota(len(slots))}
	for i := range slots {
		c.free = append(c.free, uint32(i))
	}
	return c
}

// admit has the program answer a client, from an Ethernet address, until a time of CLOCK_MONOTONIC, in ns. If there is no room for a
// further client, or none at its interface, admit does nothing: a client whose time is over makes room.
func (c *clients) admit(client netip.Addr, ifindex uint32, server uint16, mac, until uint64) error {
	key := answerClient{Ip: wordsOf(client), Interface: ifindex, Server: uint32(server)}
	if a, ok := c.of[key]; ok {
		c.slots[a.slot].admit(mac, until)
		return nil
	}
	if !c.quota.take(ifindex) {
		return nil
	}
	slot := c.free[0]
	c.slots[slot].admit(mac, until)
	if err := c.m.Put(&key, slot); err != nil {
		c.quota.giveBack(ifindex)
		return err
	}
	c.of[key], c.free = admitted{client, slot}, c.free[1:]
	return nil
}

func (a *admission) admit(mac, until uint64) {
	atomic.StoreUint64(&a.mac, mac)
	atomic.StoreUint64(&a.until, until)
}

// harvest tells what each client was answered since the last harvest. It forgets the clients whose time is over, and those of servers that
// serve no more.
func (c *clients) harvest(now uint64, serves func(server uint16) bool, tell func(client netip.Addr, a *admission)) {
	for key, who := range c.of {
		slot := &c.slots[who.slot]
		a := admission{
			nxdomain: atomic.SwapUint64(&slot.nxdomain, 0), hits: atomic.SwapUint64(&slot.hits, 0), last: atomic.LoadUint32(&slot.last),
		}
		if a.hits > 0 {
			tell(who.client, &a)
		}
		if atomic.LoadUint64(&slot.until) >= now && serves(uint16(key.Server)) {
			continue
		}
		if err := c.m.Delete(&key); err == nil || errors.Is(err, ebpf.ErrKeyNotExist) {
			delete(c.of, key)
			c.free = append(c.free, who.slot)
			c.quota.giveBack(key.Interface)
		}
	}
}
