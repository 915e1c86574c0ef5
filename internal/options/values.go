// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/internal/unicast"
)

// value is a flag.Value that is checked while it is parsed, so that a mistake
// is reported with the name of its flag.
type value[T any] struct {
	text  string
	dst   *T
	parse func(string) (T, error)
}

func (v *value[T]) String() string { return v.text }

func (v *value[T]) Set(s string) error {
	t, err := v.parse(s)
	if err != nil {
		return err
	}
	*v.dst, v.text = t, s
	return nil
}

// define declares a flag with a checked value. An empty def is not parsed: the
// flag then has no default.
func define[T any](fs *flag.FlagSet, name, def string, parse func(string) (T, error), dst *T, usage string) {
	v := &value[T]{dst: dst, parse: parse}
	if def != "" {
		if err := v.Set(def); err != nil {
			panic(fmt.Sprintf("default of -%s: %v", name, err))
		}
	}
	fs.Var(v, name, usage)
}

// fallback is the value of -fallback.
type fallback struct {
	addrs []netip.Addr
	off   bool // none
}

func parseFallback(s string) (fallback, error) {
	if s == "none" {
		return fallback{off: true}, nil
	}
	addrs, err := parseAddrs(s)
	return fallback{addrs: addrs}, err
}

// parseLocalIPs reads the value of -localip.
func (o *options) parseLocalIPs(s string) ([]netip.Addr, error) {
	if o.auto = s == "auto"; o.auto {
		return nil, nil
	}
	for field := range strings.SplitSeq(s, ",") {
		if strings.TrimSpace(field) == "auto" {
			return nil, errors.New("auto finds the addresses itself: give it alone, or name all of them")
		}
	}
	return parseAddrs(s)
}

// parseAddrs reads a comma list of unicast addresses; one given twice counts once.
func parseAddrs(s string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	s = strings.TrimSuffix(s, ",") // where a sed line of an older guide left nothing of __PILLAR__DNS__SERVER__
	for field := range strings.SplitSeq(s, ",") {
		field = strings.TrimSpace(field)
		a, err := netip.ParseAddr(field)
		switch a = a.Unmap(); {
		case err != nil:
			return nil, fmt.Errorf("%q is not an IP address%s", field, instead(field))
		case a.Zone() != "":
			return nil, fmt.Errorf("%s has a zone, which no address of a cache or Service has", field)
		case unicast.Check(a) != nil:
			return nil, unicast.Check(a)
		case !slices.Contains(addrs, a):
			addrs = append(addrs, a)
		}
	}
	return addrs, nil
}

// instead says what to do about s, which is no address, where that can be told.
func instead(s string) string {
	a := netip.Addr{}
	if prefix, err := netip.ParsePrefix(s); err == nil {
		a = prefix.Addr()
	} else if ap, err := netip.ParseAddrPort(s); err == nil {
		a = ap.Addr()
	}
	switch {
	case a.IsValid():
		return fmt.Sprintf(": write %s", a)
	case strings.HasPrefix(s, "__PILLAR__"):
		return ", but a variable of the manifest that was to be replaced before"
	case strings.HasPrefix(s, "$("):
		return ", but an environment variable that this container does not have"
	case len(strings.Fields(s)) > 1:
		return ": separate addresses by commas"
	}
	return ""
}

// parseSeconds reads a duration; a bare number is seconds.
func parseSeconds(s string) (time.Duration, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < 0 || n > int64(math.MaxInt64/time.Second) {
			return 0, errors.New("out of range")
		}
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, errors.New("not a duration such as 30s")
	case d < 0:
		return 0, errors.New("out of range")
	}
	return d, nil
}

// parseSyncInterval reads a duration as the reference's users write it. There
// the value was multiplied by a second, so 60ns was the only way to say 60 s.
func parseSyncInterval(s string) (time.Duration, error) {
	d, err := parseSeconds(s)
	switch {
	case err != nil:
		return 0, err
	case d > 0 && d < time.Millisecond:
		return time.Duration(d.Nanoseconds()) * time.Second, nil
	case d < time.Second:
		return 0, errors.New("less than a second")
	}
	return d, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("not a port (1 to 65535)")
	}
	return uint16(n), nil
}

// parseZone reads a conntrack zone; 0 is that of everything else.
func parseZone(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("not a conntrack zone (1 to 65535)")
	}
	return uint16(n), nil
}

// parseListenAddr checks an address to listen on; empty is off.
func parseListenAddr(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", errors.New("not HOST:PORT or :PORT")
	}
	if _, err := parsePort(port); err != nil {
		return "", err
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return "", fmt.Errorf("%q is not an IP address", host)
	}
	return s, nil
}

// parseInterfaceName checks a name as hostnet would, but says it of the flag.
func parseInterfaceName(s string) (string, error) {
	if s == "" || len(s) > 14 || s == "." || s == ".." || strings.ContainsAny(s, "/:% \t\n") {
		return "", errors.New("not a name for a link (1 to 14 characters, no / : % or space)")
	}
	return s, nil
}

func parseDomain(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	return s, corefiles.CheckName(s)
}

// parseStateDir checks the directory for what outlives the process; empty is none.
func parseStateDir(s string) (string, error) {
	if s != "" && (!filepath.IsAbs(s) || strings.ContainsAny(s, " \t\n{}\"#\\")) {
		return "", errors.New("not an absolute path without spaces, quotes, braces, # and \\")
	}
	return s, nil
}

// serviceName is a label of RFC 1123. Kubernetes has no capitals in it, but its
// environment variable tells nothing of them.
var serviceName = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?$`)

func parseServiceName(s string) (string, error) {
	if !serviceName.MatchString(s) {
		return "", errors.New("not the name of a Service: letters, digits and hyphens, without a namespace, as kube-dns")
	}
	return s, nil
}

// oneOf accepts the given words.
func oneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("not one of %s", strings.Join(words, ", "))
		}
		return s, nil
	}
}
