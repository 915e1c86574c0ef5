// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRendererModes(t *testing.T) {
	n := newNode(t)
	writeFile(t, n.dir, "Corefile.base", template)
	writeFile(t, n.dir, "own", ".:53 {\n    nodelocal 10.0.0.1\n    forward . __PILLAR__CLUSTER__DNS__\n}\n")
	writeFile(t, n.dir, "plain", ".:53 {\n    whoami # __PILLAR__LOCAL__DNS__\n}\n")
	if err := os.Mkdir(filepath.Join(n.dir, "kube-dns"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(n.dir, "kube-dns"), "upstreamNameservers", `["198.51.100.1"]`)
	tests := []struct {
		name, flags, path string
		want              []string
	}{
		{"standalone", "", "Corefile", []string{
			"nodelocal 169.254.20.10 {\n        fallback 10.96.0.10\n    }\n", "forward . " + n.dir + "/resolv.conf {\n"}},
		{"embedded", "-localip 169.254.20.10", "Corefile", []string{"cluster.local {", "hedge . 10.96.0.10 {"}},
		{"template", "-localip fd00::a,10.96.0.10 -basecorefile DIR/Corefile.base -uplink open -syncinterval 60ns -skipteardown -health-port 99", "Corefile", []string{
			"nodelocal fd00::a 10.96.0.10 {\n        uplink open\n        resync 1m0s\n        health_port 99\n        fallback 10.96.0.10\n        skip_teardown\n    }\n"}},
		{"ConfigMap", "-localip 10.0.0.1 -basecorefile DIR/Corefile.base -kubednscm DIR/kube-dns", "Corefile", []string{"forward . 198.51.100.1\n"}},
		{"no network", "-setupinterface=false -setupiptables=false", "Corefile", []string{
			"{\n        link none\n        firewall none\n        fallback none\n    }\n"}},
		{"fallback", "-setupiptables=false -fallback 10.0.0.9 -fallback-zone 700 -interfacename x", "Corefile", []string{
			"{\n        interface x\n        firewall none\n        fallback 10.0.0.9\n        fallback_zone 700\n    }\n"}},
		{"own stanza", "-localip 10.0.0.1 -basecorefile DIR/own", "Corefile", []string{".:53 {\n    nodelocal 10.0.0.1\n    forward . 10.96.0.10\n}\n"}},
		{"as it is", "-conf DIR/plain", n.dir + "/plain", []string{".:53 {\n    whoami # __PILLAR__LOCAL__DNS__\n}\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := n.renderer(t, tt.flags).Load()
			if err != nil {
				t.Fatal(err)
			}
			if c.Path != tt.path || len(c.Warnings) > 0 {
				t.Errorf("path %s, want %s; warnings %q", c.Path, tt.path, c.Warnings)
			}
			contains(t, string(c.Text), tt.want...)
		})
	}
}

