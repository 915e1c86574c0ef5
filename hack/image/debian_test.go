// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/x509"
	"debug/elf"
	"encoding/pem"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

const testCache = "../../bin/cache"

// debian returns the files of the pinned packages, from the cache or through apt.
func debian(t *testing.T, arch string) content {
	t.Helper()
	c, err := gather(options{debs: "debian.lock", cache: testCache, arch: arch})
	if err != nil && os.Getenv("NODELOCALDNS_E2E") != "required" {
		t.Skipf("no packages: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func architectures(t *testing.T, f func(t *testing.T, arch string, files tree)) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) { f(t, arch, debian(t, arch).debian) })
	}
}

func TestDebianImageTwice(t *testing.T) {
	architectures(t, func(t *testing.T, arch string, _ tree) {
		build := func() []byte {
			out := filepath.Join(t.TempDir(), "out.tar")
			mustRun(t, "-debs", "debian.lock", "-cache", testCache, "-arch", arch, "-o", out, "-name", "example.org/x:1", "-file", write(t, "x", "program", 0o755)+"=/x")
			return readAll(t, out)
		}
		if !bytes.Equal(build(), build()) {
			t.Error("two builds differ")
		}
	})
}

// What is missing here would be noticed in a cluster, and for arm64 only there.
func TestDebianPrograms(t *testing.T) {
	architectures(t, func(t *testing.T, arch string, files tree) {
		programs := 0
		for p, e := range files {
			if !bytes.HasPrefix(e.data, []byte(elf.ELFMAG)) {
				continue
			}
			programs++
			f, err := elf.NewFile(bytes.NewReader(e.data))
			if err != nil {
				t.Fatal(err)
			}
			if f.Machine != targets[arch].machine {
				t.Errorf("/%s is for %s", p, f.Machine)
			}
			libs, err := f.ImportedLibraries()
			if err != nil {
				t.Fatal(err)
			}
			for _, lib := range libs {
				exists(t, files, "lib/"+targets[arch].triplet+"/"+lib)
			}
			if s := f.Section(".interp"); s != nil && strings.HasPrefix(p, "usr/sbin/") {
				loader, err := s.Data()
				if err != nil {
					t.Fatal(err)
				}
				exists(t, files, strings.Trim(string(loader), "/\x00"))
			}
		}
		if programs < 100 {
			t.Errorf("%d programs and libraries", programs)
		}
	})
}

// exists looks a path up through all links, those of directories as well.
func exists(t *testing.T, files tree, p string) {
	t.Helper()
	first, rest, _ := strings.Cut(p, "/")
	if e := files[first]; e.mode&fs.ModeSymlink != 0 {
		p = e.target + "/" + rest
	}
	if e, _, err := files.follow(p); err != nil || !e.mode.IsRegular() {
		t.Errorf("/%s: %v, %v", p, e.mode, err)
	}
}

func TestDebianFiles(t *testing.T) {
	architectures(t, func(t *testing.T, arch string, files tree) {
		for _, family := range []string{"iptables", "ip6tables"} {
			for suffix, want := range map[string]string{"": "nft", "-nft": "nft", "-legacy": "legacy"} {
				for _, command := range []string{"", "-save", "-restore"} {
					p := "usr/sbin/" + family + suffix + command
					exists(t, files, p)
					if got := files[p].target; got != "xtables-"+want+"-multi" {
						t.Errorf("/%s leads to %s", p, got)
					}
				}
			}
		}
		for _, extension := range []string{"libxt_CT", "libxt_NOTRACK", "libxt_addrtype", "libxt_comment", "libxt_udp", "libxt_tcp", "libxt_mark", "libxt_conntrack", "libipt_icmp", "libip6t_icmp6"} {
			exists(t, files, "usr/lib/"+targets[arch].triplet+"/xtables/"+extension+".so")
		}
		for _, p := range debian(t, arch).packages {
			exists(t, files, "usr/share/doc/"+p.name+"/copyright")
		}
		exists(t, files, "usr/share/common-licenses/GPL-2")
		exists(t, files, "run/xtables.lock")
		if files["tmp"].mode != fs.ModeDir|fs.ModeSticky|0o777 {
			t.Errorf("/tmp: %v", files["tmp"].mode)
		}
	})
}

func TestDebianCertificates(t *testing.T) {
	rest, n := debian(t, "amd64").debian["etc/ssl/certs/ca-certificates.crt"].data, 0
	for len(rest) > 0 {
		block, after := pem.Decode(rest)
		if block == nil {
			t.Fatalf("no certificate: %.60s", rest)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			t.Error(err)
		}
		rest = after
		n++
	}
	if n < 100 {
		t.Errorf("%d certificates", n)
	}
}

// Nothing but what is in the image, and a network namespace of its own.
func TestDebianProgramsRun(t *testing.T) {
	c := debian(t, runtime.GOARCH)
	if os.Getuid() != 0 && os.Getenv("NODELOCALDNS_E2E") != "required" {
		t.Skip("needs root to change the root directory")
	}
	root := filepath.Join(t.TempDir(), "root")
	if err := c.all().writeDir(root); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"iptables --version":                   "(nf_tables)",
		"ip6tables-legacy --version":           "(legacy)",
		"iptables-nft-save":                    "",
		"ip6tables-legacy-save":                "",
		"iptables-nft -m addrtype --help":      "Address type match options",
		"iptables-legacy -m connlabel --help":  "connlabel match options",
		"ip6tables-legacy -t raw -j CT --help": "CT target options",
		"iptables -t raw -j NOTRACK --help":    "NOTRACK",
	} {
		args := strings.Fields(line)
		cmd := exec.Command("/usr/sbin/"+args[0], args[1:]...) // below the new root
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), want) || err != nil {
			t.Errorf("%s: no %q, %v\n%s", line, want, err, out)
		}
	}
}
