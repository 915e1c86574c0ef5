// SPDX-License-Identifier: Apache-2.0

package kubeletconfig

import (
	"net/netip"
	"strings"
	"testing"
)

const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

// TestClusterDNS changes every form of the kubelet's configuration twice, and restores it.
func TestClusterDNS(t *testing.T) {
	const note = "# nodelocaldns kubelet-dns changed clusterDNS, which was:\n"
	const entry = "clusterDNS:\n- \"169.254.20.10\"\n"
	tests := map[string]struct{ before, after string }{
		"as kubeadm writes it": {
			"clusterDNS:\n- 10.96.0.10\nclusterDomain: cluster.local\n",
			note + "# was: clusterDNS:\n# was: - 10.96.0.10\n" + entry + "clusterDomain: cluster.local\n",
		},
		"indented, two, at the end": {
			"clusterDomain: a\nclusterDNS: # of both families\n  - 10.96.0.10\n  - fd00::a # second\n",
			"clusterDomain: a\n" + note + "# was: clusterDNS: # of both families\n# was:   - 10.96.0.10\n# was:   - fd00::a # second\n" + entry,
		},
		"with comments": {"clusterDNS:\n# first\n\n- 10.96.0.10\n# of what follows\nx: 1\n",
			note + "# was: clusterDNS:\n# was: # first\n# was: \n# was: - 10.96.0.10\n" + entry + "# of what follows\nx: 1\n"},
		"in brackets": {"clusterDNS: [10.96.0.10]\nx: 1\n", note + "# was: clusterDNS: [10.96.0.10]\n" + entry + "x: 1\n"},
		"null":        {"clusterDNS: null\n", note + "# was: clusterDNS: null\n" + entry},
		"not there":   {"clusterDomain: cluster.local\n", "clusterDomain: cluster.local\n" + note + entry},
		"another list": {"tlsCipherSuites:\n- a\nclusterDNS: []\n",
			"tlsCipherSuites:\n- a\n" + note + "# was: clusterDNS: []\n" + entry},
	}
	addr := []netip.Addr{netip.MustParseAddr("169.254.20.10")}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			text := []byte(head + tt.before)
			for range 2 {
				var err error
				if text, err = SetClusterDNS(text, addr); err != nil {
					t.Fatal(err)
				}
				if got := strings.TrimPrefix(string(text), head); got != tt.after {
					t.Fatalf("got\n%s\nwant\n%s", got, tt.after)
				}
			}
			for range 2 {
				var err error
				if text, err = UndoClusterDNS(text); err != nil {
					t.Fatal(err)
				}
				if got := strings.TrimPrefix(string(text), head); got != tt.before {
					t.Fatalf("put back: got\n%s\nwant\n%s", got, tt.before)
				}
			}
		})
	}
}

func TestClusterDNSErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "not a KubeletConfiguration in YAML",
		`{"kind": "KubeletConfiguration"}`: "not a KubeletConfiguration in YAML",
		head + "clusterDNS: &dns\n- 10.96.0.10\n":   "line 3: cannot read this form of clusterDNS: &dns",
		head + "clusterDNS:\n-\n  10.96.0.10\n":     "line 4: cannot read this form of clusterDNS: -",
		head + "clusterDNS:\n- a\n  b\n":            "line 5: cannot read this form of clusterDNS: b",
		head + "clusterDNS: [10.96.0.10,\n  ::1]\n": "line 3: cannot read this form of clusterDNS: [10.96.0.10,",
	} {
		if got, err := SetClusterDNS([]byte(text), nil); got != nil || err == nil || err.Error() != want {
			t.Errorf("%s\ngot %v, want %s", text, err, want)
		}
	}
	moved := head + noteMark + "\n# was: clusterDNS:\nx: 1\nclusterDNS:\n- 169.254.20.10\n"
	if _, err := UndoClusterDNS([]byte(moved)); err == nil || !strings.HasSuffix(err.Error(), "put it right by hand") {
		t.Error("got", err)
	}
}

// FuzzClusterDNS: what was changed can be put back to the byte, but for a missing newline at the end.
func FuzzClusterDNS(f *testing.F) {
	for _, seed := range []string{"clusterDNS:\n- 10.96.0.10\n", "clusterDNS: []", "x:\n- a\n", "\r\nclusterDNS:\r\n- a\r\n"} {
		f.Add([]byte(head + seed))
	}
	addr := []netip.Addr{netip.MustParseAddr("169.254.20.10")}
	f.Fuzz(func(t *testing.T, before []byte) {
		if strings.Contains(string(before), noteMark) {
			t.Skip("it was changed before")
		}
		changed, err := SetClusterDNS(before, addr)
		if err != nil {
			t.Skip(err)
		}
		after, err := UndoClusterDNS(changed)
		if err != nil || strings.TrimSuffix(string(after), "\n") != strings.TrimSuffix(string(before), "\n") {
			t.Errorf("%v\nbefore\n%q\nchanged\n%q\nput back\n%q", err, before, changed, after)
		}
	})
}
