// SPDX-License-Identifier: Apache-2.0

// Package kernel answers queries from packets before any process wakes: a BPF program at the interfaces by which queries come in
// has copies of answers of the packet cache's store. The program goes with the process.
package kernel

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/plugin/packetcache/internal/store"
)

// -mcpu=v3 has atomic operations that return a value (Linux 5.12). Both architectures are little-endian.
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang -target bpfel -no-strip=false -go-package kernel answer answer.bpf.c -- -O2 -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu

const (
	// buckets is the number of buckets of the table, a power of two. 16,384 entries take 10.7 MB.
	buckets = 8192
)

// A Program is loaded into the kernel, and answers at the interfaces by which admitted clients ask.
type Program struct {
	objects answerObjects
	table   table
	gate    gate
	claim   *claim

	mu      sync.Mutex
	leases  []uint64           // mapped: until when the program answers, by Server.lease; ns of CLOCK_MONOTONIC, 0: no more
	serving map[uint16]*Server // by number
	last    uint16             // the last number
}

// needed are the capabilities that the program takes.
var needed = map[string]uint{"CAP_BPF": unix.CAP_BPF, "CAP_NET_ADMIN": unix.CAP_NET_ADMIN}

// supported is nil if programs can be attached by tcx. Else it says what the process or the kernel lacks.
func supported() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var has [2]unix.CapUserData
	if err := unix.Capget(&hdr, &has[0]); err != nil {
		return fmt.Errorf("asking for this process's capabilities: %w", err)
	}
	for name, c := range needed {
		if has[c/32].Effective&(1<<(c%32)) == 0 {
			return fmt.Errorf("%s is missing: run as root, or add it to the container's capabilities", name)
		}
	}
	_, err := link.QueryPrograms(link.QueryOptions{Target: loopback, Attach: ebpf.AttachTCXIngress})
	return lacking(err)
}

// lacking names what is missing for err, which asking for programs or loading one gave.
func lacking(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("the host forbids BPF: %w", err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("BPF programs at interfaces (tcx) need Linux 6.6: %w", err)
	}
	return err
}

// Load loads the program. The error says what the kernel or the process lacks.
func Load(o Options) (*Program, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	spec, err := loadAnswer()
	if err != nil {
		return nil, fmt.Errorf("reading the BPF program: %w", err)
	}
	p := &Program{serving: map[uint16]*Server{}}
	seed := secret()
	spec.Maps["entries"].MaxEntries = buckets * ways
	for name, v := range map[string]any{"seed": seed, "mark": o.SelfQueryMark, "buckets": uint32(buckets)} {
		if err := spec.Variables[name].Set(v); err != nil {
			return nil, fmt.Errorf("setting %s of the BPF program: %w", name, err)
		}
	}
	if err := spec.LoadAndAssign(&p.objects, nil); err != nil {
		return nil, fmt.Errorf("loading the BPF program: %w", lacking(err))
	}
	if err := p.open(seed, o); err != nil {
		return nil, errors.Join(err, p.objects.Close())
	}
	return p, nil
}

// open begins to use the maps of a program that is loaded.
func (p *Program) open(seed uint64, o Options) (err error) {
	if p.table.entries, err = mapped[entry](p.objects.Entries); err != nil {
		return err
	}
	if p.leases, err = mapped[uint64](p.objects.Servers); err != nil {
		return errors.Join(err, unmap(p.table.entries))
	}
	admissions, err := mapped[admission](p.objects.Admissions)
	if err != nil {
		return errors.Join(err, unmap(p.table.entries), unmap(p.leases))
	}
	if p.claim, err = claimOf(p.objects.Nodelocaldns); err != nil {
		return errors.Join(err, unmap(p.table.entries), unmap(p.leases), unmap(admissions))
	}
	p.table.seed, p.table.hits, p.table.from = seed, o.Hits, make([]*store.Entry, len(p.table.entries))
	p.gate.open(p, o, admissions)
	return nil
}

// Options are what a Program is loaded with.
type Options struct {
	SelfQueryMark uint32                             // the mark of packets that the program passes on
	Hits          func(e *store.Entry, times uint64) // is told how often the program gave an answer
	Asked         func(a Asked)                      // is told of the same hits, by the clients that asked
	Logf          func(format string, args ...any)   // what the log should say; it must not wait
}

// secret is a random number.
func secret() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return binary.LittleEndian.Uint64(b[:])
}

// mapped maps the values of an array into this process's memory.
func mapped[T any](m *ebpf.Map) ([]T, error) {
	n := int(m.MaxEntries())
	mem, err := unix.MmapPtr(m.FD(), 0, nil, lengthOf[T](n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping a BPF map: %w", err)
	}
	return unsafe.Slice((*T)(mem), n), nil
}

// unmap takes back what mapped did.
func unmap[T any](values []T) error {
	return os.NewSyscallError("munmap", unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(values)), lengthOf[T](len(values))))
}

// lengthOf returns the octets that n values take, in whole pages.
func lengthOf[T any](n int) uintptr {
	page := uintptr(unix.Getpagesize())
	return (uintptr(n)*unsafe.Sizeof(*new(T)) + page - 1) / page * page
}

// Close makes the program answer no more, at once. It detaches the program, tells of its last answers and unloads it. To detach the
// program takes the kernel some 30 ms an interface. A Server's methods may be called later; they do nothing then.
func (p *Program) Close() error {
	p.mu.Lock()
	all := slices.Collect(maps.Values(p.serving))
	p.mu.Unlock()
	for _, s := range all {
		s.Stop()
	}
	return errors.Join(p.gate.close(), p.claim.Close(), p.table.close(), p.objects.Close(), unmap(p.leases))
}

// clock is CLOCK_MONOTONIC, which the program reads, in ns.
func clock() uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // it never fails
	return uint64(ts.Nano())
}

// wordsOf is an address as the program has it.
func wordsOf(a netip.Addr) (w answerAddress) {
	b := a.As16()
	for i := range w.Words {
		w.Words[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return w
}
