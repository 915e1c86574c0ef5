// SPDX-License-Identifier: Apache-2.0

package loads

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestLoads(t *testing.T) {
	for _, name := range []string{"hits", "zipf", "misses", "half"} {
		l, err := New(name)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		var buf [512]byte
		for range 2000 {
			n, rcode := l.Next(buf[:])
			m := new(dns.Msg)
			if err := m.Unpack(buf[:n]); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			q := m.Question[0].Name
			if outside := strings.Contains(q, OutsideZone) && !strings.HasSuffix(q, OutsideZone); outside != (rcode == dns.RcodeNameError) {
				t.Errorf("%s: %s is to have response code %d", name, q, rcode)
			}
			seen[string(buf[:n])] = true
		}
		want := map[string]int{"hits": 12, "misses": 2000, "half": 1012}[name]
		if want != 0 && len(seen) != want {
			t.Errorf("%s: %d different queries, want %d", name, len(seen), want)
		}
	}
	if _, err := New("none"); err == nil {
		t.Error("a load that is not there")
	}
}

func TestZipfNames(t *testing.T) {
	names := map[string]bool{}
	for _, q := range ZipfQueries() {
		m := new(dns.Msg)
		if err := m.Unpack(q.Wire); err != nil {
			t.Fatal(err)
		}
		names[m.Question[0].Name] = true
	}
	if len(names) != 10_000 {
		t.Errorf("%d names", len(names))
	}
}

func TestNumbered(t *testing.T) {
	l := &numbered{prefix: "name", number: 12_345_678}
	var buf [512]byte
	for _, want := range []string{"name-12345678.", "name-12345679."} {
		n, _ := l.Next(buf[:])
		m := new(dns.Msg)
		if err := m.Unpack(buf[:n]); err != nil || !strings.HasPrefix(m.Question[0].Name, want) {
			t.Errorf("%v, %v; want %s", m.Question, err, want)
		}
	}
}
