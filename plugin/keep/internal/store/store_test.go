// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// newStore returns a store that ends with the test.
func newStore(t testing.TB, dir string, size int) *Store {
	t.Helper()
	s, err := open(dir, size, Boottime())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(s) })
	return s
}

// end ends s as the end of its process does. The file stays.
func end(s *Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own.mem != nil {
		_ = s.end((*file).close)
	}
}

var lenient = Limits{Positive: 2 * time.Hour, Denial: time.Hour}

// answerOf returns the address that s knows for a name of sample, or "".
func answerOf(s *Store, name string) string {
	return addressIn(s.Find(sample(name, "192.0.2.1", 0).Key, lenient, Boottime()).Wire)
}

func addressIn(wire []byte) string {
	var m dns.Msg
	if m.Unpack(wire) != nil || len(m.Answer) != 1 {
		return ""
	}
	return m.Answer[0].(*dns.A).A.String()
}

func filesIn(t testing.TB, dir string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// logged returns what f logs.
func logged(t testing.TB, f func()) string {
	t.Helper()
	var b bytes.Buffer
	capture(&b, f)
	return b.String()
}

func TestTheNewestAnswersStay(t *testing.T) {
	s := newStore(t, "", MinSize)
	const names = 5000
	for i := range names {
		s.Put(sample(fmt.Sprintf("n%d.test.", i), "192.0.2.1", Boottime()))
	}
	entries, octets := s.Usage(Positive)
	if ring := len(s.rings[Positive].mem); octets > uint64(ring) || octets < uint64(ring)-1000 {
		t.Errorf("%d octets of %d", octets, ring)
	}
	for i := range names {
		if got := answerOf(s, fmt.Sprintf("n%d.test.", i)); (got != "") != (i >= names-entries) {
			t.Fatalf("n%d: %q, with %d entries", i, got, entries)
		}
	}
}

// TestWhatIsAskedForOftenPushesOutItself is of some names that are stored again and again, and others that are
// not, and of which stale answers are wanted.
func TestWhatIsAskedForOftenPushesOutItself(t *testing.T) {
	s := newStore(t, "", MinSize)
	for i := range 200 {
		s.Put(sample(fmt.Sprintf("seldom%d.test.", i), "192.0.2.1", Boottime()))
	}
	s.Failed(sample("seldom7.test.", "192.0.2.1", 0).Key, 77)
	over := sample("over.test.", "192.0.2.1", Boottime()-int64(time.Hour))
	over.Lifetime, over.Until = 1, over.Stored+1
	s.Put(over)
	for i := range 20000 {
		s.Put(sample(fmt.Sprintf("often%d.test.", i%100), "192.0.2.2", Boottime()))
	}
	for i := range 200 {
		if got := answerOf(s, fmt.Sprintf("seldom%d.test.", i)); got != "192.0.2.1" {
			t.Fatalf("seldom%d: %q", i, got)
		}
	}
	g := s.rings[Positive]
	if n := len(g.index); n != 300 || g.live > uint64(len(g.mem))/2 {
		t.Errorf("%d entries, %d octets in use", n, g.live)
	}
	if _, p, _ := g.get(sample("seldom7.test.", "192.0.2.1", 0).Key); p.retry != 77 {
		t.Error("the failure is forgotten")
	}
}

func TestDenialsDoNotPushOutAnswers(t *testing.T) {
	s := newStore(t, "", MinSize)
	s.Put(sample("good.test.", "192.0.2.1", Boottime()))
	for i := range 10000 {
		r := sample(fmt.Sprintf("random%d.test.", i), "192.0.2.1", Boottime())
		r.Kind = Denial
		s.Put(r)
	}
	if got := answerOf(s, "good.test."); got != "192.0.2.1" {
		t.Errorf("%q", got)
	}
}

// denied returns a final denial of the name.
func denied(name string, now int64) *Record {
	r := sample(name, "192.0.2.1", now)
	r.Kind, r.Final, r.Lifetime, r.Until = Denial, true, int64(time.Minute), now+int64(time.Minute)
	return r
}

// flood stores more denials of other names than the ring has room for.
func flood(s *Store) {
	for i := range 10000 {
		s.Put(denied(fmt.Sprintf("random%d.test.", i), Boottime()))
	}
}

// TestADeletedNameDoesNotComeBack is of a denial that has left its ring: what was said before does not count again,
// neither here, nor in a process that follows, nor in the next one.
func TestADeletedNameDoesNotComeBack(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir, MinSize)
	other := newStore(t, dir, DefaultSize)
	now := Boottime()
	for i := range 3 { // the first two are replaced, but still in the file
		s.Put(sample("gone.test.", "192.0.2.1", now-int64(i)))
	}
	s.Put(sample("stays.test.", "192.0.2.1", now))
	s.Put(sample("again.test.", "192.0.2.1", now-2))
	prefer := denied("preferred.test.", now)
	prefer.Final = false
	s.Put(sample("preferred.test.", "192.0.2.1", now))
	want := func(where string, s *Store) {
		t.Helper()
		for name, want := range map[string]string{"gone": "", "stays": "192.0.2.1", "again": "192.0.2.1", "preferred": "192.0.2.1"} {
			if got := answerOf(s, name+".test."); got != want {
				t.Errorf("%s: %s is %q, want %q", where, name, got, want)
			}
		}
	}
	answerOf(other, "gone.test.") // it has read the answer
	s.Put(denied("gone.test.", now+1))
	s.Put(denied("again.test.", now-1))
	s.Put(prefer)
	answerOf(other, "gone.test.") // and the denial
	s.Put(sample("again.test.", "192.0.2.1", now))
	flood(s)
	flood(other)
	if _, _, ok := s.rings[Denial].get(prefer.Key); ok {
		t.Fatal("the flood is too small")
	}
	want("here", s)
	want("the one that follows", other)
	if n, _ := s.Usage(Positive); n != 3 {
		t.Errorf("%d entries", n)
	}
	end(other)
	_ = os.Remove(other.own.path)
	end(s)
	want("the next one", newStore(t, dir, MinSize))
}

