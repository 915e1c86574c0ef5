// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Ignore ends the reading of what the process prints, and fills both pipes: the next write of the process blocks, as with a log
// collector that hangs. The function that Ignore returns, and the end of the test, begin the reading again.
func (p *Process) Ignore(t testing.TB) (listen func()) {
	t.Helper()
	p.reading.Lock()
	listen = sync.OnceFunc(p.reading.Unlock)
	t.Cleanup(listen)
	for _, fd := range []int{1, 2} {
		if err := fillPipe(fmt.Sprintf("/proc/%d/fd/%d", p.Pid(), fd)); err != nil {
			t.Fatalf("filling the pipe %d of process %d: %v", fd, p.Pid(), err)
		}
	}
	return listen
}

func fillPipe(path string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("\n")); err != nil && !errors.Is(err, unix.EAGAIN) {
		return err
	}
	// The reader takes once what is in the pipe, and then waits for p.reading. If it waits already, it takes nothing.
	for begin := time.Now(); time.Since(begin) < 100*time.Millisecond; time.Sleep(time.Millisecond) {
		if left, err := unix.IoctlGetInt(fd, unix.TIOCINQ); err != nil || left == 0 {
			break
		}
	}
	for {
		if _, err := unix.Write(fd, []byte("\n")); err != nil {
			if errors.Is(err, unix.EAGAIN) {
				return nil
			}
			return err
		}
	}
}