func TestRendererNotes(t *testing.T) {
	tests := []struct{ name, env, flags, want string }{
		{"no ClusterIP", "", "-localip 169.254.20.10,fd00::a",
			"No fallback: KUBE_DNS_SERVICE_HOST is not set, so nothing answers at 169.254.20.10 fd00::a while the cache is away; see -upstreamsvc and -fallback"},
		{"other family", "fd00::10", "-localip 169.254.20.10",
			"No fallback: fd00::10 is not of the family of 169.254.20.10, at which nothing answers while the cache is away; see -fallback"},
		{"other family in part", "10.96.0.10", "-localip 169.254.20.10,fd00::20:10,10.96.0.10,fd00::a",
			"No fallback at fd00::20:10: 10.96.0.10 is of the other family, so nothing answers there while the cache is away; name a ClusterIP of each family with -fallback"},
		{"other family, IPVS", "10.96.0.10", "-localip 169.254.20.10,fd00::20:10", "No fallback at fd00::20:10: "},
		{"other family, IPv6 first", "fd00::a", "-localip fd00::20:10,169.254.20.10", "No fallback at 169.254.20.10: fd00::a is"},
		{"dual stack by its ClusterIPs", "10.96.0.10", "-localip 169.254.20.10,10.96.0.10,fd00::a", ""},
		{"no directory", "10.96.0.10", "-localip 169.254.20.10 -kubednscm DIR/absent",
			"No directory DIR/absent: serving without the ConfigMap of kube-dns until it appears"},
		{"output", "10.96.0.10", "-localip 169.254.20.10 -conf DIR/absent/Corefile",
			"Not keeping a copy of the rendered Corefile: creating a file beside DIR/absent/Corefile: no such file or directory"},
		{"no Kubernetes", "", "", ""},
		{"none wanted", "", "-localip 169.254.20.10 -fallback none", ""},
		{"no rules", "10.96.0.10", "-localip 169.254.20.10,10.96.0.10 -setupiptables=false",
			"No fallback: with -firewall none (-setupiptables=false) nothing answers at 169.254.20.10 while the cache is away; -fallback 10.96.0.10 makes a table for that alone"},
		{"no rules, and only the ClusterIP", "10.96.0.10", "-localip 10.96.0.10 -firewall none", ""},
		{"no rules, own IPv6 address", "fd00:96::a", "-localip fd00::10 -firewall none",
			"No fallback: with -firewall none (-setupiptables=false) nothing answers at fd00::10 while the cache is away; -fallback fd00:96::a makes a table for that alone"},
		{"no rules, both families", "10.96.0.10", "-localip 169.254.20.10,fd00::20:10 -firewall none",
			"No fallback: with -firewall none (-setupiptables=false) nothing answers at 169.254.20.10 fd00::20:10 while"},
		{"no rules, no ClusterIP", "", "-localip fd00::10 -firewall none",
			"No fallback: with -firewall none (-setupiptables=false) nothing answers at fd00::10 while the cache is away; -fallback CLUSTERIP makes"},
		{"no rules and no link", "10.96.0.10", "-localip 169.254.20.10 -firewall none -link none", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.env["KUBE_DNS_SERVICE_HOST"] = tt.env
			writeFile(t, n.dir, "Corefile.base", template)
			if tt.flags != "" {
				tt.flags += " -basecorefile DIR/Corefile.base"
			}
			c, err := n.renderer(t, tt.flags).Load()
			if err != nil {
				t.Fatal(err)
			}
			got, want := strings.Join(c.Warnings, "\n"), strings.ReplaceAll(tt.want, "DIR", n.dir)
			if !strings.HasPrefix(got, want) || want == "" && got != "" {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestRendererErrors(t *testing.T) {
	n := newNode(t)
	writeFile(t, n.dir, "trace", "\n.:53 {\n    trace\n}\n")
	writeFile(t, n.dir, "import", ".:53 {\n    import imported\n}\n")
	writeFile(t, n.dir, "imported", "\nchache\n")
	tests := []struct{ flags, env, want string }{
		{"-localip 10.0.0.1", "kube", `environment variable KUBE_DNS_SERVICE_HOST: "kube" is not an IP address`},
		{"-localip 10.0.0.1", "0.0.0.0", "environment variable KUBE_DNS_SERVICE_HOST: 0.0.0.0 is the unspecified address, not that of one host"},
		{"-localip 10.0.0.1", "::1", "environment variable KUBE_DNS_SERVICE_HOST: ::1 is a loopback address, which no Service has"},
		{"-localip 10.0.0.1", "224.0.0.1", "environment variable KUBE_DNS_SERVICE_HOST: 224.0.0.1 is a multicast address, not that of one host"},
		{"-localip 10.0.0.1", "255.255.255.255", "environment variable KUBE_DNS_SERVICE_HOST: 255.255.255.255 is the broadcast address, not that of one host"},
		{"-localip 10.0.0.1 -basecorefile DIR/trace", "", `DIR/trace:3: directive "trace" is part of CoreDNS but not of this binary`},
		{"-localip 10.0.0.1 -basecorefile DIR/import -conf DIR/out", "", `DIR/imported:2: unknown directive "chache"`},
		{"-conf DIR/import", "", `DIR/imported:2: unknown directive "chache" (did you mean "cache"?)`},
		{"-conf DIR", "", "reading Corefile: read DIR: is a directory"},
	}
	for _, tt := range tests {
		n.env["KUBE_DNS_SERVICE_HOST"] = tt.env
		_, err := n.renderer(t, tt.flags).Load()
		if want := strings.ReplaceAll(tt.want, "DIR", n.dir); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.flags, err, want)
		}
	}
}

// TestTemplateStays makes sure that a vanished default template is not replaced by the embedded one.
func TestTemplateStays(t *testing.T) {
	n := newNode(t)
	l := n.renderer(t, "-localip 10.0.0.1")
	l.Opts.BaseCorefile = filepath.Join(n.dir, "Corefile.base")
	c, err := l.Load()
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(c.Text), "cluster.local {")
	path := writeFile(t, n.dir, "Corefile.base", template)
	if c, err = l.Load(); err != nil || strings.Contains(string(c.Text), "cluster.local") {
		t.Errorf("the template that appeared is not used: %v\n%s", err, c.Text)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err = l.Load(); err == nil {
		t.Error("no error although the template is gone")
	}
}

// TestCorefileWithoutTemplate has a Corefile at -conf and no template, as manifests of installers do: the reference runs it.
func TestCorefileWithoutTemplate(t *testing.T) {
	n := newNode(t)
	l := n.renderer(t, "-localip 10.0.0.1 -conf DIR/Corefile")
	l.Opts.BaseCorefile = filepath.Join(n.dir, "Corefile.base")
	const own = ".:53 {\n    bind 10.0.0.1\n    whoami\n}\n"
	path := writeFile(t, n.dir, "Corefile", own)
	load := func(want ...string) {
		t.Helper()
		c, err := l.Load()
		if err != nil {
			t.Fatal(err)
		}
		contains(t, string(c.Text), want...)
	}
	load("nodelocal 10.0.0.1 {", "whoami")
	if got := readString(t, path); got != own {
		t.Errorf("overwritten with:\n%s", got)
	}
	writeFile(t, n.dir, "Corefile", strings.Replace(own, "whoami", "chaos", 1))
	load("chaos")
	for _, change := range []func(){func() { writeFile(t, n.dir, "Corefile", "\n") }, func() { _ = os.Remove(path) }} {
		change()
		if _, err := l.Load(); err == nil {
			t.Error("no error although the Corefile is gone, or empty")
		}
	}

	base := writeFile(t, n.dir, "Corefile.base", template)
	load("resolv.conf")
	if err := os.Remove(base); err != nil {
		t.Fatal(err)
	}
	l.sawTemplate = "" // the next start, which finds the copy of this one
	load("cluster.local {")

	writeFile(t, n.dir, "Corefile", " \n")
	load("cluster.local {")
}
