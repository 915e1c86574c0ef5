// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/unicast"
	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// NewFlagSet returns an empty set of flags that prints nothing by itself.
func NewFlagSet(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

// Define declares a flag of a subcommand, whose value parse checks. An empty def is not parsed: the flag then has no default.
func Define[T any](fs *flag.FlagSet, name, def string, parse func(string) (T, error), dst *T, help string) {
	declare(fs, name, def, help, &value[T]{dst: dst, parse: parse})
}

func declare(fs *flag.FlagSet, name, def, help string, v flag.Value) {
	if def != "" {
		if err := v.Set(def); err != nil {
			panic(fmt.Sprintf("default of -%s: %v", name, err))
		}
	}
	fs.Var(v, name, help)
}

// PrintFlag prints the help text of f.
func PrintFlag(w io.Writer, f *flag.Flag) {
	arg, text := flag.UnquoteUsage(f)
	if f.DefValue != "" && f.DefValue != "false" {
		text += " (default " + f.DefValue + ")"
	}
	if arg != "" && arg != "value" {
		arg = " " + arg
	}
	fmt.Fprintf(w, "  -%s%s\n      %s\n", f.Name, strings.TrimSuffix(arg, "value"), text)
}

// PrintCorefileFlags prints the help text of the flags of Table that the Corefile depends on most.
func PrintCorefileFlags(w io.Writer) { printGroup(w, new(Options).FlagSet(), groupCorefile) }

func printGroup(w io.Writer, fs *flag.FlagSet, group string) {
	fmt.Fprintf(w, "\n%s:\n", group)
	for _, row := range Table {
		if row.Group == group {
			PrintFlag(w, fs.Lookup(row.Flag))
		}
	}
}

// PrintFlags prints the help text of all flags of Table.
func PrintFlags(w io.Writer) {
	fs := new(Options).FlagSet()
	for _, group := range []string{groupCorefile, groupNetwork, groupPorts, groupProcess} {
		printGroup(w, fs, group)
	}
	fmt.Fprint(w, "  -help\n      print this text and exit\n") // known to package flag, but not in the set
}

func text(s string) (string, error) { return s, nil }

func boolean(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		err = errors.New("want true or false")
	}
	return b, err
}

func fallback(s string) ([]netip.Addr, error) {
	if s == hostnet.None {
		return nil, nil
	}
	return Addrs(s)
}

// localIPs reads the value of -localip.
func (o *Options) localIPs(s string) ([]netip.Addr, error) {
	if o.Auto = s == hostnet.Auto; o.Auto {
		return nil, nil
	}
	for field := range strings.SplitSeq(s, ",") {
		if strings.TrimSpace(field) == hostnet.Auto {
			return nil, errors.New("auto finds the addresses itself: give it alone, or name all of them")
		}
	}
	return Addrs(s)
}

// Addrs reads a comma list of unicast addresses; one given twice counts once.
func Addrs(s string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	s = strings.TrimSuffix(s, ",") // where a sed line of an older guide left nothing of __PILLAR__DNS__SERVER__
	for field := range strings.SplitSeq(s, ",") {
		field = strings.TrimSpace(field)
		a, err := netip.ParseAddr(field)
		switch a = a.Unmap(); {
		case err != nil:
			return nil, fmt.Errorf("%q is not an IP address%s", field, Instead(field))
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

// Instead says what to do about s, which is no address, where that can be told.
func Instead(s string) string {
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

// Seconds makes a bare number one of seconds, for Duration.
func Seconds(s string) string {
	if _, err := strconv.ParseInt(s, 10, 64); err == nil {
		return s + "s"
	}
	return s
}

// syncInterval reads -syncinterval as the reference's users write it. The reference multiplies the value by a second, so 60ns
// is its only way to say 60 s.
func syncInterval(s string) string {
	if d, err := time.ParseDuration(s); err == nil && d > 0 && d < time.Millisecond {
		return (time.Duration(d.Nanoseconds()) * time.Second).String()
	}
	return Seconds(s)
}

// Duration reads a duration of package time that is not negative.
func Duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, errors.New("want a duration such as 3s")
	case d < 0:
		return 0, errors.New("want no negative duration")
	}
	return d, nil
}

func resync(s string) (time.Duration, error) {
	d, err := Duration(s)
	if err == nil && d < time.Second {
		err = errors.New("want at least 1s")
	}
	return d, err
}

// number returns a parser of numbers from least to 65535.
func number(least uint64, want string) func(string) (uint16, error) {
	return func(s string) (uint16, error) {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n < least {
			return 0, errors.New("want " + want)
		}
		return uint16(n), nil
	}
}

var (
	port       = number(1, "a port from 1 to 65535")
	portOrNone = number(0, "a port from 1 to 65535, or 0 for none")
	zone       = number(1, "a conntrack zone from 1 to 65535") // 0 is the zone of everything else
)

// listenAddr checks an address to listen on; empty is off.
func listenAddr(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", errors.New("not HOST:PORT or :PORT")
	}
	if _, err := port(p); err != nil {
		return "", err
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return "", fmt.Errorf("%q is not an IP address", host)
	}
	return s, nil
}

// InterfaceName checks the name of the cache's link.
func InterfaceName(s string) (string, error) { return s, hostnet.CheckInterface(s) }

// Domain checks a domain name, and removes the dot at its end.
func Domain(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	return s, words.CheckName(s)
}

// stateDir checks the directory for what outlives the process; empty is none.
func stateDir(s string) (string, error) {
	if s != "" && (!filepath.IsAbs(s) || strings.ContainsAny(s, " \t\n{}\"#\\")) {
		return "", errors.New("not an absolute path without spaces, quotes, braces, # and \\")
	}
	return s, nil
}

// serviceLabel is a label of RFC 1123. Kubernetes has no capitals in it, but its environment variable tells nothing of them.
var serviceLabel = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?$`)

func serviceName(s string) (string, error) {
	if !serviceLabel.MatchString(s) {
		return "", errors.New("not the name of a Service: letters, digits and hyphens, without a namespace, as kube-dns")
	}
	return s, nil
}

// OneOf returns a parser that accepts the given words.
func OneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", errors.New("want " + list(words))
		}
		return s, nil
	}
}

// list joins words as in a sentence.
func list(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
