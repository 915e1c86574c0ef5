// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fullPipe returns the end for writing of a pipe in which there is no room.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(); r.Close() })
	size, err := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0)
	if err == nil {
		_, err = w.Write(make([]byte, size))
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestEndWithoutReader has commands fail with nobody to tell it: they end all the same.
func TestEndWithoutReader(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		code int
	}{
		{"usage", []string{"-nonsense"}, exitUsage},
		{"no Corefile", []string{"-conf", "/absent/Corefile", "-metrics-listen-address="}, exitFailure},
		{"subcommand", []string{"render", "-conf", "/absent/Corefile"}, exitFailure},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := program(t, tt.args...)
			pipe := fullPipe(t)
			cmd.Stdout, cmd.Stderr = pipe, pipe
			begin := time.Now()
			err := cmd.Run()
			exit := new(exec.ExitError)
			if took := time.Since(begin); !errors.As(err, &exit) || exit.ExitCode() != tt.code || took > 10*time.Second {
				t.Errorf("%v after %s, want exit code %d", err, took, tt.code)
			}
		})
	}
}

// TestReaderGone has the reader of the log go, and a line be logged: the process serves on, and ends by SIGTERM.
func TestReaderGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := program(t, "-conf", writeFile(t, t.TempDir(), "Corefile", ".:0 {\n bind 127.0.0.1\n}\n"), "-metrics-listen-address=")
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	for s := bufio.NewScanner(r); s.Scan() && s.Text() != ".:0 on 127.0.0.1"; {
	}
	r.Close()
	for _, sig := range []os.Signal{syscall.SIGUSR2, syscall.SIGTERM} { // each is a line
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v, want exit code 0", err)
	}
}
