// SPDX-License-Identifier: Apache-2.0

// Command init is the first and only process of the virtual machine, but for the job that it runs: it mounts what a program
// expects of a Linux system, runs the job, sends what that prints to the second serial port, and powers the machine off.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/vm/protocol"
)

const results = "/dev/ttyS1"

func main() {
	if err := run(); err != nil {
		fmt.Println("init:", err) // on the console
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("init: powering off:", err)
	}
}

func run() error {
	if err := mount(); err != nil {
		return err
	}
	for _, dir := range protocol.Path {
		if err := os.Setenv("PATH", strings.Trim(os.Getenv("PATH")+":"+dir, ":")); err != nil {
			return err
		}
	}
	limit := unix.Rlimit{Cur: 1 << 16, Max: 1 << 16}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raising the limit of open files: %w", err)
	}
	loadModules()
	job, err := protocol.Read()
	if err != nil {
		return err
	}
	out, err := openResults()
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(job.Path, job.Args...)
	cmd.Dir, cmd.Env = job.Dir, append(os.Environ(), job.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); cmd.ProcessState == nil {
		return fmt.Errorf("running %s: %w", job.Path, err)
	}
	_, err = fmt.Fprintf(out, "\n%s%d\n", protocol.Ended, cmd.ProcessState.ExitCode())
	return err
}

func mount() error {
	for _, m := range []struct{ kind, dir string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", m.dir, err)
		}
	}
	return os.Chmod("/tmp", 0o1777)
}

// loadModules loads what the kernel does not load by itself when it is asked for. A machine without a module is what
// some jobs are about.
func loadModules() {
	for _, name := range []string{"tun", "ip_vs", "ip_vs_rr", "virtio_pci", "virtio_net"} {
		if out, err := exec.Command("modprobe", name).CombinedOutput(); err != nil {
			fmt.Printf("init: modprobe %s: %v: %s\n", name, err, out)
		}
	}
}

// openResults opens the second serial port, and has the kernel change nothing of what is written to it.
func openResults() (*os.File, error) {
	f, err := os.OpenFile(results, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	settings, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err == nil {
		settings.Oflag &^= unix.OPOST
		settings.Lflag &^= unix.ECHO
		err = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, settings)
	}
	if err != nil {
		return nil, fmt.Errorf("setting up %s: %w", results, err)
	}
	return f, nil
}
