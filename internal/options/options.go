// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/memlimit"
)

// options is the command line, parsed and checked. The flags are those of
// k8s-dns-node-cache and of its successor, with the same meaning, and ours.
type options struct {
	localIPs      []netip.Addr
	auto          bool // -localip auto: localIPs is empty until a finder has resolved it
	conf          string
	corefile      string
	baseCorefile  string
	kubeDNSDir    string
	upstreamSvc   string
	clusterDomain string

	setupInterface bool
	interfaceName  string
	link           string
	lease          time.Duration
	setupIPTables  bool
	firewall       string
	uplink         string
	syncInterval   time.Duration
	fallback       fallback
	fallbackZone   uint16
	skipTeardown   bool
	packetCache    bool

	port           uint16
	healthPort     uint16
	metricsAddr    string
	prometheusAddr string

	memory           memlimit.Limit // 0: the container's limit, if it has one
	stateDir         string         // empty: nothing outlives the process
	reloadWithSignal bool
	pidFile          string
	quiet            bool
	plugins          bool
	version          bool
	help             bool

	mode mode

	// given holds the names of the flags that were on the command line: for
	// some a default may be missing on this machine and a given value may not.
	given map[string]bool

	// words are the flags that were given and that end up in the Corefile or the
	// network, as NAME=VALUE, sorted.
	words []string
}

// mode is one of the three ways to a Corefile.
type mode int

const (
	runStandalone mode = iota // no flag says anything: the embedded template for one machine
	runTemplate               // -localip: rendered from the template
	runConf                   // -conf alone: a Corefile as its author wrote it
)

// standaloneIP is the address people know from the reference's documentation.
var standaloneIP = netip.MustParseAddr("169.254.20.10")

// usageError is a mistake on the command line: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() + "; see nodelocaldns -help" }
func (e usageError) Unwrap() error { return e.err }

// parseOptions reads the command line without the name of the program or subcommand.
func parseOptions(args []string) (*options, error) {
	o := &options{given: make(map[string]bool)}
	fs := o.flagSet()
	switch err := parseArgs(fs, args); {
	case errors.Is(err, flag.ErrHelp):
		o.help = true
		return o, nil
	case err != nil:
		return nil, usageError{err}
	}
	fs.Visit(func(f *flag.Flag) {
		o.given[f.Name] = true
		if !slices.Contains(processOnly, f.Name) {
			o.words = append(o.words, f.Name+"="+f.Value.String())
		}
	})
	if err := o.reconcile(); err != nil {
		return nil, usageError{err}
	}
	return o, nil
}

