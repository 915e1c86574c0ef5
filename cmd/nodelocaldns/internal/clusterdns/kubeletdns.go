// SPDX-License-Identifier: Apache-2.0

package clusterdns

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/atomicfile"
	"github.com/nodelocaldns/nodelocaldns/internal/kubeletconfig"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/internal/retry"
)

// readyPort is the port of the ready plugin in the embedded template.
const readyPort = "8181"

// kubeletDNS names the cache to the pods of this node: it changes clusterDNS in the kubelet's configuration file after the
// cache has said that it is ready. With undo it puts the old value back.
type kubeletDNS struct {
	config    string
	addrs     []netip.Addr
	undo      bool
	patience  time.Duration
	readyPort string
}

const kubeletDNSHead = `Usage:
  nodelocaldns kubelet-dns [FLAG...]

It names the cache as clusterDNS in the kubelet's configuration when the cache is ready, or puts the old value back.
The kubelet reads it when it starts: restart it then.

`

// KubeletDNS is the subcommand kubelet-dns with args.
func KubeletDNS(args []string, stdout io.Writer) error {
	k := kubeletDNS{readyPort: readyPort}
	if helped, err := options.ParseSub(k.flagSet(), args, kubeletDNSHead, stdout); helped || err != nil {
		return err
	}
	return k.run(stdout)
}

func (k *kubeletDNS) flagSet() *flag.FlagSet {
	fs := options.NewFlagSet("kubelet-dns")
	fs.StringVar(&k.config, "config", "/var/lib/kubelet/config.yaml", "the kubelet's configuration `FILE`")
	options.Define(fs, "address", options.StandaloneIP.String(), options.Addrs, &k.addrs, "`IP,...` of the cache")
	fs.BoolVar(&k.undo, "undo", false, "put back what was there before")
	options.Define(fs, "timeout", "1m", func(s string) (time.Duration, error) { return options.Duration(options.Seconds(s)) }, &k.patience, "wait for the cache to be ready for this `TIME`")
	return fs
}

func (k *kubeletDNS) run(stdout io.Writer) error {
	// The first attempt comes before the wait, to report a file that cannot be changed at once.
	if _, err := k.edited(); err != nil {
		return err
	}
	// Whether the cache is ready is asked over HTTP: without a cache the fallback answers DNS at the address.
	var why error
	if !k.undo && !retry.Until(k.patience, time.Second, func() bool { why = k.ready(); return why == nil }) {
		return fmt.Errorf("leaving %s as it is: %w", k.config, why)
	}
	text, err := k.edited()
	if err != nil {
		return err
	}
	changed, err := atomicfile.Edit(k.config, text)
	switch {
	case err != nil:
		return fmt.Errorf("changing the kubelet's configuration: %w", err)
	case changed:
		fmt.Fprintf(stdout, "changed clusterDNS in %s; restart the kubelet, and new pods have it\n", k.config)
	default:
		fmt.Fprintf(stdout, "nothing to change in %s\n", k.config)
	}
	return nil
}

// edited returns the new content of the file.
func (k *kubeletDNS) edited() ([]byte, error) {
	text, err := os.ReadFile(k.config)
	if err != nil {
		return nil, fmt.Errorf("reading the kubelet's configuration: %w", err)
	}
	if k.undo {
		text, err = kubeletconfig.UndoClusterDNS(text)
	} else {
		text, err = kubeletconfig.SetClusterDNS(text, k.addrs)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.config, err)
	}
	return text, nil
}

// ready asks at the first address: one cache has them all.
func (k *kubeletDNS) ready() error {
	url := "http://" + net.JoinHostPort(k.addrs[0].String(), k.readyPort) + "/ready"
	transport := &http.Transport{DisableKeepAlives: true} // no proxy of the environment
	resp, err := (&http.Client{Transport: transport, Timeout: 2 * time.Second}).Get(url)
	if err != nil {
		return fmt.Errorf("no cache is ready on this node: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // only for the message
		return fmt.Errorf("no cache is ready on this node: %s: %s: %s", url, resp.Status, strings.TrimSpace(string(why)))
	}
	return nil
}
