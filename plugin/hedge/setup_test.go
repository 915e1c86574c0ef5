// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
)

func TestParse(t *testing.T) {
	usual := options{From: ".", To: []string{"10.96.0.11:53"}, After: 50 * time.Millisecond, Timeout: 3 * time.Second, MaxAge: 30 * time.Second, MaxConcurrent: defaultConcurrent}
	with := func(f func(*options)) []options { o := usual; f(&o); return []options{o} }
	for text, want := range map[string][]options{
		"hedge . 10.96.0.11":                           {usual},
		"hedge . dns://10.96.0.11":                     {usual},
		"hedge Example.org 10.96.0.11:5353 fd00::1":    with(func(o *options) { o.From, o.To = "example.org.", []string{"10.96.0.11:5353", "[fd00::1]:53"} }),
		"hedge . 10.96.0.11 {\n after 200ms\n}":        with(func(o *options) { o.After = 200 * time.Millisecond }),
		"hedge . 10.96.0.11 {\n timeout 1s\n}":         with(func(o *options) { o.Timeout = time.Second }),
		"hedge . 10.96.0.11 {\n max_age 0s\n}":         with(func(o *options) { o.MaxAge = 0 }),
		"hedge . 10.96.0.11 {\n max_concurrent 5\n}":   with(func(o *options) { o.MaxConcurrent = 5 }),
		"hedge . 10.96.0.11\nhedge a.test. 10.96.0.11": {usual, with(func(o *options) { o.From = "a.test." })[0]},
	} {
		got, err := parseAll(caddy.NewTestController("dns", text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"hedge":                                        "want a zone and at least one address",
		"hedge 10.96.0.11":                             "want a zone and at least one address",
		"hedge . tls://10.96.0.11":                     "for tls use forward",
		"hedge . nowhere":                              "not an IP address",
		"hedge . 10.96.0.11 {\n after\n}":              "after: want one value, got 0",
		"hedge . 10.96.0.11 {\n after 0s\n}":           `after "0s": want a duration from 1ms to 1m0s`,
		"hedge . 10.96.0.11 {\n after 3s\n}":           "want less than the timeout of 3s",
		"hedge . 10.96.0.11 {\n timeout soon\n}":       `timeout "soon": want a duration`,
		"hedge . 10.96.0.11 {\n max_age -1s\n}":        `max_age "-1s": want a duration`,
		"hedge . 10.96.0.11 {\n max_concurrent 0\n}":   `max_concurrent "0": want a number`,
		"hedge . 10.96.0.11 {\n force_tcp yes\n}":      `unknown option "force_tcp": known are after, timeout, max_age and max_concurrent`,
		"hedge . " + strings.Repeat("10.96.0.11 ", 16): "16 addresses; want 15 at most",
	} {
		if got, err := parseAll(caddy.NewTestController("dns", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %s", text, got, err, want)
		}
	}
}

func TestSetup(t *testing.T) {
	c := caddy.NewTestController("dns", "hedge a.test 127.0.0.1:1 {\n timeout 1s\n}\nhedge . 127.0.0.1:1\nhedge b.test 127.0.0.1:1 {\n max_age 1m\n}")
	if err := setup(c); err != nil {
		t.Fatal(err)
	}
	plugins := dnsserver.GetConfig(c).Plugin
	if len(plugins) != 3 {
		t.Fatalf("%d plugins", len(plugins))
	}
	var all []*Hedge
	for _, p := range plugins {
		h, ok := p(nil).(*Hedge)
		if !ok || h.Name() != "hedge" || len(h.upstreams) != 1 {
			t.Fatalf("%+v", h)
		}
		defer h.close()
		all = append(all, h)
	}
	if all[0].upstreams[0] != all[1].upstreams[0] || all[0].upstreams[0] == all[2].upstreams[0] {
		t.Error("an upstream that is named alike is not shared, or one that is not is")
	}
}
