// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
)

// TestLacking reads the line for each reason not to have the program.
func TestLacking(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("creating a map: %w", unix.EPERM), "the host forbids BPF"},
		{unix.EINVAL, "BPF programs at interfaces (tcx) need Linux 6.6"},
		{fmt.Errorf("querying: %w", ebpf.ErrNotSupported), "BPF programs at interfaces (tcx) need Linux 6.6"},
		{errors.New("no memory"), "no memory"},
	} {
		if err := lacking(c.err); !errors.Is(err, c.err) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.err, err, c.want)
		}
	}
}

// TestVerifier bounds what the kernel's verifier goes through, which differs from version to version: it gives up at a million
// instructions.
func TestVerifier(t *testing.T) {
	nettest.InNamespace(t)
	p, _, _ := loaded(t)
	info, err := p.objects.Nodelocaldns.Info()
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := info.VerifiedInstructions(); !ok || n > 50_000 {
		t.Errorf("%d instructions, known %v", n, ok)
	}
}

// TestCapabilities loads the program with the two capabilities that the manual names, and without either.
func TestCapabilities(t *testing.T) {
	nettest.InNamespace(t)
	for _, c := range []struct {
		has  []uint
		want string
	}{
		{[]uint{unix.CAP_BPF, unix.CAP_NET_ADMIN}, ""},
		{[]uint{unix.CAP_NET_ADMIN}, "CAP_BPF is missing"},
		{[]uint{unix.CAP_BPF}, "CAP_NET_ADMIN is missing"},
	} {
		err := withCapabilities(t, c.has, func() error {
			p, err := Load(Options{Logf: t.Logf})
			if err != nil {
				return err
			}
			return p.Close()
		})
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("with capabilities %v: %v", c.has, err)
		}
	}
}

// withCapabilities calls f on a thread that has these capabilities only. The thread ends with f.
func withCapabilities(t *testing.T, has []uint, f func() error) error {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var data [2]unix.CapUserData
		for _, c := range has {
			data[c/32].Effective |= 1 << (c % 32)
			data[c/32].Permitted |= 1 << (c % 32)
		}
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
			done <- fmt.Errorf("setting the capabilities: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// TestClose has the last answers counted. The program gives none any more, were it still attached, and late calls do nothing.
func TestClose(t *testing.T) {
	nettest.InNamespace(t)
	var counted uint64
	p, err := Load(Options{SelfQueryMark: testMark, Logf: t.Logf, Hits: func(_ *store.Entry, times uint64) { counted += times }})
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Serve(server4, Terms{Admit: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	admitUntil(t, p, client4, s, clock()+uint64(time.Hour))
	query, err := new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	e := entryFor(t, query, "www.example.org. 30 IN A 192.0.2.1")
	s.Put(e, at(0))
	for range 3 {
		if run(t, p, frame(client4, server4, query, complete)) == nil {
			t.Error("not answered")
		}
	}
	var attached Program
	if attached.objects.Nodelocaldns, err = p.objects.Nodelocaldns.Clone(); err != nil {
		t.Fatal(err)
	}
	defer attached.objects.Nodelocaldns.Close()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if run(t, &attached, frame(client4, server4, query, complete)) != nil {
		t.Error("answered after the end")
	}
	if counted != 3 {
		t.Errorf("counted %d of 3 answers", counted)
	}
	s.Put(e, at(0))
	s.Came(client4, 1, 0)
	s.Stop()
}
