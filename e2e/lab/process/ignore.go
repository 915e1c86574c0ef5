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

// Ignore leaves what the process prints unread, and fills both pipes to the brim, as a log collector that hangs does. The
// function that it returns has them read again, as the end of the test does.
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
	// The reader takes what is there, for the last time; if it stands still already, it takes nothing.
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
