// SPDX-License-Identifier: Apache-2.0

package logwriter

import (
	"bufio"
	golog "log"
	"os"
	"sync"
	"time"

	clog "github.com/coredns/coredns/plugin/pkg/log"
)

// EndPatience bounds the time that the process waits at its end for a reader of its last lines: first on stdout, then on stderr.
const EndPatience = 250 * time.Millisecond

// installed is the Writer of the process's log, or nil.
var (
	mu        sync.Mutex
	installed *Writer
)

// Install lets the loggers of CoreDNS and of package log write to os.Stdout through a Writer. Output on os.Stdout goes through the
// Writer, too. With stamps each line begins with its time (RFC 3339, UTC, milliseconds). The program that owns the log calls
// Install. A second call changes nothing.
func Install(stamps bool) error {
	mu.Lock()
	defer mu.Unlock()
	if installed != nil {
		return nil
	}
	from, to, err := os.Pipe()
	if err != nil {
		return err
	}
	installed = newWriter(os.Stdout, stamps)
	os.Stdout = to // CoreDNS prints its zones to os.Stdout at each load
	go relay(from, installed)
	clog.SetOutput(installed)
	return nil
}

// relay copies lines from a pipe to w. A line longer than a page is copied in pieces.
func relay(from *os.File, w *Writer) {
	r := bufio.NewReaderSize(from, os.Getpagesize())
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			_, _ = w.Write(line) // never fails
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

// InstallLogger is Install for a plugin in another program. It changes only the loggers, and only if package log writes to a file,
// which is not so for JSON logs.
func InstallLogger() {
	mu.Lock()
	defer mu.Unlock()
	if file, ok := golog.Writer().(*os.File); ok && installed == nil {
		installed = New(file)
		clog.SetOutput(installed)
	}
}

// Flush waits until all lines of the process's log are written, for EndPatience at most.
func Flush() {
	mu.Lock()
	w := installed
	mu.Unlock()
	if w != nil {
		w.Flush(EndPatience)
	}
}
