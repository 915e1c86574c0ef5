// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"net/netip"
	"strings"
	"testing"
)

// TestBindable names 192.0.2.x, addresses for documentation, which no interface has.
func TestBindable(t *testing.T) {
	for _, tt := range []struct{ text, own, want string }{
		{".:53 {\n    bind 127.0.0.1\n}", "", ""},
		{".:53 {\n    bind lo\n}", "", ""},
		{".:53 {\n    bind 0.0.0.0\n}", "", ""},
		{".:53 {\n    bind fe80::1%lo\n}", "", "Corefile:2: bind fe80::1%lo: neither an IP address nor the name of an interface"},
		{".:53 {\n    bind lo\n    bind eht0\n}", "", "Corefile:3: bind eht0: neither an IP address nor the name of an interface"},
		{".:53 {\n    bind 127.0.0.1:53\n}", "", "Corefile:2: bind 127.0.0.1:53: neither an IP address nor the name of an interface: write 127.0.0.1"},
		{".:53 {\n    nodelocal 192.0.2.9\n    bind nodelocaldns\n}", "",
			"Corefile:3: bind nodelocaldns: this link is made after bind has looked for it: name its addresses"},
		{".:53 {\n    nodelocal 192.0.2.9 {\n        interface lo\n    }\n    bind lo\n}", "",
			"Corefile:5: bind lo: this link is made after bind has looked for it: name its addresses"},
		{".:53 {\n    nodelocal {\n        interface lo\n        link none\n    }\n    bind lo\n}", "", ""},
		{".:53 {\n    bind 127.0.0.1 192.0.2.9\n}", "", "Corefile:2: bind 192.0.2.9: no interface has this address, and no nodelocal stanza names it"},
		{"a:53 {\n    bind 127.0.0.1\n}\nb:53 {\n    whoami\n    bind 127.0.0.1\n    bind 192.0.2.9\n}", "",
			"Corefile:7: bind 192.0.2.9: no interface has this address, and no nodelocal stanza names it"},
		{".:53 {\n    bind 127.0.0.1 {\n        except 192.0.2.9\n    }\n}", "", ""},
		{".:53 {\n    bind 192.0.2.9\n}", "192.0.2.9", ""},
		{".:53 {\n    bind 192.0.2.9\n}", "192.0.2.8", "Corefile:2: bind 192.0.2.9: no interface has this address, and no nodelocal stanza names it"},
		{"a:53 {\n    bind 192.0.2.9\n}\nb:53 {\n    nodelocal 192.0.2.9 {\n        fallback 192.0.2.8\n    }\n    bind 192.0.2.9\n}", "", ""},
		{".:53 {\n    nodelocal 192.0.2.9 {\n        fallback 192.0.2.8\n    }\n    bind 192.0.2.8\n}", "",
			"Corefile:5: bind 192.0.2.8: no interface has this address, and no nodelocal stanza names it"},
		{"a:53 {\n    bind 192.0.2.9\n}\nb:53 {\n    nodelocal\n    bind 192.0.2.9\n}", "", ""},
		{".:53 {", "", "Corefile:1: "},
	} {
		var own []netip.Addr
		if tt.own != "" {
			own = append(own, netip.MustParseAddr(tt.own))
		}
		err := Bindable("Corefile", []byte(tt.text), own)
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s\ngot  %v\nwant %s", tt.text, err, tt.want)
		}
	}
}
