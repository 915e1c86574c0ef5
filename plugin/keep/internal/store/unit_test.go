// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestKey(t *testing.T) {
	question := func(change func(*dns.Msg)) *dns.Msg {
		r := new(dns.Msg).SetQuestion("a.test.", dns.TypeA)
		change(r)
		return r
	}
	base := func(*dns.Msg) {}
	edns := func(do bool) func(*dns.Msg) { return func(r *dns.Msg) { r.SetEdns0(1232, do) } }
	option := func(r *dns.Msg) {
		r.SetEdns0(1232, false)
		r.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}}
	}
	for name, test := range map[string]struct {
		change func(*dns.Msg)
		want   string // same: as the base; other; none
	}{
		"the same":       {base, "same"},
		"spelling":       {func(r *dns.Msg) { r.Question[0].Name = "A.tEST." }, "same"},
		"id":             {func(r *dns.Msg) { r.Id++ }, "same"},
		"EDNS":           {edns(false), "same"},
		"DO":             {edns(true), "other"},
		"AD":             {func(r *dns.Msg) { r.AuthenticatedData = true }, "other"},
		"CD":             {func(r *dns.Msg) { r.CheckingDisabled = true }, "other"},
		"no RD":          {func(r *dns.Msg) { r.RecursionDesired = false }, "other"},
		"another name":   {func(r *dns.Msg) { r.Question[0].Name = "b.test." }, "other"},
		"another type":   {func(r *dns.Msg) { r.Question[0].Qtype = dns.TypeAAAA }, "other"},
		"a private type": {func(r *dns.Msg) { r.Question[0].Qtype = 65300 }, "other"},
		"a cookie":       {option, "same"},
		"a subnet": {func(r *dns.Msg) {
			r.SetEdns0(1232, false)
			r.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET}}
		}, "none"},
		"a private option": {func(r *dns.Msg) {
			r.SetEdns0(1232, false)
			r.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65001}}
		}, "none"},
		"EDNS version":    {func(r *dns.Msg) { r.SetEdns0(1232, false); r.IsEdns0().SetVersion(1) }, "none"},
		"class CH":        {func(r *dns.Msg) { r.Question[0].Qclass = dns.ClassCHAOS }, "none"},
		"UPDATE":          {func(r *dns.Msg) { r.Opcode = dns.OpcodeUpdate }, "none"},
		"no question":     {func(r *dns.Msg) { r.Question = nil }, "none"},
		"two questions":   {func(r *dns.Msg) { r.Question = append(r.Question, r.Question[0]) }, "none"},
		"an answer":       {func(r *dns.Msg) { r.Response = true }, "none"},
		"ANY":             {func(r *dns.Msg) { r.Question[0].Qtype = dns.TypeANY }, "none"},
		"AXFR":            {func(r *dns.Msg) { r.Question[0].Qtype = dns.TypeAXFR }, "none"},
		"HINFO, of loop":  {func(r *dns.Msg) { r.Question[0].Qtype = dns.TypeHINFO }, "none"},
		"TSIG":            {func(r *dns.Msg) { r.SetTsig("a.", dns.HmacSHA256, 300, 0) }, "none"},
		"a name too long": {func(r *dns.Msg) { r.Question[0].Name = strings.Repeat("\\000.", 60) }, "none"},
	} {
		var want, got Key
		want.Set(&[HashLen]byte{1}, question(base))
		ok := got.Set(&[HashLen]byte{1}, question(test.change))
		verdict := "none"
		if ok && string(got.Bytes()) == string(want.Bytes()) {
			verdict = "same"
		} else if ok {
			verdict = "other"
		}
		if verdict != test.want {
			t.Errorf("%s: %s, want %s", name, verdict, test.want)
		}
	}
}

func TestBootClock(t *testing.T) {
	var c Clock
	for range 1000 {
		before := Boottime()
		now := c.Now()
		if after := Boottime(); now < before-int64(time.Millisecond) || now > after+int64(time.Millisecond) {
			t.Fatalf("%d, between %d and %d", now, before, after)
		}
	}
	// The machine has slept for a minute, in which Go's clock stood still, and the last system call is old.
	c.offset.Add(-int64(time.Minute))
	c.checked.Add(-int64(time.Second))
	if now := c.Now(); Boottime()-now > int64(time.Second) {
		t.Error("the sleep does not count")
	}
}

// TestFreshness goes through the life of a record of each kind, with and without stale use, and with and without a failure of
// the upstream.
func TestFreshness(t *testing.T) {
	const s = int64(time.Second)
	without := Limits{Positive: 30 * time.Second, Denial: 5 * time.Second}
	stale := without
	stale.Stale = time.Minute
	for _, tt := range []struct {
		l             Limits
		kind          Kind
		age, lifetime int64
		want, failed  Freshness
	}{
		{without, Positive, -1 - s, 30 * s, None, None}, // from the future
		{without, Positive, -1, 30 * s, Fresh, Fresh},
		{without, Positive, 0, 30 * s, Fresh, Fresh},
		{without, Positive, 29 * s, 30 * s, Fresh, Fresh},
		{without, Positive, 29*s + 1, 30 * s, None, None}, // less than a second is left
		{without, Positive, 0, 31 * s, None, None},        // longer than the limits
		{without, Denial, 0, 5 * s, Fresh, Fresh},
		{without, Denial, 4 * s, 5 * s, Fresh, Fresh},
		{without, Denial, 4*s + 1, 5 * s, None, None},
		{without, Denial, 0, 6 * s, None, None},
		{stale, Positive, -1 - s, 30 * s, None, None},
		{stale, Positive, 29 * s, 30 * s, Fresh, Fresh},
		{stale, Positive, 29*s + 1, 30 * s, Old, Spared},
		{stale, Positive, 90*s - 1, 30 * s, Old, Spared},
		{stale, Positive, 90 * s, 30 * s, None, None},
		{stale, Positive, 0, 31 * s, None, None},
		{stale, Denial, 0, 5 * s, Fresh, Fresh},
		{stale, Denial, 4*s + 1, 5 * s, None, None}, // a denial is never stale
		{stale, Denial, 0, 6 * s, None, None},
	} {
		r := Record{Kind: tt.kind, Stored: 1e18, Lifetime: tt.lifetime}
		now := int64(1e18) + tt.age
		got, failed := tt.l.freshness(&r, now, now), tt.l.freshness(&r, now, now+1)
		if got != tt.want || failed != tt.failed {
			t.Errorf("%+v: %d, after a failure %d", tt, got, failed)
		}
	}
}
