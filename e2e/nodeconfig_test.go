// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// nodeConfig is the configuration file of a node's kubelet, which says what new pods ask.
type nodeConfig struct {
	lab  *lab.Lab
	path string
}

// newNodeConfig writes the file to where the pods of the overlay kubelet-clusterdns expect it.
func newNodeConfig(t *testing.T, l *lab.Lab, clusterDNS netip.Addr) nodeConfig {
	t.Helper()
	args := manifestArgs(t, "node-local-dns-kubelet-on")
	k := nodeConfig{l, args[slices.Index(args, "-config")+1]}
	text := "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nclusterDNS:\n- " + clusterDNS.String() + "\n"
	err := os.MkdirAll(filepath.Dir(k.path), 0o755)
	if err == nil {
		err = os.WriteFile(k.path, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var clusterDNSLine = regexp.MustCompile(`(?m)^clusterDNS:\n- "?([0-9.]+)"?$`)

// nameserver is the nameserver of a pod that is made now.
func (k nodeConfig) nameserver(t *testing.T) netip.Addr {
	t.Helper()
	m := clusterDNSLine.FindStringSubmatch(readFile(t, k.path))
	if m == nil {
		t.Fatalf("no clusterDNS:\n%s", readFile(t, k.path))
	}
	return netip.MustParseAddr(m[1])
}

// edit runs the command of the pods that the label "on" or "off" brings to the node.
func (k nodeConfig) edit(t *testing.T, label string, more ...string) (string, error) {
	t.Helper()
	return k.lab.Node.Output("", harness.NodeLocalDNS(t), append(manifestArgs(t, "node-local-dns-kubelet-"+label), more...)...)
}

// changes has the command change the file.
func (k nodeConfig) changes(t *testing.T, label string) {
	t.Helper()
	if out, err := k.edit(t, label); err != nil || !strings.Contains(out, "changed clusterDNS in "+k.path) {
		t.Fatalf("label %s: %v\n%s", label, err, out)
	}
}

// refuses has the command leave the file as it is, as no cache is ready.
func (k nodeConfig) refuses(t *testing.T) {
	t.Helper()
	before := readFile(t, k.path)
	out, err := k.edit(t, "on", "-timeout", "1s")
	if err == nil || !strings.Contains(out, "no cache is ready on this node") || readFile(t, k.path) != before {
		t.Errorf("without a cache: %v\n%s\n%s", err, out, readFile(t, k.path))
	}
}
