// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/internal/sockets"
)

// bindError matches the text of package net for a failed bind. Caddy passes errors on as text only.
var bindError = regexp.MustCompile(`listen (tcp|udp)\d? (\S+): bind: (.+)$`)

// Explain adds what can be done about a start that failed for a known cause.
func Explain(err error, port uint16) error {
	m := bindError.FindStringSubmatch(err.Error())
	if m == nil {
		return corefiles.Plain(err)
	}
	network, addr, cause := m[1], m[2], m[3]
	hint, who := "", ""
	switch _, p, _ := net.SplitHostPort(addr); {
	case strings.HasSuffix(cause, "address already in use") && p == strconv.Itoa(int(port)):
		hint = ": another DNS server listens there; stop it or change -localip or -dns.port"
		who = holder(network, addr)
	case strings.HasSuffix(cause, "address already in use"):
		hint = ": another program listens there; stop it or change the Corefile"
		who = holder(network, addr)
	case strings.HasSuffix(cause, "cannot assign requested address"):
		hint = ": no interface has this address; is -setupinterface=false or link none in effect?"
	case strings.HasSuffix(cause, "permission denied"):
		hint = ": this port needs root or CAP_NET_BIND_SERVICE"
	}
	return fmt.Errorf("listening on %s (%s): %s%s%s", addr, network, cause, hint, who)
}

// IsBindError reports whether err says that a server could not listen.
func IsBindError(err error) bool {
	return strings.HasPrefix(err.Error(), "Listen") || bindError.MatchString(err.Error())
}

// holder says who has the port and, if it is dnsmasq, what its configuration lacks.
func holder(network, addr string) string {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return "" // of all addresses, as ":8080"
	}
	who := sockets.Holder(network, at)
	if who == "" {
		return ""
	}
	if strings.Contains(who, "(dnsmasq)") {
		who += ": with bind-dynamic it takes each new address, unless its configuration has except-interface=nodelocaldns*"
	}
	return "; " + who
}
