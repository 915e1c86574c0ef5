// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// A target has what differs between Debian's architectures.
type target struct {
	triplet string
	machine elf.Machine
}

var targets = map[string]target{
	"amd64": {"x86_64-linux-gnu", elf.EM_X86_64},
	"arm64": {"aarch64-linux-gnu", elf.EM_AARCH64},
}

// selectFiles returns the files of the packages that the image needs: those
// that the patterns name, or, without a pattern, iptables and CA certificates.
func selectFiles(pool tree, arch string, patterns []string) (tree, error) {
	s := selection{pool: pool, out: tree{}, target: targets[arch]}
	s.skeleton()
	if len(patterns) == 0 {
		if err := s.cacheNeeds(); err != nil {
			return nil, err
		}
	}
	for _, pattern := range patterns {
		if err := s.addAll(usrMerged(cleanPath(pattern))); err != nil {
			return nil, err
		}
	}
	return s.out, errors.Join(s.addAll("usr/share/doc/*/copyright"), s.addAll("usr/share/common-licenses/*"))
}

type selection struct {
	pool, out tree
	target    target
}

// skeleton adds the directories and files that programs need and cannot make,
// as the image's file system is read-only.
func (s selection) skeleton() {
	for _, dir := range mergedDirs {
		s.out.add(dir, link("usr/"+dir))
		s.out.add("usr/"+dir, directory(0o755))
	}
	s.out.add("tmp", directory(0o777|fs.ModeSticky))
}

// cacheNeeds adds what the cache needs of Debian.
func (s selection) cacheNeeds() error {
	certs, err := certificates(s.pool)
	if err != nil {
		return err
	}
	s.out.add("etc/ssl/certs/ca-certificates.crt", file(certs))
	s.out.add("run/xtables.lock", file(nil)) // the manifests mount the host's file over it
	return s.iptables()
}

// iptables adds the commands of both variants, and the plain names. As in
// Debian, the plain names lead to the nft variant.
func (s selection) iptables() error {
	for _, variant := range []struct{ suffix, multi string }{
		{"-nft", "xtables-nft-multi"}, {"-legacy", "xtables-legacy-multi"}, {"", "xtables-nft-multi"},
	} {
		if err := s.add("usr/sbin/" + variant.multi); err != nil {
			return err
		}
		for _, family := range []string{"iptables", "ip6tables"} {
			for _, command := range []string{"", "-save", "-restore"} {
				s.out.add("usr/sbin/"+family+variant.suffix+command, link(variant.multi))
			}
		}
	}
	extensions := "usr/lib/" + s.target.triplet + "/xtables/"
	// The extensions of ebtables and arptables, libebt_ and libarpt_, are left out.
	return errors.Join(s.addAll(extensions+"libxt_*.so"), s.addAll(extensions+"libipt_*.so"), s.addAll(extensions+"libip6t_*.so"))
}

func (s selection) addAll(pattern string) error {
	found := false
	for _, p := range s.pool.sorted() {
		if ok, err := path.Match(pattern, p); err != nil || !ok {
			continue
		}
		found = true
		if err := s.add(p); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("no file matches %s", pattern)
	}
	return nil
}

// add adds the file at p. If the file is a link, add adds the link's target,
// too. If the file is a program or library, add adds the loader and libraries
// that it needs.
func (s selection) add(p string) error {
	if _, ok := s.out[p]; ok {
		return nil
	}
	e, paths, err := s.pool.follow(p)
	if err != nil {
		return err
	}
	for _, p := range paths {
		s.out.add(p, s.pool[p])
	}
	if !bytes.HasPrefix(e.data, []byte(elf.ELFMAG)) {
		return nil
	}
	needs, err := s.needs(e.data)
	if err != nil {
		return fmt.Errorf("/%s: %w", p, err)
	}
	for _, need := range needs {
		if err := s.add(need); err != nil {
			return fmt.Errorf("/%s needs %w", p, err)
		}
	}
	return nil
}

// needs lists the paths of the loader and of the libraries of a program. It
// reads them from the program (PT_INTERP, DT_NEEDED), as ldd works for programs
// of this machine's architecture only.
func (s selection) needs(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if f.Machine != s.target.machine {
		return nil, fmt.Errorf("it is for %s, not %s", f.Machine, s.target.machine)
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, lib := range libs {
		out = append(out, "usr/lib/"+s.target.triplet+"/"+lib)
	}
	if section := f.Section(".interp"); section != nil {
		loader, err := section.Data()
		if err != nil {
			return nil, err
		}
		out = append(out, usrMerged(cleanPath(strings.TrimRight(string(loader), "\x00"))))
	}
	return out, nil
}

// resolve returns the path that a link at p leads to.
func resolve(p, target string) string {
	if !path.IsAbs(target) {
		target = path.Join(path.Dir(p), target)
	}
	return usrMerged(cleanPath(target))
}

// certificates joins Mozilla's certificates like update-ca-certificates(8).
func certificates(pool tree) ([]byte, error) {
	var out [][]byte
	for _, p := range pool.sorted() {
		if strings.HasPrefix(p, "usr/share/ca-certificates/") && strings.HasSuffix(p, ".crt") {
			out = append(out, append(bytes.TrimSpace(slices.Clone(pool[p].data)), '\n'))
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no CA certificates")
	}
	return bytes.Join(out, nil), nil
}
