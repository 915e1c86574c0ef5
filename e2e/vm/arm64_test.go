// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// emulator translates the programs of the image for arm64. Its user mode passes system calls on to this kernel, but for netfilter's
// netlink: so the cache has no link and no rules there.
const emulator = "/qemu-aarch64-static"

const armCorefile = `.:53 {
    bind 127.0.0.1
    prometheus 127.0.0.1:9253
    packetcache
    cache 30
    reload 2s 1s
    template IN A . {
        answer "{{ .Name }} 60 IN A 192.0.2.%d"
    }
}
`

// TestARM64 runs the image for arm64: the cache answers, has hits in the packet cache, reads its configuration anew and ends, and the
// image's iptables finds its libraries.
func TestARM64(t *testing.T) {
	t.Parallel()
	root := required(t, "ARM64_ROOT")
	n := netns.New(t, "arm64")
	n.Exec(t, "", "ip", "link", "set", "lo", "up")
	for program, want := range map[string]string{
		"iptables-legacy": "iptables v1.", "iptables-nft": "iptables: Failed to initialize nft: Protocol not supported", // netlink, see emulator
	} {
		if out, _ := n.Output("", harness.Which(t, "chroot"), root, emulator, findIn(t, root, program), "-V"); !strings.HasPrefix(out, want) {
			t.Errorf("%s: %s", program, out)
		}
	}
	setRecord := func(number int) {
		harness.Replace(t, filepath.Join(root, "Corefile"), fmt.Sprintf(armCorefile, number))
	}
	setRecord(1)
	p := process.Start(t, n, process.Command{Path: harness.Which(t, "chroot"), Args: []string{root, emulator, "/nodelocaldns", "-conf", "/Corefile"}})
	answers(t, n, "192.0.2.1")
	harness.Until(t, time.Minute, "hit", func() error {
		answers(t, n, "192.0.2.1")
		page, err := n.Get("http://127.0.0.1:9253/metrics")
		if err != nil {
			return err
		}
		hits, err := process.Metric(page, "coredns_packetcache_hits_total")
		if err == nil && hits == 0 {
			err = errors.New("none")
		}
		return err
	})
	setRecord(2)
	answers(t, n, "192.0.2.2")
	p.Signal(t, syscall.SIGTERM)
	if code := p.Wait(t, time.Minute); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// answers waits until the cache gives an address.
func answers(t *testing.T, n *netns.Namespace, want string) {
	t.Helper()
	q := client.Query{Server: client.Port53(netip.AddrFrom4([4]byte{127, 0, 0, 1})), Name: "www.example.org.", Type: dns.TypeA, Timeout: 5 * time.Second}
	harness.Until(t, time.Minute, "answer "+want, func() error {
		m, err := client.Ask(n, q)
		if err == nil && (len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != want) {
			err = fmt.Errorf("%v", m)
		}
		return err
	})
}

// findIn returns the path of a program below root, as programs there see it.
func findIn(t *testing.T, root, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/bin/"} {
		if _, err := os.Lstat(root + dir + name); err == nil {
			return dir + name
		}
	}
	t.Fatalf("no %s in %s", name, root)
	return ""
}
