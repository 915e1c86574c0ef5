// SPDX-License-Identifier: Apache-2.0

package options

import (
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/memlimit"
	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// An effect is what a flag changes.
type effect int

const (
	_ effect = iota // the Corefile, rendered or not, or the network
	// rendered is the rendered Corefile alone. The flag is refused with a Corefile that runs as it is.
	rendered
	// process is neither the Corefile nor the network.
	process
)

// An Option is a flag of the command line. With a Word it is an option of the nodelocal stanza, too.
type Option struct {
	Flag    string // name, without the dash
	Word    string // name in the stanza; empty: the stanza does not have it
	Group   string // heading in the help text
	Default string // as a value on the command line
	Help    string // names the value in back quotes, as package flag has it

	effect   effect
	bind     func(*Options) setting
	flagForm func(string) string // turns a value that only the command line accepts into one that the stanza accepts, too; nil: none
}

// The headings of the help text, in their order.
const (
	groupCorefile = "Corefile"
	groupNetwork  = "Network"
	groupPorts    = "Ports and addresses"
	groupProcess  = "Process"
)

// Table has all options. Flags, stanza, help text and error texts follow from it.
var Table = []Option{
	{Flag: "localip", Group: groupCorefile, bind: func(o *Options) setting { return &value[[]netip.Addr]{dst: &o.Addresses, parse: o.localIPs} },
		Help: "serve on `IP,...` (IPv4 and IPv6 may be mixed), with a Corefile rendered from the template; auto: " +
			StandaloneIP.String() + " and, where this node's kube-proxy lets it, the ClusterIP of kube-dns"},
	{Flag: "conf", Group: groupCorefile, bind: to(func(o *Options) *string { return &o.Conf }, text),
		Help: "without -localip: run the Corefile `FILE` as it is; with -localip: write the rendered Corefile there too, or, without a template, render what is there"},
	{Flag: "corefile", Group: groupCorefile, bind: to(func(o *Options) *string { return &o.older }, text),
		Help: "older name of -conf, which wins if both are given (`FILE`)"},
	{Flag: "basecorefile", Group: groupCorefile, Default: "/etc/coredns/Corefile.base", effect: rendered, bind: to(func(o *Options) *string { return &o.BaseCorefile }, text),
		Help: "template `FILE`; if the default does not exist, the Corefile at -conf or, without one, the embedded template is used"},
	{Flag: "kubednscm", Group: groupCorefile, effect: rendered, bind: to(func(o *Options) *string { return &o.KubeDNSDir }, text),
		Help: "`DIR` of the kube-dns ConfigMap (stubDomains, upstreamNameservers); " + DefaultKubeDNSDir + " if that exists"},
	{Flag: "upstreamsvc", Group: groupCorefile, Default: "kube-dns", effect: rendered, bind: to(func(o *Options) *string { return &o.UpstreamService }, serviceName),
		Help: "`SERVICE` of the cluster DNS; its ClusterIP is read from the environment, SERVICE_SERVICE_HOST"},
	{Flag: "clusterdomain", Group: groupCorefile, Default: "cluster.local", effect: rendered, bind: to(func(o *Options) *string { return &o.ClusterDomain }, Domain),
		Help: "`DOMAIN` of the cluster"},
	{Flag: "packetcache", Group: groupCorefile, effect: rendered, bind: to(func(o *Options) *bool { return &o.PacketCache }, boolean),
		Help: "put packetcache into the server blocks of the template that have none; the embedded templates have it"},

	{Flag: "dns.port", Group: groupPorts, Default: "53", bind: to(func(o *Options) *uint16 { return &o.Port }, port), Help: "`PORT` of DNS"},
	{Flag: "p", Group: groupPorts, Default: "53", bind: to(func(o *Options) *uint16 { return &o.Port }, port), Help: "short for -dns.port (`PORT`)"},
	{Flag: "setupinterface", Group: groupNetwork, Default: "true", effect: rendered, bind: to(func(o *Options) *bool { return &o.setupInterface }, boolean),
		Help: "create the link that holds the addresses; false is -link none"},
	{Flag: "interfacename", Word: "interface", Group: groupNetwork, Default: hostnet.DefaultInterface, effect: rendered,
		bind: to(func(o *Options) *string { return &o.Interface }, InterfaceName), Help: "`NAME` of the link"},
	{Flag: "link", Word: "link", Group: groupNetwork, Default: hostnet.Auto, effect: rendered, bind: to(func(o *Options) *string { return &o.Link }, OneOf(hostnet.Links...)),
		Help: "`KIND` of link: " + list(hostnet.Links)},
	{Flag: "setupiptables", Group: groupNetwork, Default: "true", effect: rendered, bind: to(func(o *Options) *bool { return &o.setupIPTables }, boolean),
		Help: "install the rules that steer DNS to the cache; false is -firewall none"},
	{Flag: "firewall", Word: "firewall", Group: groupNetwork, Default: hostnet.Auto, effect: rendered, bind: to(func(o *Options) *string { return &o.Firewall }, OneOf(hostnet.Firewalls...)),
		Help: "`KIND` of rules: " + list(hostnet.Firewalls)},
	{Flag: "uplink", Word: "uplink", Group: groupNetwork, Default: hostnet.UplinkAuto, effect: rendered, bind: to(func(o *Options) *string { return &o.Uplink }, OneOf(hostnet.Uplinks...)),
		Help: "accept DNS by the interface of a default route: `WHEN` pods may come in by it (auto; else the host's own firewall decides), or always, as k8s-dns-node-cache (open)"},
	{Flag: "lease", Word: "lease", Group: groupNetwork, Default: "3s", effect: rendered, bind: to(func(o *Options) *time.Duration { return &o.Lease }, Duration), flagForm: Seconds,
		Help: "an address outlives a hanging process by this `TIME`; 0: addresses without a lifetime"},
	{Flag: "syncinterval", Word: "resync", Group: groupNetwork, Default: "30s", effect: rendered, bind: to(func(o *Options) *time.Duration { return &o.Resync }, resync), flagForm: syncInterval,
		Help: "check link and rules at least this often (`TIME`); a bare number is seconds"},
	{Flag: "health-port", Word: "health_port", Group: groupPorts, Default: "8080", effect: rendered, bind: to(func(o *Options) *uint16 { return &o.HealthPort }, portOrNone),
		Help: "`PORT` of the health check, whose traffic is not tracked either"},
	{Flag: "fallback", Word: "fallback", Group: groupNetwork, effect: rendered, bind: to(func(o *Options) *[]netip.Addr { return &o.Fallback }, fallback),
		Help: "`IP,...` of the cluster DNS, one a family, that answers at the cache's own address while the cache does not, or none (default: the ClusterIP of kube-dns, else of -upstreamsvc, which is of one family)"},
	{Flag: "fallback-zone", Word: "fallback_zone", Group: groupNetwork, Default: strconv.Itoa(hostnet.DefaultFallbackZone), effect: rendered,
		bind: to(func(o *Options) *uint16 { return &o.FallbackZone }, zone), Help: "the fallback uses the conntrack zones from `NUMBER` on, one for each address"},
	{Flag: "skipteardown", Word: "skip_teardown", Group: groupNetwork, effect: rendered, bind: to(func(o *Options) *bool { return &o.SkipTeardown }, boolean),
		Help: "leave link and rules in place on exit"},

	{Flag: "metrics-listen-address", Group: groupPorts, Default: "0.0.0.0:9353", effect: process, bind: to(func(o *Options) *string { return &o.MetricsAddr }, listenAddr),
		Help: "serve the metrics of the set-up on `ADDRESS`; empty: off"},
	{Flag: "prometheus-listen-address", Group: groupPorts, Default: ":9253", effect: rendered, bind: to(func(o *Options) *string { return &o.PrometheusAddr }, listenAddr),
		Help: "`ADDRESS` for __PROMETHEUS__ENDPOINT__ in the template"},

	{Flag: "memory", Group: groupProcess, bind: to(func(o *Options) *memlimit.Limit { return &o.Memory }, memlimit.Parse),
		Help: "memory limit of the process, `SIZE`, such as 192Mi: the garbage collector keeps to 90 % of it (GOMEMLIMIT in the environment wins), and the caches whose size is not given shrink and grow with it (default: the container's limit, of which render knows nothing)"},
	{Flag: "statedir", Group: groupProcess, Default: "/run/nodelocaldns", effect: process, bind: to(func(o *Options) *string { return &o.StateDir }, stateDir),
		Help: "keep in `DIR` what the next start needs: the last configuration that worked, and the answers of keep (8 MB); also __NODELOCALDNS__STATE__DIR__ in the template; empty: nothing is kept"},
	{Flag: "reloadwithsignal", Group: groupProcess, effect: process, bind: to(func(o *Options) *bool { return &o.ReloadWithSignal }, boolean),
		Help: "reload when template or ConfigMap change, without the reload plugin"},
	{Flag: "pidfile", Group: groupProcess, effect: process, bind: to(func(o *Options) *string { return &o.PIDFile }, text),
		Help: "write the process id to `FILE` when serving"},
	{Flag: "quiet", Group: groupProcess, effect: process, bind: to(func(o *Options) *bool { return &o.Quiet }, boolean),
		Help: "do not print zones and version at start"},
	{Flag: "log-timestamps", Group: groupProcess, effect: process, bind: to(func(o *Options) *bool { return &o.LogTimestamps }, boolean),
		Help: "begin each line of the log with its time, where nothing that collects the log adds one"},
	{Flag: "plugins", Group: groupProcess, effect: process, bind: to(func(o *Options) *bool { return &o.Plugins }, boolean),
		Help: "list the plugins of this binary and exit"},
	{Flag: "version", Group: groupProcess, effect: process, bind: to(func(o *Options) *bool { return &o.Version }, boolean),
		Help: "print the version and exit"},
}

// A setting is a flag.Value that also knows its value as words of the stanza.
type setting interface {
	flag.Value
	IsBoolFlag() bool
	// accept has Set accept what form turns into a value.
	accept(form func(string) string)
	// words returns the value as the stanza has it behind the option's name; nil: the stanza does not have the option.
	words() []string
}

// value is a setting that is checked while it is parsed, so that the error names the flag or the stanza's option.
type value[T any] struct {
	text  string
	dst   *T
	parse func(string) (T, error)
	form  func(string) string // nil: none
}

func to[T any](dst func(*Options) *T, parse func(string) (T, error)) func(*Options) setting {
	return func(o *Options) setting { return &value[T]{dst: dst(o), parse: parse} }
}

// String returns the value as it was given.
func (v *value[T]) String() string { return v.text }

// Set implements flag.Value.
func (v *value[T]) Set(s string) error {
	given := s
	if v.form != nil {
		s = v.form(s)
	}
	t, err := v.parse(s)
	if err != nil {
		return err
	}
	*v.dst, v.text = t, given
	return nil
}

func (v *value[T]) accept(form func(string) string) { v.form = form }

// IsBoolFlag lets package flag accept a boolean flag without a value.
func (v *value[T]) IsBoolFlag() bool { _, ok := any(v.dst).(*bool); return ok }

func (v *value[T]) words() []string {
	switch x := any(*v.dst).(type) {
	case bool:
		if !x {
			return nil
		}
		return []string{}
	case []netip.Addr:
		if len(x) == 0 {
			return []string{hostnet.None}
		}
		return strings.Fields(words.Join(x))
	}
	return []string{fmt.Sprint(*v.dst)}
}

// SetWord sets the option of the stanza with that name to args, the words behind the name.
func (o *Options) SetWord(word string, args []string) error {
	i := slices.IndexFunc(Table, func(row Option) bool { return row.Word == word && word != "" })
	if i < 0 {
		known := ""
		for _, row := range Table {
			if row.Word != "" {
				known += ", " + row.Word
			}
		}
		return fmt.Errorf("unknown option %q: known are %s", word, known[len(", "):])
	}
	s := Table[i].bind(o)
	switch _, several := s.(*value[[]netip.Addr]); {
	case s.IsBoolFlag() && len(args) == 0:
		return s.Set("true")
	case s.IsBoolFlag():
		return fmt.Errorf("%s: want no value, got %d", word, len(args))
	case several && len(args) == 0:
		return fmt.Errorf("%s: want a value", word)
	case !several && len(args) != 1:
		return fmt.Errorf("%s: want one value, got %d", word, len(args))
	}
	arg := strings.Join(args, ",")
	if err := s.Set(arg); err != nil {
		return fmt.Errorf("%s %q: %w", word, arg, err)
	}
	return nil
}

// Stanza returns the options of the stanza, each with its value, for the flags that were given and for those that more names.
// The others are left to the plugin's defaults, which are those of the flags.
func (o *Options) Stanza(more ...string) (lines [][]string) {
	for _, row := range Table {
		if row.Word == "" || !o.Given[row.Flag] && !slices.Contains(more, row.Flag) {
			continue
		}
		if words := row.bind(o).words(); words != nil {
			lines = append(lines, append([]string{row.Word}, words...))
		}
	}
	return lines
}
