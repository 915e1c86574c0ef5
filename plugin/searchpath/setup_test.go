// SPDX-License-Identifier: Apache-2.0

package searchpath

import (
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		text  string
		keys  []string // of the server block
		zones []string
		cuts  bool
		fault string
	}{
		{"searchpath", []string{"dns://cluster.local.:53"}, []string{"cluster.local."}, true, ""},
		{"searchpath Cluster.Local", []string{"dns://.:53"}, []string{"cluster.local."}, true, ""},
		{"searchpath a.example b.example {\n cuts off\n}", []string{"dns://.:53"}, []string{"a.example.", "b.example."}, false, ""},
		{"searchpath", []string{"dns://.:53"}, nil, false, `zone "." is not the zone of a cluster's Services`},
		{"searchpath", []string{"dns://cluster.local.:53", "dns://in-addr.arpa.:53"}, nil, false, `zone "in-addr.arpa."`},
		{"searchpath 10.0.0.0/8", nil, nil, false, `zone "10.in-addr.arpa."`},
		{"searchpath 8.b.d.0.1.0.0.2.ip6.arpa", nil, nil, false, "ip6.arpa"},
		{"searchpath arpa", nil, nil, false, `zone "arpa."`},
		{"searchpath cluster.local {\n cuts on\n}", nil, nil, false, `unknown option "cuts": known is cuts off`},
		{"searchpath cluster.local {\n cuts\n}", nil, nil, false, "unknown option"},
		{"searchpath cluster.local {\n cut off\n}", nil, nil, false, `unknown option "cut"`},
		{"searchpath cluster.local\nsearchpath other.local", nil, nil, false, "given twice in one server block"},
	} {
		c := caddy.NewTestController("dns", tt.text)
		c.ServerBlockKeys = tt.keys
		zones, cuts, err := parse(c)
		if tt.fault != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("%s: %v, want %s", tt.text, err, tt.fault)
			}
			continue
		}
		if err != nil || !slices.Equal(zones, tt.zones) || cuts != tt.cuts {
			t.Errorf("%s: %v %v %v", tt.text, zones, cuts, err)
		}
	}
}

func TestSetup(t *testing.T) {
	c := caddy.NewTestController("dns", "searchpath cluster.local")
	if err := setup(c); err != nil {
		t.Error(err)
	}
	if err := setup(caddy.NewTestController("dns", "searchpath .")); err == nil || !strings.HasPrefix(err.Error(), "plugin/searchpath: ") {
		t.Error(err)
	}
}
