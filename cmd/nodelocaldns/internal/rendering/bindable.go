// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
)

// Bindable returns an error if a bind in the Corefile names an address that no interface has or will have. The addresses own,
// and those of the nodelocal stanzas, come with the link. CoreDNS finds such a fault only after it has opened other sockets,
// which caddy leaves open, so that no other configuration could be tried. Bindable also refuses names that no interface has:
// CoreDNS does not say in which line they are.
func Bindable(path string, text []byte, own []netip.Addr) error {
	blocks, err := caddyfile.Parse(path, bytes.NewReader(text), nil)
	if err != nil {
		return corefiles.Plain(err)
	}
	own = slices.Clone(own)
	for _, b := range blocks {
		stanza := addresses(b.Tokens["nodelocal"])
		if len(stanza) == 0 && len(b.Tokens["nodelocal"]) > 0 {
			stanza = addresses(b.Tokens["bind"]) // which a stanza without addresses stands for
		}
		own = append(own, stanza...)
	}
	for _, b := range blocks {
		for _, t := range arguments(b.Tokens["bind"]) {
			if err := bindableTo(t.Text, own, links(blocks)); err != nil {
				return fmt.Errorf("%s: bind %w", position(path, t), err)
			}
		}
	}
	return nil
}

// bindableTo returns why nobody can listen at arg, an argument of bind.
func bindableTo(arg string, own []netip.Addr, links []string) error {
	addr, err := netip.ParseAddr(arg)
	switch {
	case slices.Contains(links, arg):
		return fmt.Errorf("%s: this link is made after bind has looked for it: name its addresses", arg)
	case err == nil && addr.Zone() == "":
		if !slices.Contains(own, addr.Unmap()) && absent(addr.Unmap()) {
			return fmt.Errorf("%s: no interface has this address, and no nodelocal stanza names it", arg)
		}
	default:
		if _, err := net.InterfaceByName(arg); err != nil {
			return fmt.Errorf("%s: neither an IP address nor the name of an interface%s", arg, options.Instead(arg))
		}
	}
	return nil
}

// links returns the names of the links that the nodelocal stanzas will make.
func links(blocks []caddyfile.ServerBlock) (names []string) {
	for _, b := range blocks {
		name, kind := hostnet.DefaultInterface, hostnet.Auto
		for i, t := range b.Tokens["nodelocal"] {
			switch option := b.Tokens["nodelocal"][max(i-1, 0)].Text; option {
			case "interface":
				name = t.Text
			case "link":
				kind = t.Text
			}
		}
		if len(b.Tokens["nodelocal"]) > 0 && kind != hostnet.None {
			names = append(names, name)
		}
	}
	return names
}

// position is FILE:LINE of a token of the Corefile at path.
func position(path string, t caddyfile.Token) string {
	return fmt.Sprintf("%s:%d", cmp.Or(t.File, path), t.Line) // only tokens of imported files name theirs
}

// addresses returns the addresses among the arguments of a directive.
func addresses(tokens []caddyfile.Token) (list []netip.Addr) {
	for _, t := range arguments(tokens) {
		if addr, err := netip.ParseAddr(t.Text); err == nil && addr.Zone() == "" {
			list = append(list, addr.Unmap())
		}
	}
	return list
}

// arguments returns the arguments of a directive, which may be there several times, without its options, which are in braces.
func arguments(tokens []caddyfile.Token) (list []caddyfile.Token) {
	depth := 0
	for _, t := range tokens {
		switch t.Text {
		case "{":
			depth++
		case "}":
			depth--
		case tokens[0].Text: // the directive itself
		default:
			if depth == 0 {
				list = append(list, t)
			}
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
