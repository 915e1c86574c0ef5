// SPDX-License-Identifier: Apache-2.0

// Package words checks the words that come from outside: those that go into a Corefile, and names that are printed.
package words

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nodelocaldns/nodelocaldns/internal/unicast"
)

// Variable matches the variables of a template and words that look like one: capitals with double underscores around them.
var Variable = regexp.MustCompile(`__(?:PILLAR|PROMETHEUS|NODELOCALDNS)__(?:(?:[A-Z0-9]+__)+|\w*)`)

// Check returns an error if s would not be one token with the text s in a Corefile. Each word from outside must pass Check or a
// stricter check. The empty word passes.
func Check(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("not UTF-8")
	}
	for _, r := range s {
		if !unicode.IsGraphic(r) || unicode.IsSpace(r) || strings.ContainsRune(`"#{}\`, r) {
			return fmt.Errorf("character %q is not allowed", r)
		}
	}
	if name := Variable.FindString(s); name != "" {
		return fmt.Errorf("it contains the variable %s", name)
	}
	return nil
}

// CheckName returns an error if s is not a domain name of letters, digits, hyphens and underscores. CoreDNS accepts nearly every
// word as a domain name, with another meaning in some cases.
func CheckName(s string) error {
	if s == "." {
		return nil
	}
	name := strings.TrimSuffix(s, ".")
	if len(name) > 253 {
		return fmt.Errorf("not a domain name: it has %d characters, more than 253", len(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		if err := checkLabel(label); err != nil {
			return fmt.Errorf("not a domain name: %w", err)
		}
	}
	return Check(s)
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return errors.New("a label is empty")
	case len(label) > 63:
		return fmt.Errorf("label %q has %d characters, more than 63", label, len(label))
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Errorf("label %q begins or ends with a hyphen", label)
	}
	for _, r := range label {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", r) {
			return fmt.Errorf("character %q in label %q; letters, digits, hyphens and underscores are allowed", r, label)
		}
	}
	return nil
}

// Normal returns name in lower case and without a dot at the end. Names are compared and printed in this form.
func Normal(name string) string {
	if name == "." {
		return name
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// Join returns addrs with a space between each two, as a Corefile has them.
func Join(addrs []netip.Addr) string { return strings.Trim(fmt.Sprint(addrs), "[]") }

// Host returns addr in the form before a colon and a port, in which an IPv6 address has brackets.
func Host(addr netip.Addr) string {
	return strings.TrimSuffix(net.JoinHostPort(addr.String(), ""), ":")
}

// ParseServer returns the address of a server in the form that the kube-dns ConfigMap allows and that CoreDNS's forward reads.
// ParseServer refuses a path, because forward would read nameservers from that file. It refuses a host name, because the name
// could be resolved only after the cache has started.
func ParseServer(s string) (netip.Addr, error) {
	scheme, rest, found := strings.Cut(s, "://")
	switch {
	case !found:
		scheme, rest = "dns", s
	case scheme != "dns" && scheme != "tls":
		return netip.Addr{}, fmt.Errorf("scheme %q is not allowed", scheme)
	}
	switch {
	case rest == "":
		return netip.Addr{}, errors.New("it is empty")
	case strings.Contains(rest, "/"):
		return netip.Addr{}, errors.New("a file or path is not allowed")
	}
	host := rest
	if h, port, err := net.SplitHostPort(rest); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return netip.Addr{}, fmt.Errorf("%q is not a port", port)
		}
		host = h
	} else if strings.HasPrefix(rest, "[") && strings.HasSuffix(rest, "]") {
		host = rest[1 : len(rest)-1]
	}
	return parseHost(host, scheme == "tls")
}

// parseHost parses an address, and a zone if there is one. The zone is an interface, or with TLS the name in the certificate.
func parseHost(host string, tls bool) (netip.Addr, error) {
	ip, zone, zoned := strings.Cut(host, "%")
	addr, err := netip.ParseAddr(ip)
	switch {
	case err != nil:
		return netip.Addr{}, errors.New("not an IP address; host names are not allowed")
	case unicast.Check(addr) != nil:
		return netip.Addr{}, unicast.Check(addr)
	case !zoned:
		return addr, nil
	case CheckName(zone) != nil:
		return netip.Addr{}, fmt.Errorf("zone %q is not allowed", zone)
	case tls:
		return addr, nil
	case !addr.Is6() || !addr.IsLinkLocalUnicast():
		return netip.Addr{}, errors.New("a zone is allowed behind an IPv6 link-local address only")
	}
	return addr.WithZone(zone), nil
}

// ZoneWarning returns a warning if addr has a zone: forward accepts the address and drops the zone.
func ZoneWarning(addr netip.Addr, source string) []string {
	if addr.Zone() == "" {
		return nil
	}
	return []string{fmt.Sprintf("nameserver %s of %s will not answer: CoreDNS's forward drops the zone %%%s",
		addr, source, addr.Zone())}
}

// Printable returns the name of a process without what a terminal would obey, or a log would take for a further line: a process
// chooses its name.
func Printable(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, name)
}
