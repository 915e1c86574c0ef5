// SPDX-License-Identifier: Apache-2.0

package logwriter

import (
	"bufio"
	"bytes"
	golog "log"
	"os"
	"strings"
	"testing"
)

// uninstalled has no Writer be installed, before and after the test, and a pipe in the place of os.Stdout and of the log's file.
func uninstalled(t *testing.T) *bufio.Scanner {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, output, flags := os.Stdout, golog.Writer(), golog.Flags()
	t.Cleanup(func() {
		os.Stdout, installed = stdout, nil
		golog.SetOutput(output)
		golog.SetFlags(flags)
		w.Close()
		r.Close()
	})
	os.Stdout, installed = w, nil
	golog.SetOutput(w)
	golog.SetFlags(0)
	return bufio.NewScanner(r)
}

func expect(t *testing.T, s *bufio.Scanner, want string) {
	t.Helper()
	if !s.Scan() || s.Text() != want {
		t.Errorf("got %.100q, %v, want %.100q", s.Text(), s.Err(), want)
	}
}

func TestInstall(t *testing.T) {
	s := uninstalled(t)
	for range 2 {
		if err := Install(false); err != nil {
			t.Fatal(err)
		}
	}
	golog.Print("logged")
	expect(t, s, "logged")
	if _, err := os.Stdout.WriteString(".:53 on 127.0.0.1\n"); err != nil {
		t.Fatal(err)
	}
	expect(t, s, ".:53 on 127.0.0.1")
	long := strings.Repeat("x", 3*os.Getpagesize())
	if _, err := os.Stdout.WriteString(long + "\n"); err != nil {
		t.Fatal(err)
	}
	expect(t, s, long)
	w := installed
	InstallLogger()
	if installed != w {
		t.Error("a second one")
	}
	_ = os.Stdout.Close() // and the relay ends
	w.close()
}

func TestInstallLogger(t *testing.T) {
	s := uninstalled(t)
	file := os.Stdout
	for range 2 {
		InstallLogger()
	}
	if os.Stdout != file || installed == nil || golog.Writer() != installed {
		t.Fatalf("the log goes to %T", golog.Writer())
	}
	golog.Print("logged")
	Flush()
	expect(t, s, "logged")
	installed.close()
}

// TestInstallLoggerNot has a log that goes elsewhere.
func TestInstallLoggerNot(t *testing.T) {
	uninstalled(t)
	var elsewhere bytes.Buffer
	golog.SetOutput(&elsewhere)
	InstallLogger()
	golog.Print("logged")
	Flush() // of nothing
	if installed != nil || elsewhere.String() != "logged\n" {
		t.Errorf("got %q", elsewhere.String())
	}
}
