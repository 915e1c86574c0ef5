// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated files and the goldens")

// TestCurrent compares the generated files with what would be generated now.
func TestCurrent(t *testing.T) {
	golden(t, "common/configmap.yaml", configMap(configMapHead, template()))
	golden(t, "components/no-aaaa/configmap.yaml", configMap(noAAAAHead, withoutAAAA(template())))
	golden(t, "components/kernel-hits/configmap.yaml", configMap(kernelHitsHead, withKernelHits(template())))
	golden(t, "nodelocaldns.yaml", singleFile())
	golden(t, monitoring+"dashboard.json", dashboard())
	const chart = "../charts/nodelocaldns/files/"
	golden(t, chart+"kubernetes.corefile", template())
	golden(t, chart+"no-aaaa.corefile", noAAAA)
	for _, name := range []string{"dashboard.json", "prometheusrule.yaml"} {
		golden(t, chart+name, text(t, monitoring+name))
	}
}

// golden compares text with a file, or writes it with -update.
func golden(t *testing.T, path, text string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != text {
		t.Errorf("%s is not what would be written now: run go generate ./manifests, or this test with -update (%v)", path, err)
	}
}

func addrs(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestRender(t *testing.T) {
	for name, v := range map[string]Values{
		"iptables":   {Mode: IPTables, LocalIPs: addrs("169.254.20.10"), DNSServers: addrs("10.96.0.10")},
		"ipvs":       {Mode: IPVS, LocalIPs: addrs("169.254.20.10"), DNSServers: addrs("10.96.0.10")},
		"dual-stack": {Mode: IPTables, LocalIPs: addrs("169.254.20.10"), DNSServers: addrs("10.96.0.10", "fd00:10:96::a")},
		"ipv6":       {Mode: IPTables, LocalIPs: addrs("fd00::20:10"), DNSServers: addrs("fd00:10:96::a")},
		"dual-own":   {Mode: IPTables, LocalIPs: addrs("169.254.20.10", "fd00::20:10"), DNSServers: addrs("10.96.0.10", "fd00:10:96::a")},
		"cilium":     {Mode: Cilium},
	} {
		t.Run(name, func(t *testing.T) {
			v.Service, v.ClusterDomain, v.Image = "cluster-dns", "example.org", "registry.example/cache:1"
			got, err := Render(v)
			if err != nil {
				t.Fatal(err)
			}
			for _, left := range []string{localDNS, dnsServer, dnsDomain, Image, "cluster.local\n"} {
				// With Cilium the Corefile's variables are left to the cache: the pod's address is not known before.
				if strings.Contains(got, left) && v.Mode != Cilium {
					t.Errorf("%q is left", left)
				}
			}
			if more := strings.Count(v.fallback(), "\n"); v.Mode != Cilium && strings.Count(got, "\n") != strings.Count(singleFile(), "\n")+more {
				t.Error("it has not the lines of the single file")
			}
			golden(t, "testdata/"+name+".golden", newLines(singleFile(), got))
		})
	}
}

// newLines returns the lines of text that are not in old: the lines that were filled in.
func newLines(old, text string) string {
	known := map[string]bool{}
	for line := range strings.Lines(old) {
		known[line] = true
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !known[line] {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestRenderErrors(t *testing.T) {
	for want, v := range map[string]Values{
		"the cache has no address of its own": {Mode: IPVS},
		"kube-dns has no ClusterIP":           {Mode: IPTables, LocalIPs: addrs("169.254.20.10")},
		`unknown mode "ebpf"`:                 {Mode: "ebpf", LocalIPs: addrs("169.254.20.10")},
	} {
		if text, err := Render(v); text != "" || err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestOverlaysRepeatTheArgs finds out an overlay whose args, which a patch can only replace as a whole, lack one that
// base has.
func TestOverlaysRepeatTheArgs(t *testing.T) {
	base := args(t, "base/daemonset.yaml")
	for _, overlay := range []string{"overlays/ipvs/args.yaml", "overlays/dual-stack/args.yaml"} {
		got := args(t, overlay)
		if len(got) != len(base) {
			t.Fatalf("%s has %q", overlay, got)
		}
		for i := range got {
			if got[i] != base[i] && got[i-1] != "-localip" {
				t.Errorf("%s: %s, want %s", overlay, got[i], base[i])
			}
		}
	}
}

func args(t *testing.T, path string) (args []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "        args:\n")
	for line := range strings.Lines(rest) {
		arg, ok := strings.CutPrefix(line, "        - ")
		if !ok {
			break
		}
		args = append(args, strings.Trim(strings.TrimSpace(arg), `"`))
	}
	return args
}

// TestImage finds a file that names another image than the one that render and kustomize replace.
func TestImage(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			if _, image, ok := strings.Cut(line, "image: "); ok && strings.TrimSpace(image) != Image &&
				!strings.HasPrefix(image, "registry.k8s.io/coredns/coredns") {
				t.Errorf("%s: %s", path, line)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
