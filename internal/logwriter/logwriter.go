// SPDX-License-Identifier: Apache-2.0

// Package logwriter writes the log of a process. The process never waits for the reader of the log.
//
// A write to a full pipe without a reader blocks for ever, and package log holds a mutex during each write. So a hung log collector
// or a restarted container runtime would stop every goroutine that logs a line, together with the locks that the goroutine holds.
// With this package a goroutine may log a line under a lock. The stack of a crash does not go through the Writer: the Go runtime
// writes it to file descriptor 2. The last lines before a crash may be lost.
package logwriter

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/metric"
)

const (
	// maxLines and maxOctets bound the queue.
	maxLines, maxOctets = 4096, 1 << 20
	// prefix is the beginning of the lines that the Writer adds.
	prefix = "[WARNING] plugin/nodelocal: "
)

// The values of the label reason.
const (
	reasonFull  = "full"  // no program reads the log
	reasonRate  = "rate"  // too many lines of one kind
	reasonError = "error" // the write failed: a full disk, a pipe without a reader
)

var dropped = metric.Of("nodelocal").CounterVec("log_lines_dropped_total",
	"Counter of lines of the log that were not written, by reason: full (nobody reads the log), rate (too many of one kind), error (a write failed).", "reason")

func init() {
	for _, reason := range []string{reasonFull, reasonRate, reasonError} {
		dropped.WithLabelValues(reason)
	}
}

// A Writer hands lines to a goroutine that writes them.
type Writer struct {
	out  io.Writer
	rate rate
	wake chan struct{} // a line or a flush waits
	// stamps says that each line begins with its time. It does not change.
	stamps bool

	mu     sync.Mutex // not held during a write
	lines  [][]byte
	octets int             // sum of the lengths of lines
	begun  bool            // the last of lines has no end yet: relay copies long lines in pieces
	lost   int             // lines that were dropped since the queue was full; all lines are dropped until half of it is free
	idle   []chan struct{} // closed when all lines are written
}

// New returns a Writer to out. Its goroutine lives as long as the process.
func New(out io.Writer) *Writer { return newWriter(out, false) }

func newWriter(out io.Writer, stamps bool) *Writer {
	w := &Writer{out: out, wake: make(chan struct{}, 1), stamps: stamps}
	w.rate = rate{report: func(line string) { w.put([]byte(line)) }, kinds: map[string]*bucket{}}
	go w.run()
	return w
}

// Write queues one line, or several lines that belong together, with a line feed at the end. It never fails. It drops lines of the
// levels ERROR and WARNING beyond the limit of their kind, and lines for which the queue has no room. Write waits only after a
// line of level FATAL, for EndPatience at most: the caller ends the process then (clog.Fatal).
func (w *Writer) Write(line []byte) (int, error) {
	if w.rate.allow(line) {
		w.put(append([]byte(nil), line...)) // the caller reuses the memory of line
	}
	if bytes.HasPrefix(line, []byte("[FATAL] ")) {
		w.Flush(EndPatience)
	}
	return len(line), nil
}

// put queues a line, or drops and counts it.
func (w *Writer) put(line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	room := 1
	if w.lost > 0 {
		room = 2 // otherwise a slow reader would get a line about lost lines after each line
	}
	if len(w.lines) >= maxLines/room || w.octets+len(line) > maxOctets/room {
		w.lost++
		dropped.WithLabelValues(reasonFull).Inc()
		return
	}
	w.mention()
	w.queue(line)
}

// mention queues a line with the number of lost lines, if there are any. The caller holds mu.
func (w *Writer) mention() {
	if w.lost > 0 {
		w.queue(fmt.Appendf(nil, "%s%d lines of the log are missing here: nobody read it\n", prefix, w.lost))
		w.lost = 0
	}
}

// stampLayout is RFC 3339 with milliseconds, in UTC.
const stampLayout = "2006-01-02T15:04:05.000Z "

// queue appends a line. The caller holds mu.
func (w *Writer) queue(line []byte) {
	if w.stamps && !w.begun {
		line = append(time.Now().UTC().AppendFormat(nil, stampLayout), line...)
	}
	w.begun = !bytes.HasSuffix(line, []byte("\n"))
	w.lines = append(w.lines, line)
	w.octets += len(line)
	w.awake()
}

func (w *Writer) awake() {
	select {
	case w.wake <- struct{}{}:
	default: // the goroutine is awake
	}
}

// run writes each line with one call, so that the lines of two processes on one pipe do not mix.
func (w *Writer) run() {
	for range w.wake {
		for line := w.next(); line != nil; line = w.next() {
			if _, err := w.out.Write(line); err != nil {
				dropped.WithLabelValues(reasonError).Inc() // the log itself cannot report the error
			}
		}
	}
}

// next removes the first line from the queue and returns it, or nil if there is none.
func (w *Writer) next() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines) == 0 {
		w.mention()
	}
	if len(w.lines) == 0 {
		w.lines = nil // frees the memory of a long queue
		for _, idle := range w.idle {
			close(idle)
		}
		w.idle = nil
		return nil
	}
	line := w.lines[0]
	w.lines[0], w.lines = nil, w.lines[1:]
	w.octets -= len(line)
	return line
}

// Flush waits until all lines are written, for patience at most.
func (w *Writer) Flush(patience time.Duration) {
	w.rate.flush()
	idle := make(chan struct{})
	w.mu.Lock()
	w.idle = append(w.idle, idle)
	w.awake()
	w.mu.Unlock()
	select {
	case <-idle:
	case <-time.After(patience):
	}
}
