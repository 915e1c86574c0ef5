// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"strings"
	"testing"

	"github.com/nodelocaldns/nodelocaldns/corefiles/kubedns"
)

// TestLines follows each directive of the embedded template, and of templates with odd forms, through all kinds of edits.
func TestLines(t *testing.T) {
	for name, text := range map[string]string{
		"embedded": string(Kubernetes),
		"one line": ". { # marked\n    errors # marked\n    forward . __PILLAR__UPSTREAM__SERVERS__ {\n        force_tcp\n        prefer_udp # marked\n    }\n}\n",
		"no end":   "a {\n    whoami # marked\n}\n. {\n    bind nodelocaldns # marked\n\n    errors # marked\n}",
		"DOS":      ".:53 {\r\n    whoami # marked\r\n    errors # marked\r\n}\r\n",
	} {
		p := params()
		p.PacketCache, p.Link = true, "nodelocaldns"
		p.KubeDNS = kubedns.Config{UpstreamNameservers: []string{"192.0.2.53"}, StubDomains: map[string][]string{"acme.local": {"192.0.2.54"}}}
		p.Stanza = Stanza{Addresses: p.LocalIPs, Options: [][]string{{"link", "dummy"}}}
		r, err := Render(Template{Path: "T", Text: []byte(text)}, p)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		made, from := strings.Split(string(r.Text), "\n"), strings.Split(text, "\n")
		if len(r.Lines) != len(made) {
			t.Fatalf("%s: %d lines, want %d", name, len(r.Lines), len(made))
		}
		seen := 0
		for i, line := range made {
			origin := r.Lines[i]
			words := strings.Fields(line)
			switch {
			case origin == 0 && strings.Contains(line, "marked"):
				t.Errorf("%s: line %q has no origin", name, line)
			case origin > 0 && len(words) > 0 && !strings.Contains(from[origin-1], words[0]) && !strings.Contains(from[origin-1], "__"):
				t.Errorf("%s: line %q is said to be from %q", name, line, from[origin-1])
			case origin > 0:
				seen++
			}
		}
		if seen == 0 {
			t.Errorf("%s: no line has an origin", name)
		}
	}
}
