// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster/node/protocol"
)

// setUp gives the node's processes the file system of a machine of their own. The mounts are made private first: what
// follows would else be done to the machine's own.
func setUp(q protocol.SetUp) error {
	steps := []func() error{
		func() error { return unix.Sethostname([]byte(q.Hostname)) },
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return unix.Mount("proc", "/proc", "proc", 0, "") },
		func() error { return unix.Mount("tmpfs", q.State, "tmpfs", 0, "size=6g,mode=755") },
		func() error { return ownSys(filepath.Join(q.State, "cgroup")) },
		func() error { return unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755") },
		func() error { return each(q.Dirs, func(dir string) error { return ownDir(q.State, dir) }) },
		func() error { return each(q.Copies, func(key string) error { return ownCopy(q.State, key) }) },
		func() error { return sysctls(q.Sysctls) },
		func() error { return cgroups(q.Cgroup) },
		// Mounts that the kubelet makes have to reach the pods.
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "") },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("setting up %s, step %d: %w", q.Hostname, i, err)
		}
	}
	return nil
}

func each(all []string, f func(string) error) error {
	for _, one := range all {
		if err := f(one); err != nil {
			return fmt.Errorf("%s: %w", one, err)
		}
	}
	return nil
}

// ownSys mounts the sysfs of this network namespace, which hides the cgroups, and puts those back.
func ownSys(aside string) error {
	const tree = "/sys/fs/cgroup"
	if err := os.Mkdir(aside, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(tree, aside, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return err
	}
	if err := unix.Mount(aside, tree, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Unmount(aside, unix.MNT_DETACH)
}

func ownDir(state, dir string) error {
	own := filepath.Join(state, dir)
	for _, d := range []string{dir, own} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return unix.Mount(own, dir, "", unix.MS_BIND, "")
}

func ownCopy(state, key string) error {
	file := filepath.Join("/proc/sys", key)
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	own := filepath.Join(state, "sysctl-"+strings.ReplaceAll(key, "/", "-"))
	if err := os.WriteFile(own, text, 0o644); err != nil {
		return err
	}
	return unix.Mount(own, file, "", unix.MS_BIND, "")
}

func sysctls(values map[string]string) error {
	for key, value := range values {
		if err := os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// cgroups makes the node's directory in each hierarchy of version 1, or in the one of version 2. In the hierarchy of the
// CPU sets, a new directory has none until it is told.
func cgroups(name string) error {
	hierarchies := []string{"/sys/fs/cgroup"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		if hierarchies, err = filepath.Glob("/sys/fs/cgroup/*"); err != nil {
			return err
		}
	}
	for _, h := range hierarchies {
		if info, err := os.Lstat(h); err != nil || !info.IsDir() {
			continue // a link: cpu to cpu,cpuacct
		}
		if _, err := os.Stat(filepath.Join(h, "cgroup.procs")); err != nil {
			continue
		}
		if err := os.MkdirAll(filepath.Join(h, name), 0o755); err != nil {
			return err
		}
		if err := cpusets(h, filepath.Join(h, name)); err != nil {
			return err
		}
	}
	return nil
}

func cpusets(from, to string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		text, err := os.ReadFile(filepath.Join(from, file))
		if err != nil || len(text) < 2 {
			continue // another hierarchy
		}
		if err := os.WriteFile(filepath.Join(to, file), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
