// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/kubeletconfig"
)

// readyPort is the port of the ready plugin in the embedded template.
const readyPort = "8181"

// kubeletDNS makes the kubelet of this node name the cache to pods: it changes
// clusterDNS in the kubelet's configuration file, after the cache has said that
// it is ready, or puts the value from before back.
type kubeletDNS struct {
	config    string
	addrs     []netip.Addr
	undo      bool
	patience  time.Duration
	readyPort string
}

func kubeletDNSCommand(args []string, stdout io.Writer) error {
	k := kubeletDNS{readyPort: readyPort}
	fs := k.flagSet()
	switch err := parseArgs(fs, args); {
	case errors.Is(err, flag.ErrHelp):
		usageOfKubeletDNS(stdout)
		return nil
	case err != nil:
		return usageError{err}
	}
	return k.run(stdout)
}

func (k *kubeletDNS) flagSet() *flag.FlagSet {
	fs := flag.NewFlagSet("kubelet-dns", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.StringVar(&k.config, "config", "/var/lib/kubelet/config.yaml", "the kubelet's configuration `FILE`")
	define(fs, "address", standaloneIP.String(), parseAddrs, &k.addrs, "`IP,...` of the cache")
	fs.BoolVar(&k.undo, "undo", false, "put back what was there before")
	define(fs, "timeout", "1m", parseSeconds, &k.patience, "wait for the cache to be ready for this `TIME`")
	return fs
}

func (k *kubeletDNS) run(stdout io.Writer) error {
	// Before the wait: a file that cannot be changed is the sooner known.
	if _, err := k.edited(); err != nil {
		return err
	}
	if !k.undo {
		if err := k.await(); err != nil {
			return fmt.Errorf("leaving %s as it is: %w", k.config, err)
		}
	}
	text, err := k.edited()
	if err != nil {
		return err
	}
	changed, err := replaceContent(k.config, text)
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
	text, err := readFile("the kubelet's configuration", k.config)
	if err != nil {
		return nil, err
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

// await waits until the cache is ready. It is asked over HTTP: DNS at the
// address is answered by the fallback, too, while there is no cache.
func (k *kubeletDNS) await() error {
	for deadline := time.Now().Add(k.patience); ; time.Sleep(time.Second) {
		err := k.ready()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// ready asks at the first address: one cache has them all.
func (k *kubeletDNS) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	url := "http://" + net.JoinHostPort(k.addrs[0].String(), k.readyPort) + "/ready"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true} // no proxy of the environment
	resp, err := (&http.Client{Transport: transport}).Do(req)
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

// replaceContent gives the file at path a new content in one step; owner and
// mode stay. It reports whether there was anything to do.
func replaceContent(path string, text []byte) (changed bool, err error) {
	old, err := os.ReadFile(path)
	if err != nil || string(old) == string(text) {
		return false, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("%s is not a regular file: name the file that it stands for", path)
	}
	err = swap(path, text, func(f *os.File) error {
		return cmp.Or(f.Chmod(info.Mode().Perm()), chownLike(f, info), f.Sync())
	})
	return err == nil, err
}

// chownLike gives f the owner of another file, for which the right is missing
// in a container; there both are root's.
func chownLike(f *os.File, info os.FileInfo) error {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(s.Uid) == os.Geteuid() && int(s.Gid) == os.Getegid() {
		return nil
	}
	return f.Chown(int(s.Uid), int(s.Gid))
}
