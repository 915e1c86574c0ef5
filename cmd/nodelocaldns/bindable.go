// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
)

// bindable refuses a Corefile with an address in bind that no interface has, nor
// will have: own, and what the nodelocal stanzas name, come with the link. CoreDNS
// would find that out after it has opened other sockets. caddy leaves these open,
// so no other configuration could be tried then.
func bindable(path string, text []byte, own []netip.Addr) error {
	blocks, err := caddyfile.Parse(path, bytes.NewReader(text), nil)
	if err != nil {
		return corefiles.Plain(err)
	}
	own = slices.Clone(own)
	for _, b := range blocks {
		stanza := literals(b.Tokens["nodelocal"])
		if len(stanza) == 0 && len(b.Tokens["nodelocal"]) > 0 {
			stanza = literals(b.Tokens["bind"]) // which a stanza without addresses stands for
		}
		for _, l := range stanza {
			own = append(own, l.addr)
		}
	}
	for _, b := range blocks {
		for _, l := range literals(b.Tokens["bind"]) {
			if slices.Contains(own, l.addr) || !absent(l.addr) {
				continue
			}
			if l.File == "" {
				l.File = path // only tokens of imported files name theirs
			}
			return fmt.Errorf("%s:%d: bind %s: no interface has this address, and no nodelocal stanza names it", l.File, l.Line, l.Text)
		}
	}
	return nil
}

// A literal is an IP address as a Corefile has it.
type literal struct {
	caddyfile.Token
	addr netip.Addr
}

// literals returns the addresses among the arguments of a directive, without
// those of its options, which are in braces.
func literals(tokens []caddyfile.Token) (list []literal) {
	depth := 0
	for _, t := range tokens {
		switch t.Text {
		case "{":
			depth++
		case "}":
			depth--
		}
		if addr, err := netip.ParseAddr(t.Text); err == nil && depth == 0 && addr.Zone() == "" {
			list = append(list, literal{t, addr.Unmap()})
		}
	}
	return list
}

// absent reports whether nobody could listen at a, on whatever port.
func absent(a netip.Addr) bool {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err == nil {
		_ = conn.Close() // nothing was sent or received
	}
	return errors.Is(err, syscall.EADDRNOTAVAIL)
}
