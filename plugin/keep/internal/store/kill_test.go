// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// victimDir is the environment variable by which this test binary becomes a process that records names there,
// and waits to be killed.
const victimDir = "KEEP_VICTIM_DIR"

const victimNames = 1000

func victim(dir string) {
	s, err := open(dir, DefaultSize, Boottime())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := range victimNames {
		s.Put(sample(fmt.Sprintf("n%d.test.", i), "192.0.2.1", Boottime()))
	}
	for i := range 20_000 { // the signal comes in the middle of a record, most likely; the names stay in the ring
		s.Put(sample("busy.test.", fmt.Sprintf("192.0.2.%d", i%250), Boottime()))
		if i == 0 {
			fmt.Println("done")
		}
	}
	select {}
}

func TestAKilledProcessLeavesWhatItKnew(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), victimDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill() // SIGKILL
	_ = cmd.Wait()
	if line != "done\n" {
		t.Fatal(line)
	}
	s := newStore(t, dir, DefaultSize)
	known := 0
	for i := range victimNames {
		if answerOf(s, fmt.Sprintf("n%d.test.", i)) == "192.0.2.1" {
			known++
		}
	}
	if known < victimNames*95/100 || answerOf(s, "busy.test.") == "" {
		t.Errorf("%d of %d are known, busy: %q", known, victimNames, answerOf(s, "busy.test."))
	}
	if n := filesIn(t, dir); n != 1 {
		t.Errorf("%d files are left", n)
	}
}
