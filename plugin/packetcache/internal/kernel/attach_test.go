// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/nettest"
)

// foreign is a program of somebody else, which passes on everything.
func foreign(t *testing.T, name string) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: ebpf.SchedCLS, License: "Apache-2.0", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// ofAnother is a program that another instance has claimed.
func ofAnother(t *testing.T) *ebpf.Program {
	t.Helper()
	p := foreign(t, "nodelocaldns")
	c, err := claimOf(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return p
}

// tcx attaches a program to an interface by tcx.
func tcx(t *testing.T, p *ebpf.Program, l netlink.Link) {
	t.Helper()
	at, err := link.AttachTCX(link.TCXOptions{Interface: l.Attrs().Index, Program: p, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { at.Close() })
}

// clsact attaches a program to an interface as a filter of tc.
func clsact(t *testing.T, p *ebpf.Program, name string, l netlink.Link) {
	t.Helper()
	index := l.Attrs().Index
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL},
		Fd:          p.FD(), Name: name, DirectAction: true,
	}
	if err := netlink.QdiscAdd(qdisc); err != nil {
		t.Fatal(err)
	}
	if err := netlink.FilterAdd(filter); err != nil {
		t.Fatal(err)
	}
}

// added makes a link and returns it as the kernel has it.
func added(t *testing.T, args string) netlink.Link {
	t.Helper()
	fields := strings.Fields(args)
	if len(fields) > 2 && fields[1] == "mode" {
		nettest.Command(t, "ip", append([]string{"tuntap", "add"}, fields...)...)
	} else {
		nettest.Command(t, "ip", append([]string{"link", "add"}, fields...)...)
	}
	l, err := netlink.LinkByName(strings.Fields(args)[0])
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestAttach goes through what an interface may have.
func TestAttach(t *testing.T) {
	nettest.InNamespace(t)
	p, _, _ := loaded(t)
	for i, c := range []struct {
		name, kind string
		prepare    func(l netlink.Link)
		refused    string // what the log says; empty: it says nothing
		forced     bool   // attached with force
		attached   bool
	}{
		{name: "nobody else", attached: true, forced: true},
		{name: "somebody's tcx", prepare: func(l netlink.Link) { tcx(t, foreign(t, "somebodys"), l) },
			refused: "it has BPF programs of others: tcx somebodys", forced: true},
		{name: "somebody's of the same name", prepare: func(l netlink.Link) { tcx(t, foreign(t, "nodelocaldns"), l) },
			refused: "it has BPF programs of others: tcx nodelocaldns", forced: true},
		{name: "somebody's tc", prepare: func(l netlink.Link) { clsact(t, foreign(t, "somebodys"), "from-container", l) },
			refused: "it has BPF programs of others: tc from-container", forced: true},
		{name: "another instance's", prepare: func(l netlink.Link) { tcx(t, ofAnother(t), l) }, attached: true, forced: true},
		{name: "a small MTU", kind: "type veth peer name far%d", prepare: func(l netlink.Link) {
			nettest.Command(t, "ip", "link", "set", l.Attrs().Name, "mtu", "600")
		}, refused: "its MTU is 600, less than 640"},
		{name: "tap", kind: "mode tap", prepare: func(l netlink.Link) { tcx(t, foreign(t, "somebodys"), l) }, forced: true},
		{name: "tun, without Ethernet", kind: "mode tun"},
	} {
		if c.kind == "" {
			c.kind = "type veth peer name far%d"
		}
		l := added(t, strings.ReplaceAll(fmt.Sprintf("near%d %s", i, c.kind), "%d", fmt.Sprint(i)))
		if c.prepare != nil {
			c.prepare(l)
		}
		for _, force := range []bool{false, true} {
			var said string
			a := attach(p.objects.Nodelocaldns, uint32(l.Attrs().Index), force, func(format string, args ...any) {
				said = fmt.Sprintf(format, args...)
			})
			want := c.attached
			if force {
				want = c.forced
			}
			if a.attached() != want {
				t.Errorf("%s, force %v: attached %v: %s", c.name, force, a.attached(), said)
			}
			if silent := want || c.refused == ""; silent != (said == "") || !silent && !strings.Contains(said, c.refused) {
				t.Errorf("%s, force %v: the log says %q, want %q", c.name, force, said, c.refused)
			}
			if err := a.close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestClaim has others take the name of a claim, and claim a program as another user.
func TestClaim(t *testing.T) {
	nettest.InNamespace(t)
	const free = ebpf.ProgramID(1 << 30)
	if isClaimed(free) {
		t.Error("nobody claims it")
	}
	others := listenAs(t, 65534, free)
	if isClaimed(free) {
		t.Error("another user claims it")
	}
	if err := others.Close(); err != nil {
		t.Error(err)
	}
	p := foreign(t, "any")
	first, err := claimOf(p)
	if err != nil {
		t.Fatal(err)
	}
	for range 10000 { // more than connections can wait
		if !isClaimed(first.id) {
			t.Fatal("not claimed")
		}
	}
	second, err := claimOf(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*claim{second, first} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if isClaimed(first.id) {
		t.Error("claimed after the end")
	}
}

// listenAs takes the name of a claim as another user. The test's goroutine has a thread of its own, and only that one is of that user.
func listenAs(t *testing.T, uid uintptr, id ebpf.ProgramID) *net.UnixListener {
	t.Helper()
	be := func(uid uintptr) {
		const same = ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, uid, same); errno != 0 {
			t.Fatal(errno)
		}
	}
	be(uid)
	l, err := net.ListenUnix("unixpacket", claimed(id))
	be(0)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestReview has somebody else attach a program later, and detach it again.
func TestReview(t *testing.T) {
	nettest.InNamespace(t)
	p, _, _ := loaded(t)
	l := added(t, "near type veth peer name far")
	var log []string
	logf := func(format string, args ...any) { log = append(log, fmt.Sprintf(format, args...)) }
	a := attach(p.objects.Nodelocaldns, uint32(l.Attrs().Index), false, logf)
	look := func() bool {
		a.reviewed = time.Time{} // as if much time had passed
		a.review(p.objects.Nodelocaldns, false, logf)
		return a.attached()
	}
	if !a.attached() || !look() || len(log) > 0 {
		t.Fatalf("not attached, the log says %q", log)
	}
	others, err := link.AttachTCX(link.TCXOptions{Interface: l.Attrs().Index, Program: foreign(t, "somebodys"), Attach: ebpf.AttachTCXIngress})
	if err != nil {
		t.Fatal(err)
	}
	if n := attachedTo(t, l); n != 2 {
		t.Errorf("%d programs before the next look", n)
	}
	for range 2 {
		if look() || attachedTo(t, l) != 1 || len(log) != 1 || !strings.Contains(log[0], "near are answered by the process alone: it has BPF programs of others: tcx somebodys") {
			t.Errorf("%d programs, the log says %q", attachedTo(t, l), log)
		}
	}
	for _, force := range []bool{true, false} { // as another configuration wants it, at once
		if a.review(p.objects.Nodelocaldns, force, logf); a.attached() != force {
			t.Errorf("force %v: attached %v", force, a.attached())
		}
	}
	if err := others.Close(); err != nil {
		t.Fatal(err)
	}
	if !look() || attachedTo(t, l) != 1 || len(log) != 2 {
		t.Errorf("not attached again, the log says %q", log)
	}
	if err := a.close(); err != nil {
		t.Error(err)
	}
}

// TestGate has a client come by a veth: the program is attached there and knows the client for a while. The veth goes, and comes
// again with the same index: the program is attached anew.
func TestGate(t *testing.T) {
	nettest.InNamespace(t)
	p, servers, _ := loaded(t)
	var log []string
	// In place of the program's own gate, which sees the namespace of another thread.
	g := &gate{p: p, links: map[uint32]*attachment{}, clients: newClients(p.objects.Clients, make([]admission, 8)), o: Options{Logf: func(format string, args ...any) {
		log = append(log, fmt.Sprintf(format, args...))
	}}}
	nettest.Command(t, "ip", "addr", "add", server4.String()+"/32", "dev", "lo")
	s := servers[server4]
	admitted := func(client netip.Addr) bool {
		var slot uint32
		key := answerClient{Ip: wordsOf(client), Interface: 4242, Server: uint32(s.number)}
		return p.objects.Clients.Lookup(&key, &slot) == nil && g.clients.slots[slot].until > clock()
	}
	for range 3 {
		l := added(t, "pod index 4242 type veth peer name eth")
		connect(t)
		for range 2 {
			g.admit(timedArrival{arrival{client4, 4242, s}, clock()})
		}
		if n := attachedTo(t, l); n != 1 || !admitted(client4) || admitted(netip.MustParseAddr("10.244.1.3")) {
			t.Errorf("%d programs attached, admitted %v", n, admitted(client4))
		}
		late := timedArrival{arrival{netip.MustParseAddr("10.244.1.3"), 4242, s}, clock() - uint64(s.terms.Admit)}
		if g.admit(late); admitted(late.client) {
			t.Error("admitted, though the query came too long ago")
		}
		if g.links[4242].dead() {
			t.Error("dead, though the interface is there")
		}
		if err := netlink.LinkDel(l); err != nil {
			t.Fatal(err)
		}
		if !g.links[4242].dead() {
			t.Error("not dead, though the interface has gone")
		}
		g.forget(4242)
		if len(g.links) > 0 {
			t.Errorf("%d interfaces remembered", len(g.links))
		}
	}
	if len(log) > 0 {
		t.Errorf("the log says %q", log)
	}
}

// attachedTo returns the number of programs at an interface.
func attachedTo(t *testing.T, l netlink.Link) int {
	t.Helper()
	at, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		t.Fatal(err)
	}
	return len(at.Programs)
}
