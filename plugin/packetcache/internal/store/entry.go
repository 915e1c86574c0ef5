// SPDX-License-Identifier: Apache-2.0

package store

import (
	"sync/atomic"
	"time"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/wire"
)

// An Entry is one answer as it went to a client. Its exported fields do not change once it is stored. Times are monotonic, from
// a moment that the caller chooses.
type Entry struct {
	Key     []byte        // of the query (wire.ParseQuery)
	Hash    uint64        // of Key (Store.Hash)
	Wire    []byte        // the answer
	TTLs    []uint16      // the offset of each TTL in Wire (wire.Answer)
	Stored  time.Duration // when the answer came
	Expires time.Duration // when a query for it goes to the plugins again
	Ends    time.Duration // when the first TTL is over
	Value   any           // for the caller; the store does not look at it

	visited    atomic.Bool
	prev, next *Entry // towards the older, towards the younger
}

// Fresh reports whether e may be given as an answer without asking the plugins.
func (e *Entry) Fresh(now time.Duration) bool { return now < e.Expires }

// Ended reports whether a TTL of e is over.
func (e *Entry) Ended(now time.Duration) bool { return now >= e.Ends }

// Replay writes e to out as the answer to query, and returns its length. out must hold wire.MaxAnswer octets.
func (e *Entry) Replay(out, query []byte, now time.Duration) int {
	return wire.Replay(out, query, e.Wire, e.Key, e.TTLs, uint32((now-e.Stored)/time.Second))
}