// TestADenialOfOneProcessAndAnOlderAnswerOfAnother reads two files, in both orders.
func TestADenialOfOneProcessAndAnOlderAnswerOfAnother(t *testing.T) {
	now := Boottime()
	for range 8 { // the order is that of the names, which are random
		dir := t.TempDir()
		one, two := newStore(t, dir, MinSize), newStore(t, dir, MinSize)
		one.Put(sample("gone.test.", "192.0.2.1", now-1))
		two.Put(denied("gone.test.", now))
		next := newStore(t, dir, DefaultSize)
		flood(next)
		if got := answerOf(next, "gone.test."); got != "" {
			t.Fatal(got)
		}
		end(one)
		end(two)
	}
}

// TestARingIsTheMapOfItsNewestRecords compares a ring with a map, for records of random sizes.
func TestARingIsTheMapOfItsNewestRecords(t *testing.T) {
	s := newStore(t, "", MinSize)
	g := s.rings[Denial]
	random := rand.New(rand.NewPCG(1, 2))
	want := map[string][]byte{}
	for range 20000 {
		r := sample(fmt.Sprintf("n%d.test.", random.IntN(200)), "192.0.2.1", Boottime())
		r.Kind, r.Wire = Denial, make([]byte, 1+random.IntN(600))
		for i := range r.Wire {
			r.Wire[i] = byte(random.Uint32())
		}
		if !g.put(r) {
			t.Fatal("does not fit")
		}
		want[string(r.Key)] = r.Wire
	}
	found := 0
	for k, wire := range want {
		if r, _, ok := g.get([]byte(k)); ok {
			found++
			if !bytes.Equal(r.Wire, wire) {
				t.Fatalf("%q: another answer", k)
			}
		}
	}
	valid := 0
	scan(g.mem, g.salt, 0, uint64(len(g.mem)), make([]byte, maxRecord), func(*Record) { valid++ })
	if valid != found {
		t.Errorf("%d found, a reader of the ring finds %d", found, valid)
	}
	sum := uint64(0)
	for _, p := range g.index {
		sum += uint64(p.size)
	}
	if sum != g.live {
		t.Errorf("%d octets in use, counted %d", sum, g.live)
	}
	if found < 50 || found != len(g.index) {
		t.Errorf("%d found, %d in the index", found, len(g.index))
	}
	if r := (&Record{Key: make([]byte, minKey), Wire: make([]byte, len(g.mem)/4)}); g.put(r) {
		t.Error("a record took more than a quarter")
	}
}

func TestWhatSomebodyWroteIntoARingIsForgotten(t *testing.T) {
	s := newStore(t, "", MinSize)
	for i := range 3000 {
		s.Put(sample(fmt.Sprintf("n%d.test.", i), "192.0.2.1", Boottime()))
		if i == 2000 {
			clear(s.rings[Positive].mem)
		}
	}
	if got := answerOf(s, "n2999.test."); got != "192.0.2.1" {
		t.Errorf("%q", got)
	}
}

