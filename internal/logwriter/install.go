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

// EndPatience bounds how long the process waits at its end for its last lines to be read: first for those on stdout, then
// for those on stderr.
const EndPatience = 250 * time.Millisecond

// installed is the Writer of the process's log; nil: none.
var (
	mu        sync.Mutex
	installed *Writer
)

// Install has the loggers of CoreDNS and of package log, and whatever is printed on os.Stdout from now on, write to the
// present os.Stdout through a Writer. It is for the program whose log this is; to call it twice changes nothing.
func Install() error {
	mu.Lock()
	defer mu.Unlock()
	if installed != nil {
		return nil
	}
	from, to, err := os.Pipe()
	if err != nil {
		return err
	}
	installed = New(os.Stdout)
	os.Stdout = to // CoreDNS prints the zones there at each load, and plugins what they like
	go relay(from, installed)
	clog.SetOutput(installed)
	return nil
}

// relay hands on what is printed, line by line. A line that is longer than a page comes in pieces.
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

// InstallLogger is Install for a plugin in somebody else's program: only the loggers are changed, and only if package log
// still writes to a file. It does nothing for JSON logs.
func InstallLogger() {
	mu.Lock()
	defer mu.Unlock()
	if file, ok := golog.Writer().(*os.File); ok && installed == nil {
		installed = New(file)
		clog.SetOutput(installed)
	}
}

// Flush waits until the lines of the process's log are written, EndPatience at most.
func Flush() {
	mu.Lock()
	w := installed
	mu.Unlock()
	if w != nil {
		w.Flush(EndPatience)
	}
}
