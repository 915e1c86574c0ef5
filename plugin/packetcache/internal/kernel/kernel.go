// SPDX-License-Identifier: Apache-2.0

// Package kernel answers queries from packets before any process wakes: a BPF program at the interfaces by which queries come in
// has copies of answers of the packet cache's store. The program goes with the process.
package kernel

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// -mcpu=v3 has atomic operations that return a value (Linux 5.12). Both architectures are little-endian.
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang -target bpfel -no-strip=false -go-package kernel answer answer.bpf.c -- -O2 -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu

const (
	// buckets is the number of buckets of the table, a power of two. 16,384 entries take 10.7 MB.
	buckets = 8192
	// maxServers is the number of addresses, as in the program.
	maxServers = 64
)

// A Program is loaded into the kernel, and answers at the interfaces to which Attach attaches it.
type Program struct {
	objects answerObjects
	seed    uint64
	table   table

	mu      sync.Mutex
	servers []server // mapped: the program reads them
	free    []uint16
	links   map[int]*attachment // by interface
}

// Load loads the program. selfQueryMark is the mark of packets that the program passes on. The error says what the kernel lacks.
func Load(selfQueryMark uint32) (*Program, error) {
	spec, err := loadAnswer()
	if err != nil {
		return nil, fmt.Errorf("reading the BPF program: %w", err)
	}
	p := &Program{seed: secret(), links: map[int]*attachment{}}
	spec.Maps["entries"].MaxEntries = buckets * ways
	for name, v := range map[string]any{"seed": p.seed, "mark": selfQueryMark, "buckets": uint32(buckets)} {
		if err := spec.Variables[name].Set(v); err != nil {
			return nil, fmt.Errorf("setting %s of the BPF program: %w", name, err)
		}
	}
	if err := spec.LoadAndAssign(&p.objects, nil); err != nil {
		return nil, fmt.Errorf("loading the BPF program: %w", err)
	}
	entries, err := mapped[entry](p.objects.Entries)
	if err == nil {
		p.servers, err = mapped[server](p.objects.Servers)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.table.init(entries, p.seed)
	for i := range p.servers {
		p.free = append(p.free, uint16(i))
	}
	return p, nil
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
	size := n * int(unsafe.Sizeof(*new(T)))
	page := unix.Getpagesize()
	mem, err := unix.Mmap(m.FD(), 0, (size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping a BPF map: %w", err)
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&mem[0])), n), nil
}

// Close detaches the program and unloads it. No other method may be called any more.
func (p *Program) Close() error {
	var errs []error
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		errs = append(errs, l.close())
	}
	p.links = nil
	return errors.Join(append(errs, p.objects.Close())...)
}

// clock is CLOCK_MONOTONIC, which the program reads, in ns.
func clock() uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // it never fails
	return uint64(ts.Nano())
}

// Admit makes the program answer the queries that come from client by an interface, for a time.
func (p *Program) Admit(client netip.Addr, ifindex uint32, d time.Duration) error {
	key := answerClient{Interface: ifindex}
	key.Ip = wordsOf(client)
	return p.objects.Clients.Put(&key, clock()+uint64(d))
}

// wordsOf is an address as the program has it.
func wordsOf(a netip.Addr) (w answerAddress) {
	b := a.As16()
	for i := range w.Words {
		w.Words[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return w
}