func TestTwoInstances(t *testing.T) {
	dir := t.TempDir()
	first := newStore(t, dir, DefaultSize)
	first.Put(sample("a.test.", "192.0.2.1", Boottime()))
	second := newStore(t, dir, DefaultSize)
	if got := answerOf(second, "a.test."); got != "192.0.2.1" {
		t.Errorf("at its start: %q", got)
	}
	// The second one also gets the answers that the first one stores later, until the first one ends.
	first.Put(sample("b.test.", "192.0.2.2", Boottime()))
	if got := answerOf(second, "b.test."); got != "192.0.2.2" {
		t.Errorf("later: %q", got)
	}
	first.Put(sample("a.test.", "192.0.2.3", Boottime()))
	first.Put(sample("c.test.", "192.0.2.4", Boottime()))
	end(first)
	now := Boottime() + int64(2*time.Second)
	second.Find(sample("x.test.", "192.0.2.1", 0).Key, lenient, now)
	if got := answerOf(second, "a.test.") + answerOf(second, "c.test."); got != "192.0.2.3192.0.2.4" {
		t.Errorf("after the end: %q", got)
	}
	if n := filesIn(t, dir); n != 1 || len(second.peers) != 0 {
		t.Errorf("%d files, %d peers are left", n, len(second.peers))
	}
}

func TestAPeerThatIsFasterThanItsReader(t *testing.T) {
	dir := t.TempDir()
	first := newStore(t, dir, MinSize)
	second := newStore(t, dir, DefaultSize)
	const names = 5000 // several times the ring
	for i := range names {
		first.Put(sample(fmt.Sprintf("n%d.test.", i), "192.0.2.1", Boottime()))
	}
	left, _ := first.Usage(Positive)
	known := 0
	for i := range names {
		if answerOf(second, fmt.Sprintf("n%d.test.", i)) != "" {
			known++
		}
	}
	if known != left {
		t.Errorf("%d known, %d are there", known, left)
	}
}

func TestOldAnswersOfAPeerDoNotReplaceNewOnes(t *testing.T) {
	dir := t.TempDir()
	first := newStore(t, dir, MinSize)
	second := newStore(t, dir, MinSize)
	now := Boottime()
	second.Put(sample("a.test.", "192.0.2.2", now))
	first.Put(sample("a.test.", "192.0.2.1", now-1))
	over := sample("over.test.", "192.0.2.1", now-int64(3*time.Hour))
	future := sample("future.test.", "192.0.2.1", now+int64(time.Hour))
	if now > int64(3*time.Hour) {
		first.Put(over)
	}
	first.Put(future)
	if got := answerOf(second, "a.test."); got != "192.0.2.2" {
		t.Errorf("%q", got)
	}
	if n, _ := second.Usage(Positive); n != 1 {
		t.Errorf("%d entries", n)
	}
}

func TestAnotherDirectoryTakesOver(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	p := &Process{Now: Boottime}
	defer func() { _ = p.Close() }()
	for i, o := range []Options{{"", MinSize}, {one, MinSize}, {one, DefaultSize}, {two, DefaultSize}, {two, DefaultSize}, {"", MinSize}} {
		if err := p.Open(o); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			p.Store().Put(sample("a.test.", "192.0.2.1", Boottime()))
		}
		if got := answerOf(p.Store(), "a.test."); got != "192.0.2.1" {
			t.Errorf("step %d: %q", i, got)
		}
	}
	if n := filesIn(t, one) + filesIn(t, two); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

// TestTheLastFileCannotBeDeleted reloads. The reload must succeed although the last file cannot be deleted.
func TestTheLastFileCannotBeDeleted(t *testing.T) {
	p := &Process{Now: Boottime}
	defer func() { _ = p.Close() }()
	if err := p.Open(Options{t.TempDir(), MinSize}); err != nil {
		t.Fatal(err)
	}
	p.Store().Put(sample("a.test.", "192.0.2.1", Boottime()))
	path := p.Store().own.path
	if err := errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "occupied"), 0o700)); err != nil {
		t.Fatal(err)
	}
	said := logged(t, func() {
		if err := p.Open(Options{t.TempDir(), MinSize}); err != nil {
			t.Error(err)
		}
	})
	if got := answerOf(p.Store(), "a.test."); got != "192.0.2.1" || strings.Count(said, "\n") != 1 || !strings.Contains(said, path) {
		t.Errorf("%q, %s", got, said)
	}
}

