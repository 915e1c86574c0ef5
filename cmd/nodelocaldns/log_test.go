// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"os/exec"
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