// flagSet declares the flags. It is a set of our own since the prometheus
// plugin imports coremain, which puts CoreDNS's flags into flag.CommandLine.
func (o *options) flagSet() *flag.FlagSet {
	fs := flag.NewFlagSet("nodelocaldns", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	o.corefileFlags(fs)
	o.networkFlags(fs)
	o.processFlags(fs)
	return fs
}

func (o *options) corefileFlags(fs *flag.FlagSet) {
	define(fs, "localip", "", o.parseLocalIPs, &o.localIPs,
		"serve on `IP,...` (IPv4 and IPv6 may be mixed), with a Corefile rendered from the template; auto: "+
			standaloneIP.String()+" and, where this node's kube-proxy lets it, the ClusterIP of kube-dns")
	fs.StringVar(&o.conf, "conf", "",
		"without -localip: run the Corefile `FILE` as it is; with -localip: write the rendered Corefile there too, or, without a template, render what is there")
	fs.StringVar(&o.corefile, "corefile", "", "older name of -conf, which wins if both are given (`FILE`)")
	fs.StringVar(&o.baseCorefile, "basecorefile", defaultBaseCorefile,
		"template `FILE`; if the default does not exist, the Corefile at -conf or, without one, the embedded template is used")
	fs.StringVar(&o.kubeDNSDir, "kubednscm", "",
		"`DIR` of the kube-dns ConfigMap (stubDomains, upstreamNameservers); "+defaultKubeDNSDir+" if that exists")
	define(fs, "upstreamsvc", "kube-dns", parseServiceName, &o.upstreamSvc,
		"`SERVICE` of the cluster DNS; its ClusterIP is read from the environment, SERVICE_SERVICE_HOST")
	fs.BoolVar(&o.packetCache, "packetcache", false, "put packetcache into the server blocks of the template that have none; the embedded templates have it")
	define(fs, "clusterdomain", "cluster.local", parseDomain, &o.clusterDomain, "`DOMAIN` of the cluster")
}

func (o *options) networkFlags(fs *flag.FlagSet) {
	fs.BoolVar(&o.setupInterface, "setupinterface", true, "create the link that holds the addresses; false is -link none")
	define(fs, "interfacename", "nodelocaldns", parseInterfaceName, &o.interfaceName, "`NAME` of the link")
	define(fs, "link", "auto", oneOf("auto", "tun", "dummy", "none"), &o.link, "`KIND` of link: auto, tun, dummy or none")
	define(fs, "lease", "3s", parseSeconds, &o.lease,
		"an address outlives a hanging process by this `TIME`; 0: addresses without a lifetime")
	fs.BoolVar(&o.setupIPTables, "setupiptables", true, "install the rules that steer DNS to the cache; false is -firewall none")
	define(fs, "firewall", "auto", oneOf("auto", "iptables", "nftables", "none"), &o.firewall,
		"`KIND` of rules: auto, iptables, nftables or none")
	define(fs, "uplink", hostnet.UplinkAuto, oneOf(hostnet.UplinkAuto, hostnet.UplinkOpen), &o.uplink,
		"accept DNS by the interface of a default route: `WHEN` pods may come in by it (auto; else the host's own firewall decides), or always, as k8s-dns-node-cache (open)")
	define(fs, "syncinterval", "30s", parseSyncInterval, &o.syncInterval,
		"check link and rules at least this often (`TIME`); a bare number is seconds")
	define(fs, "fallback", "", parseFallback, &o.fallback,
		"`IP,...` of the cluster DNS, one a family, that answers at the cache's own address while the cache does not, or none (default: the ClusterIP of kube-dns, else of -upstreamsvc, which is of one family)")
	define(fs, "fallback-zone", strconv.Itoa(hostnet.DefaultFallbackZone), parseZone, &o.fallbackZone,
		"the fallback uses the conntrack zones from `NUMBER` on, one for each address")
	fs.BoolVar(&o.skipTeardown, "skipteardown", false, "leave link and rules in place on exit")
}

func (o *options) processFlags(fs *flag.FlagSet) {
	define(fs, "dns.port", "53", parsePort, &o.port, "`PORT` of DNS")
	define(fs, "p", "53", parsePort, &o.port, "short for -dns.port (`PORT`)")
	define(fs, "health-port", "8080", parsePort, &o.healthPort, "`PORT` of the health check, whose traffic is not tracked either")
	define(fs, "metrics-listen-address", "0.0.0.0:9353", parseListenAddr, &o.metricsAddr,
		"serve the metrics of the set-up on `ADDRESS`; empty: off")
	define(fs, "prometheus-listen-address", ":9253", parseListenAddr, &o.prometheusAddr,
		"`ADDRESS` for __PROMETHEUS__ENDPOINT__ in the template")
	define(fs, "memory", "", memlimit.Parse, &o.memory,
		"memory limit of the process, `SIZE`, such as 192Mi: the garbage collector keeps to 90 % of it (GOMEMLIMIT in the environment wins), and the caches whose size is not given shrink and grow with it (default: the container's limit, of which render knows nothing)")
	define(fs, "statedir", defaultStateDir, parseStateDir, &o.stateDir,
		"keep in `DIR` what the next start needs: the last configuration that worked, and the answers of keep (8 MB); also __NODELOCALDNS__STATE__DIR__ in the template; empty: nothing is kept")
	fs.BoolVar(&o.reloadWithSignal, "reloadwithsignal", false, "reload when template or ConfigMap change, without the reload plugin")
	fs.StringVar(&o.pidFile, "pidfile", "", "write the process id to `FILE` when serving")
	fs.BoolVar(&o.quiet, "quiet", false, "do not print zones and version at start")
	fs.BoolVar(&o.plugins, "plugins", false, "list the plugins of this binary and exit")
	fs.BoolVar(&o.version, "version", false, "print the version and exit")
}

// renderOnly are the flags that end up in the rendered Corefile and nowhere else.
var renderOnly = []string{
	"basecorefile", "kubednscm", "upstreamsvc", "clusterdomain", "packetcache", "setupinterface", "interfacename", "link", "lease",
	"setupiptables", "firewall", "uplink", "syncinterval", "fallback", "fallback-zone", "skipteardown", "health-port", "prometheus-listen-address",
}

// processOnly are the flags that end up neither in the Corefile nor in the network.
var processOnly = []string{"metrics-listen-address", "statedir", "reloadwithsignal", "pidfile", "quiet", "plugins", "version"}

// reconcile resolves what flags say together.
func (o *options) reconcile() error {
	if err := o.chooseMode(); err != nil {
		return err
	}
	if err := o.off("setupinterface", o.setupInterface, "link", &o.link); err != nil {
		return err
	}
	if err := o.off("setupiptables", o.setupIPTables, "firewall", &o.firewall); err != nil {
		return err
	}
	return o.validate()
}

// validate refuses what the plugin would refuse too, but later and not as a
// matter of usage. For -localip auto it is to be called again with the addresses.
func (o *options) validate() error {
	if o.mode == runConf || o.link == "none" && o.firewall == "none" {
		return nil // no network to own
	}
	addrs := o.localIPs
	if o.auto && len(addrs) == 0 {
		addrs = []netip.Addr{standaloneIP}
	}
	return hostnet.Config{
		Interface: o.interfaceName, Link: o.link, Firewall: o.firewall, Uplink: o.uplink, Addresses: addrs,
		Port: o.port, HealthPort: o.healthPort, Lease: o.lease, Fallback: o.fallback.addrs, FallbackZone: o.fallbackZone,
	}.Validate()
}

// chooseMode finds the way to the Corefile. A flag without effect there is an
// error: who gives -link with a Corefile of his own expects something of it.
func (o *options) chooseMode() error {
	if o.conf == "" {
		o.conf = o.corefile
	}
	switch {
	case len(o.localIPs) > 0 || o.auto:
		o.mode = runTemplate
		if o.conf != "" && filepath.Clean(o.conf) == filepath.Clean(o.baseCorefile) {
			return fmt.Errorf("-conf would overwrite the template %s", o.baseCorefile)
		}
	case o.conf != "":
		o.mode = runConf
		for _, name := range renderOnly {
			if o.given[name] {
				return fmt.Errorf("-%s has no effect on %s, which runs as it is without -localip", name, o.conf)
			}
		}
	default:
		o.mode, o.localIPs = runStandalone, []netip.Addr{standaloneIP}
		if o.given["basecorefile"] {
			return errors.New("-basecorefile needs -localip")
		}
	}
	return nil
}

// off gives the older on/off flag its meaning in the newer one.
func (o *options) off(older string, on bool, newer string, value *string) error {
	if on || *value == "none" {
		return nil
	}
	if o.given[newer] {
		return fmt.Errorf("-%s=false contradicts -%s %s", older, newer, *value)
	}
	*value = "none"
	return nil
}
