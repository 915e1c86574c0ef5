// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/bench/loads"
)

// upstream is the server that the caches ask. Its argument is its address.
func upstream(args []string) error {
	addr, err := listenAddress(args)
	if err != nil {
		return err
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		_ = w.WriteMsg(loads.Answer(r)) // the client may be gone
	})
	done := make(chan error, 2)
	for _, network := range []string{"udp", "tcp"} {
		s := &dns.Server{Addr: addr.String(), Net: network, Handler: handler, MaxTCPQueries: -1}
		go func() { done <- s.ListenAndServe() }()
	}
	return fmt.Errorf("serving: %w", <-done)
}
