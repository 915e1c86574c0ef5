// SPDX-License-Identifier: Apache-2.0

// Package logwriter prints the lines of a process and never makes the process wait for whoever reads them.
//
// A write to a pipe that nobody reads blocks for ever, and package log holds a mutex during each write. So one full
// pipe (a hung log collector, a restarted container runtime) would stop every goroutine that has something to say,
// with the locks that it holds. With this writer a log line may be written anywhere, also under a lock. The writer does
// not carry the stack of a crash, which the Go runtime writes to file descriptor 2. The last lines before a crash may be
// lost.
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
	// maxLines and maxOctets bound what waits to be written.
	maxLines, maxOctets = 4096, 1 << 20
	// prefix begins the lines that the writer adds.
	prefix = "[WARNING] plugin/nodelocal: "
)

// The values of the label reason.
const (
	reasonFull  = "full"  // nobody reads what is written
	reasonRate  = "rate"  // too many of a kind
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
	wake chan struct{} // there is something to do
	quit chan struct{}
	done chan struct{} // the goroutine has ended

	mu     sync.Mutex // never held while something is written
	lines  [][]byte
	octets int             // of the lines
	lost   int             // lines dropped since the queue was full; all are until it is half empty
	idle   []chan struct{} // to be closed when all lines are written
}

// New returns a Writer to out. Its goroutine lives as long as the process.
func New(out io.Writer) *Writer {
	w := &Writer{out: out, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	w.rate.report = func(line string) { w.put([]byte(line)) }
	go w.run()
	return w
}

// Write takes one line, or several that belong together, with a line feed at the end. It never fails. It leaves
// out lines of level ERROR and WARNING beyond the limit of their kind, and lines for which the queue has no room. It waits
// only for a line of level FATAL, at most EndPatience, since the caller ends the process then (clog.Fatal).
func (w *Writer) Write(line []byte) (int, error) {
	if w.rate.allow(line) {
		w.put(append([]byte(nil), line...)) // the caller uses its memory again
	}
	if bytes.HasPrefix(line, []byte("[FATAL] ")) {
		w.Flush(EndPatience)
	}
	return len(line), nil
}

// put queues a line, or counts it.
func (w *Writer) put(line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	room := 1
	if w.lost > 0 {
		room = 2 // a reader that is slow for long would have a line about lost ones behind each line
	}
	if len(w.lines) >= maxLines/room || w.octets+len(line) > maxOctets/room {
		w.lost++
		dropped.WithLabelValues(reasonFull).Inc()
		return
	}
	w.mention()
	w.queue(line)
}

// mention queues the number of the lines that were lost, if there are any. The caller holds mu.
func (w *Writer) mention() {
	if w.lost > 0 {
		w.queue(fmt.Appendf(nil, "%s%d lines of the log are missing here: nobody read it\n", prefix, w.lost))
		w.lost = 0
	}
}

// queue is called with mu held.
func (w *Writer) queue(line []byte) {
	w.lines = append(w.lines, line)
	w.octets += len(line)
	w.awake()
}

func (w *Writer) awake() {
	select {
	case w.wake <- struct{}{}:
	default: // it is awake
	}
}

// run writes line by line, so that those of two processes with one pipe do not mix.
func (w *Writer) run() {
	defer close(w.done)
	for {
		select {
		case <-w.wake:
		case <-w.quit:
			return
		}
		for line := w.next(); line != nil; line = w.next() {
			if _, err := w.out.Write(line); err != nil {
				dropped.WithLabelValues(reasonError).Inc() // there is nobody else to be told
			}
		}
	}
}

// next takes the first line; nil if there is none.
func (w *Writer) next() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines) == 0 {
		w.mention()
	}
	if len(w.lines) == 0 {
		w.lines = nil // and the memory of a long queue with it
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

// Flush waits until all lines are written, patience at most.
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

// close ends the goroutine when all is written.
func (w *Writer) close() {
	w.Flush(time.Hour)
	close(w.quit)
	<-w.done
}