func TestTheLastFileIsShortenedBeforeItIsTakenOver(t *testing.T) {
	p := &Process{Now: Boottime}
	defer func() { _ = p.Close() }()
	if err := p.Open(Options{t.TempDir(), MinSize}); err != nil {
		t.Fatal(err)
	}
	p.Store().Put(sample("a.test.", "192.0.2.1", Boottime()))
	said := logged(t, func() {
		if err := os.Truncate(p.Store().own.path, 0); err != nil {
			t.Fatal(err)
		}
		if err := p.Open(Options{t.TempDir(), MinSize}); err != nil {
			t.Fatal(err)
		}
	})
	s := p.Store()
	s.Put(sample("b.test.", "192.0.2.1", Boottime()))
	if answerOf(s, "b.test.") == "" || len(s.peers) != 0 || strings.Count(said, "\n") != 1 {
		t.Errorf("%d peers, %s", len(s.peers), said)
	}
}

func TestAFileThatSomebodyShortens(t *testing.T) {
	dir := t.TempDir()
	first := newStore(t, dir, MinSize)
	first.Put(sample("a.test.", "192.0.2.1", Boottime()))
	second := newStore(t, dir, MinSize)
	said := logged(t, func() {
		if err := os.Truncate(first.own.path, 0); err != nil {
			t.Fatal(err)
		}
		if got := answerOf(second, "a.test."); got != "192.0.2.1" {
			t.Errorf("the reader: %q", got)
		}
		answerOf(second, "a.test.")
		first.Put(sample("b.test.", "192.0.2.1", Boottime()))
		first.Put(sample("c.test.", "192.0.2.1", Boottime()))
		if got := answerOf(first, "c.test."); got != "192.0.2.1" {
			t.Errorf("the owner: %q", got)
		}
	})
	if strings.Count(said, "\n") != 2 || !strings.Contains(said, "in memory only") || !strings.Contains(said, "Not used any more") {
		t.Errorf("%s", said)
	}
}

// TestDamage damages every part of the file of an ended process: each answer from it is right.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir, MinSize)
	const names = 50
	for i := range names {
		s.Put(sample(fmt.Sprintf("n%d.test.", i), fmt.Sprintf("192.0.2.%d", i), Boottime()))
	}
	path := s.own.path
	used := pageLen + int(s.rings[Positive].next)
	end(s)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(path)
	random := rand.New(rand.NewPCG(3, 4))
	quiet(func() {
		for at := 0; at < used; at += 1 + random.IntN(7) {
			bad := bytes.Clone(good)
			bad[at] ^= byte(1 + random.IntN(255))
			known := recover1(t, dir, bad, names)
			if wantAll := at >= sumAt+4 && at < pageLen; wantAll && known != names {
				t.Fatalf("octet %d: %d of %d are known", at, known, names)
			} else if at >= pageLen && known < names-1 {
				t.Fatalf("octet %d: %d of %d are known", at, known, names)
			} else if at < sumAt+4 && known != 0 {
				t.Fatalf("octet %d of the header: %d are known", at, known)
			}
		}
		for _, n := range []int{0, 1, 95, pageLen, len(good) - 1} {
			if known := recover1(t, dir, good[:n], names); known != 0 {
				t.Errorf("of the first %d octets %d are known", n, known)
			}
		}
	})
}

// recover1 returns the number of names that a start knows from a file with the given content. The start must delete the file.
func recover1(t *testing.T, dir string, content []byte, names int) (known int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, filePrefix+strings.Repeat("A", textLen)), content, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStore(t, dir, MinSize)
	for i := range names {
		switch answerOf(s, fmt.Sprintf("n%d.test.", i)) {
		case "":
		case fmt.Sprintf("192.0.2.%d", i):
			known++
		default:
			t.Fatalf("n%d: a wrong answer", i)
		}
	}
	if err := s.own.remove(); err != nil {
		t.Fatal(err)
	}
	s.use(new(file))
	if n := filesIn(t, dir); n != 0 {
		t.Fatalf("%d files are left", n)
	}
	return known
}

// TestARecordInsideAnAnswer has an upstream that puts the octets of a record into its answers.
func TestARecordInsideAnAnswer(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir, MinSize)
	forged := sample("bank.test.", "192.0.2.66", Boottime())
	inner := make([]byte, forged.size())
	forged.encode(inner, 0x0102030405060708) // the salt is what the server does not know
	outer := sample("evil.test.", "192.0.2.1", Boottime())
	outer.Wire = append(make([]byte, (8-(headLen+len(outer.Key))%8)%8), inner...)
	s.Put(outer)
	binary.LittleEndian.PutUint64(s.rings[Positive].mem, 0) // the outer record is overwritten in part
	end(s)
	next := newStore(t, dir, MinSize)
	if got := answerOf(next, "bank.test."); got != "" {
		t.Error(got)
	}
}
