// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
)

// FuzzProgram compares the program with the Go code that reads queries and writes answers. For a query that the Go code has the same
// key for as the known one the program gives the same answer; to all others it gives none.
func FuzzProgram(f *testing.F) {
	var query []byte
	f.Add([]byte(nil), uint16(0), byte(0))                                // the query itself
	f.Add([]byte{0xab, 0xcd, 0x01}, uint16(0), byte(0))                   // another ID
	f.Add([]byte{'W' ^ 'w'}, uint16(13), byte(0))                         // another spelling
	f.Add([]byte{0x20}, uint16(3), byte(0))                               // AD
	f.Add([]byte{0x80}, uint16(2), byte(1))                               // an answer
	f.Add([]byte{0, 1}, uint16(29), byte(2))                              // another type
	f.Add(bytes.Repeat([]byte{1}, 60), uint16(12), byte(3))               // no name
	f.Add([]byte{3, 0, 0, 0, 0, 0, 0, 0x80, 0, 0}, uint16(34), byte(0xf)) // the OPT record
	f.Fuzz(func(t *testing.T, xor []byte, at uint16, cut byte) {
		nettest.InNamespace(t)
		p, servers, _ := loaded(t)
		query = known(t, servers)
		key, _ := wire.ParseQuery(query, make([]byte, 0, wire.MaxKey))
		e := entryFor(t, query, "www.example.org. 30 IN A 192.0.2.1")
		changed := bytes.Clone(query)
		for i, b := range xor {
			if at := int(at)%len(changed) + i; at < len(changed) {
				changed[at] ^= b
			}
		}
		changed = changed[:len(changed)-int(cut)%len(changed)]
		got, ok := wire.ParseQuery(changed, make([]byte, 0, wire.MaxKey))
		same := ok && bytes.Equal(got, key)
		out := run(t, p, frame(client4, server4, changed, complete))
		if same != (out != nil) {
			t.Fatalf("% x: the same question %v, answered % x", changed, same, out)
		}
		if !same {
			return
		}
		want := make([]byte, wire.MaxAnswer)
		want = want[:e.Replay(want, changed, time.Duration(0))]
		// The answer was stored when the clock began, so that its TTLs have ended long ago: all but them is compared.
		if got := message(t, out, client4, server4, complete); !bytes.Equal(got[:12+21], want[:12+21]) || len(got) != len(want) {
			t.Fatalf("answered\n% x, want\n% x", got, want)
		}
	})
}
