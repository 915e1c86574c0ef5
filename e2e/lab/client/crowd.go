// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// Manners is what a TCP connection of a Crowd does.
type Manners string

// The manners of connections.
const (
	Idle     Manners = "idle"     // says nothing
	Dripping Manners = "dripping" // sends a query at one octet in half a second
	Greedy   Manners = "greedy"   // asks and asks, and never reads an answer
	Hasty    Manners = "hasty"    // resets each connection as soon as it is made
)

// Crowd is a number of TCP connections of one pod to port 53. A connection that the server ends is replaced.
type Crowd struct {
	From    *netns.Namespace
	Target  netip.Addr
	Sources []netip.Addr // of the connections, in turn; none: the kernel chooses
	Size    int
	Manners Manners
}

// Gathering is a running crowd.
type Gathering struct {
	Crowd
	end     context.CancelFunc
	members sync.WaitGroup
	open    atomic.Int64
	made    atomic.Int64
}

// crowdPause is the time between two connections in the same place. Without it a crowd that is refused would take all the CPU
// time.
const crowdPause = 50 * time.Millisecond

// Start begins to connect. The crowd ends with the test, if it is not stopped before.
func (c Crowd) Start(t testing.TB) *Gathering {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	g := &Gathering{Crowd: c, end: end}
	for i := range c.Size {
		var from netip.Addr
		if len(c.Sources) > 0 {
			from = c.Sources[i%len(c.Sources)]
		}
		g.members.Go(func() {
			for ctx.Err() == nil {
				g.connect(ctx, netip.AddrPortFrom(from, 0))
				wait(ctx, crowdPause)
			}
		})
	}
	t.Cleanup(func() { g.Stop() })
	return g
}

// Stop ends all connections and returns how many were made in all.
func (g *Gathering) Stop() int {
	g.end()
	g.members.Wait()
	return int(g.made.Load())
}

// Open is how many connections there are at the moment.
func (g *Gathering) Open() int { return int(g.open.Load()) }

// connect makes one connection, and does with it as the manners say until it ends.
func (g *Gathering) connect(ctx context.Context, from netip.AddrPort) {
	conn, err := g.From.DialFrom("tcp", from, Port53(g.Target), 2*time.Second)
	if err != nil {
		return
	}
	defer conn.Close()
	g.made.Add(1)
	g.open.Add(1)
	defer g.open.Add(-1)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	switch g.Manners {
	case Idle:
		_, _ = conn.Read(make([]byte, 1)) // returns when the connection ends
	case Dripping:
		for _, octet := range framed("drip.wild.cluster.local.") {
			if _, err := conn.Write([]byte{octet}); err != nil || !wait(ctx, 500*time.Millisecond) {
				return
			}
		}
	case Greedy:
		for query := framed("big.cluster.local."); err == nil; {
			_, err = conn.Write(query)
		}
	case Hasty:
		_ = conn.(*net.TCPConn).SetLinger(0) // the close becomes a reset
	}
}

// framed is a query for TXT records as TCP carries it.
func framed(name string) []byte {
	message := packed(name, dns.TypeTXT)
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
}

// wait waits for the time d. It returns false if the context ends before.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
