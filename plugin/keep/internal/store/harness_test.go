// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"
	dto "github.com/prometheus/client_model/go"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		victim(dir)
		return
	}
	os.Exit(m.Run())
}

// sample is a record for an A question.
func sample(name, ip string, now int64) *Record {
	r := new(dns.Msg).SetQuestion(name, dns.TypeA)
	var k Key
	if !k.Set(&[HashLen]byte{}, r) {
		panic(name)
	}
	m := new(dns.Msg).SetReply(r)
	m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 3600}, A: net.ParseIP(ip)}}
	wire, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return &Record{Stored: now, Lifetime: int64(time.Hour), Until: now + int64(2*time.Hour), Kind: Positive, Key: k.Bytes(), Wire: wire}
}

// recovered returns the number of answers that were copied from files.
func recovered() int {
	m := new(dto.Metric)
	if err := recoveredTotal.Write(m); err != nil {
		panic(err)
	}
	return int(m.GetCounter().GetValue())
}

// BenchmarkStart measures a start with the full file of an ended process.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	left := fill(b, dir, DefaultSize)
	for b.Loop() {
		s, err := open(dir, DefaultSize, Boottime())
		if err != nil {
			b.Fatal(err)
		}
		if n, _ := s.Usage(Positive); n != left {
			b.Fatalf("%d entries, want %d", n, left)
		}
		_ = s.own.close() // the file stays for the next one
	}
	b.ReportMetric(float64(left), "entries")
}

// fill leaves a file in dir whose ring of positive answers is full, and returns the number of its entries.
func fill(t testing.TB, dir string, size int) int {
	t.Helper()
	s, err := open(dir, size, Boottime())
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		before, _ := s.Usage(Positive)
		s.Put(sample(fmt.Sprintf("name-%d.default.svc.cluster.local.", i), "192.0.2.1", Boottime()))
		if after, _ := s.Usage(Positive); after == before {
			_ = s.own.close()
			return after
		}
	}
}
