// SPDX-License-Identifier: Apache-2.0

package kernel

import "github.com/vishvananda/netlink"

// newsRoom is the room for news of interfaces that wait to be read, in octets. The kernel gives less if net.core.rmem_max is less.
const newsRoom = 1 << 20

// A linkNews is the kernel's news of interfaces.
type linkNews struct {
	updates chan netlink.LinkUpdate // nil: there is no news. The channel is closed when news did not fit into the room.
	done    chan struct{}           // ends the news
	failed  bool                    // the last open; the log says so once
}

// open begins to receive news, and reports whether news comes.
func (n *linkNews) open(logf func(string, ...any)) bool {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{ReceiveBufferSize: newsRoom})
	if err != nil {
		close(done)
		if !n.failed {
			logf("Interfaces that have gone are not noticed: %v", err)
		}
		n.failed = true
		return false
	}
	*n = linkNews{updates: updates, done: done}
	return true
}

// close ends the news. The goroutine of package netlink ends when nobody keeps it from writing to the channel.
func (n *linkNews) close() {
	if n.updates == nil {
		return
	}
	close(n.done)
	go func(updates <-chan netlink.LinkUpdate) {
		for range updates {
		}
	}(n.updates)
	n.updates = nil
}
