// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"math/rand"
	"net"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// patience is the time for which a client waits for an answer. C libraries wait 5 s, and ask again.
const patience = 5 * time.Second

// load asks a cache what the pods of a node ask: look-ups at random times (a Poisson process). It asks as a C library does: A and
// AAAA at once, and the next name of the search list when both are answered.
type load struct {
	workload
	conn           net.Conn
	random         *rand.Rand
	sent, answered atomic.Int64
	mu             sync.Mutex
	waiting        map[uint16]chan struct{}
	id             uint16
}

func newLoad(w workload, conn net.Conn, seed int64) *load {
	return &load{workload: w, conn: conn, random: rand.New(rand.NewSource(seed)), waiting: map[uint16]chan struct{}{}}
}

// run asks until stop is closed.
func (l *load) run(stop <-chan struct{}) {
	go l.read()
	services, names := cumulate(l.shares(l.Services)), cumulate(l.shares(l.Names))
	next := time.Now()
	for {
		next = next.Add(time.Duration(l.random.ExpFloat64() / l.Lookups * float64(time.Second)))
		select {
		case <-stop:
			l.conn.Close()
			return
		case <-time.After(time.Until(next)): // the rate of the load
		}
		if l.random.Float64() >= l.Outside {
			go l.lookup(serviceName(l.choose(services)))
			continue
		}
		name := outsideName(l.choose(names))
		var all []string
		for _, domain := range searched {
			all = append(all, name+domain)
		}
		go l.lookup(all...)
	}
}

func cumulate(shares []float64) []float64 {
	sum := 0.0
	for i := range shares {
		sum += shares[i]
		shares[i] = sum
	}
	return shares
}

func (l *load) choose(cumulated []float64) int {
	return min(sort.SearchFloat64s(cumulated, l.random.Float64()), len(cumulated)-1)
}

// lookup asks for the names one after the other, and gives up when an answer does not come.
func (l *load) lookup(names ...string) {
	for _, name := range names {
		a, b := l.ask(name, dns.TypeA), l.ask(name, dns.TypeAAAA)
		timeout := time.After(patience)
		for _, answer := range []<-chan struct{}{a, b} {
			select {
			case <-answer:
			case <-timeout:
				return
			}
		}
	}
}

// ask sends a query. The channel is closed when the answer comes.
func (l *load) ask(name string, qtype uint16) <-chan struct{} {
	m := new(dns.Msg).SetQuestion(name, qtype)
	answer := make(chan struct{})
	l.mu.Lock()
	l.id++
	m.Id = l.id
	l.waiting[m.Id] = answer // in the place of one that was lost, after 65,536 others
	l.mu.Unlock()
	wire, err := m.Pack()
	if err != nil {
		panic(err) // the names are in this package, and well-formed
	}
	l.sent.Add(1)
	_, _ = l.conn.Write(wire) // fails while the cache is restarted; the query counts as lost
	return answer
}

func (l *load) read() {
	var buf [4096]byte
	for {
		n, err := l.conn.Read(buf[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 12 {
			continue // refused while the cache is restarted
		}
		id := binary.BigEndian.Uint16(buf[:])
		l.mu.Lock()
		if answer, ok := l.waiting[id]; ok {
			delete(l.waiting, id)
			l.answered.Add(1)
			close(answer)
		}
		l.mu.Unlock()
	}
}
