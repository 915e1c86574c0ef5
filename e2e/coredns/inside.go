// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// insideWord is the first argument of this program when it prepares a network namespace for another program.
const insideWord = "inside"

// inside becomes the program of args, in a network namespace of its own with a loopback and no way out: a test that asks a server in
// the Internet ends the same on every machine. It returns only if that fails.
func inside(args []string) error {
	runtime.LockOSThread() // a thread's namespace is that of the program which the thread becomes
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("setting the loopback up: %w", err)
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("starting %s: %w", path, syscall.Exec(path, args, os.Environ()))
}
