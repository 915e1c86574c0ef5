// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"errors"
	"strings"
	"testing"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"

	_ "github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

func TestLocated(t *testing.T) {
	c := Corefile{Path: "Corefile", Text: []byte("a {\n    forward . 192.0.2.1\n}\n. {\n    forward . 192.0.2.1 force_tcp\n    prometheus 9253\n    health :0x\n    ready 1\n}\nb {\n    ready 1\n}\n")}
	for _, tt := range []struct{ err, want string }{
		{`plugin/forward: failed to resolve "force_tcp": no such host`,
			`Corefile:5: forward . 192.0.2.1 force_tcp: "force_tcp" is no address of a server: want an IP address, a file such as /etc/resolv.conf, or a name with a dot in it`},
		{"starting with listener file descriptors: plugin/prometheus: address 9253: missing port in address", `Corefile:6: prometheus 9253: "9253" lacks a port: want ADDRESS:PORT, or :PORT for all addresses`},
		{"listen tcp: lookup tcp/0x: unknown port", `Corefile:7: health :0x: "0x" is no port: want a number from 1 to 65535`},
		{"plugin/ready: address 1: missing port in address", `Corefile:8 or Corefile:11: ready: "1" lacks a port: want ADDRESS:PORT, or :PORT for all addresses`},
		{"plugin/cache: of no directive", "plugin/cache: of no directive"},
		{"something else", "something else"},
	} {
		err := errors.New(tt.err)
		if got := Located(err, c); got.Error() != tt.want || !errors.Is(got, err) {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	c.Text = []byte("a {")
	if err := errors.New("plugin/forward: no upstream"); Located(err, c) != err {
		t.Errorf("got %s", Located(err, c))
	}
}

// TestLocatedInTemplate names lines of the template, which the stanza has moved.
func TestLocatedInTemplate(t *testing.T) {
	n := newNode(t)
	path := writeFile(t, n.dir, "Corefile.base", ".:53 {\n    bind __PILLAR__LOCAL__DNS__\n    cache {\n        success x\n    }\n}\n")
	c, err := n.renderer(t, "-localip 169.254.20.10 -conf DIR/Corefile -basecorefile DIR/Corefile.base").Render()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(c.Text), "nodelocal") {
		t.Fatalf("no stanza in:\n%s", c.Text)
	}
	want := path + `:4: cache: success x: "x" is not a number`
	plugins := Plugins{Known: []string{"bind", "cache"}}
	if faults, err := plugins.Faults(c); err != nil || len(faults) != 1 || faults[0].Text != want {
		t.Errorf("got %v, %v, want %s", faults, err, want)
	}
	for said, want := range map[string]string{
		`plugin/cache: strconv.Atoi: parsing "x": invalid syntax`:                     want,
		"plugin/nodelocal: " + c.Path + ":2: address 192.0.2.1: no server":            "plugin/nodelocal: " + c.Path + ":2 (as rendered): address 192.0.2.1: no server",
		"plugin/hosts: " + c.Path + ":9 - Error during parsing: unknown property 'x'": "plugin/hosts: " + path + ":6: unknown property 'x'",
	} {
		if got := Located(errors.New(said), From(c.Input())).Error(); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", said, got, want)
		}
	}
}
