// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// moduleDirs is where the modules are that a node's network may need. The rest of the kernel's would make the machine
// slower to start.
var moduleDirs = []string{"net", "lib", "crypto", "arch/x86/crypto", "drivers/virtio"}

// links are the modules of the links that the tests make, and of a machine's own.
var links = []string{
	"drivers/net/dummy.ko", "drivers/net/tun.ko", "drivers/net/veth.ko", "drivers/net/ifb.ko",
	"drivers/net/virtio_net.ko", "drivers/net/net_failover.ko", "drivers/net/macvlan.ko", "drivers/net/ipvlan/ipvlan.ko", "drivers/net/bonding/bonding.ko", "drivers/net/team/team.ko",
}

// modules puts the kernel's modules into the tree, but for those that are left out, by patterns of their names as
// path.Match has them. What needs one of those fails to load, as it does on a kernel that was built without.
func (t *tree) modules(tb testing.TB, kernel string, without []string) {
	tb.Helper()
	dirs, err := filepath.Glob(filepath.Join(kernel, "lib/modules/*"))
	if err != nil || len(dirs) != 1 {
		tb.Fatalf("%s: want the modules of one kernel, found %v, %v", kernel, dirs, err)
	}
	version, staging := filepath.Base(dirs[0]), tb.TempDir()
	to := filepath.Join(staging, "lib/modules", version)
	if err := stage(dirs[0], to, without); err != nil {
		tb.Fatalf("copying the kernel's modules: %v", err)
	}
	if out, err := exec.Command("depmod", "-b", staging, version).CombinedOutput(); err != nil {
		tb.Fatalf("depmod: %v\n%s", err, out)
	}
	if err := t.copyAll(filepath.Join("/usr/lib/modules", version), to); err != nil {
		tb.Fatal(err)
	}
}

func stage(from, to string, without []string) error {
	for _, name := range append([]string{"modules.builtin", "modules.builtin.modinfo", "modules.order"}, kernelPaths(links)...) {
		if err := stageFile(from, to, name, without); err != nil {
			return err
		}
	}
	for _, dir := range kernelPaths(moduleDirs) {
		err := fs.WalkDir(os.DirFS(from), dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return stageFile(from, to, name, without)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func kernelPaths(names []string) (paths []string) {
	for _, name := range names {
		paths = append(paths, path.Join("kernel", name))
	}
	return paths
}

func stageFile(from, to, name string, without []string) error {
	module := strings.TrimSuffix(path.Base(name), ".ko")
	if slices.ContainsFunc(without, func(pattern string) bool { ok, _ := path.Match(pattern, module); return ok }) {
		return nil
	}
	target := filepath.Join(to, name)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := os.Link(filepath.Join(from, name), target); err == nil {
		return nil
	}
	body, err := os.ReadFile(filepath.Join(from, name))
	if err != nil {
		return fmt.Errorf("reading a module: %w", err)
	}
	return os.WriteFile(target, body, 0o644)
}
