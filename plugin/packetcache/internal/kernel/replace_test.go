// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// TestReplaced has two answers to one question replace each other while the program runs. What the program gives is wholly one of
// them: the name of the text, and its 200 octets, are of one number.
func TestReplaced(t *testing.T) {
	nettest.InNamespace(t)
	p, servers, _ := loaded(t)
	query, err := new(dns.Msg).SetQuestion("www.example.org.", dns.TypeTXT).Pack()
	if err != nil {
		t.Fatal(err)
	}
	one := entryFor(t, query, `www.example.org. 30 IN TXT "`+string(bytes.Repeat([]byte{'1'}, 200))+`"`)
	two := entryFor(t, query, `www.example.org. 30 IN TXT "`+string(bytes.Repeat([]byte{'2'}, 200))+`"`)
	servers[server4].Put(one, at(0))
	var ended atomic.Bool
	var writer sync.WaitGroup
	writer.Go(func() {
		for !ended.Load() {
			servers[server4].Put(two, at(0))
			servers[server4].Put(one, at(0))
		}
	})
	f := frame(client4, server4, query, complete)
	counts := map[byte]int{}
	for i := 0; i < 200000 && (i < 20000 || len(counts) < 2); i++ {
		binary.BigEndian.PutUint16(f[14+20+8:], 0) // the ID is 0
		repair(f, 14+20)
		out := run(t, p, f)
		if out == nil { // it was being written: the process answers
			continue
		}
		text := message(t, out, client4, server4, complete)
		text = text[len(text)-200:]
		counts[text[0]]++
		if !bytes.Equal(text, bytes.Repeat(text[:1], 200)) || t.Failed() {
			t.Errorf("mixed: %q", text)
			break
		}
	}
	ended.Store(true)
	writer.Wait()
	if counts['1'] == 0 || counts['2'] == 0 {
		t.Errorf("answers by number: %v", counts)
	}
}
