// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/nodelocaldns/nodelocaldns/internal/atomicfile"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// maxLastGood bounds what is read, in bytes: a template and a ConfigMap are 1 MiB each at most, and the blocks of stub domains
// are longer than their JSON.
const maxLastGood = 16 << 20

// LastGood is the file with the last configuration that worked. Its first line is a comment that identifies the flags and the
// text. The rest is a Corefile.
type LastGood struct {
	Path string // empty: none is kept
	made string // flags and environment that the text depends on
}

// NewLastGood returns the LastGood of these flags and this environment. The file is good for the same ClusterIPs only: they are
// in the text, and a Service may have another one at the next start.
func NewLastGood(o *options.Options, getenv func(string) string) LastGood {
	if o.StateDir == "" {
		return LastGood{}
	}
	made := slices.Clone(o.Words)
	made = append(made, "addresses="+words.Join(o.Addresses))
	for _, service := range []string{"kube-dns", o.UpstreamService} {
		made = append(made, ServiceEnv(service)+"="+getenv(ServiceEnv(service)))
	}
	return LastGood{filepath.Join(o.StateDir, "Corefile.last-good"), strings.Join(made, "\n")}
}

// headOf returns the first line of the file: hashes of what the text was made for, and of the text.
func (g LastGood) headOf(text []byte) []byte {
	return fmt.Appendf(nil, "# The last configuration of nodelocaldns that worked, for flags %.16x; text %.16x.\n",
		sha256.Sum256([]byte(g.made)), sha256.Sum256(text))
}

// Write keeps text, if it is another one than before.
func (g LastGood) Write(text []byte) error {
	if g.Path == "" {
		return nil
	}
	return atomicfile.Replace(g.Path, slices.Concat(g.headOf(text), text), 0o600)
}

// Read returns the text. The error is fs.ErrNotExist if there is no file. Other errors say why the file cannot be trusted or
// used.
func (g LastGood) Read() ([]byte, error) {
	if g.Path == "" {
		return nil, fs.ErrNotExist
	}
	data, err := readOwn(g.Path, maxLastGood)
	if err != nil {
		return nil, err
	}
	text, err := g.parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g.Path, err)
	}
	return text, nil
}

func (g LastGood) parse(data []byte) ([]byte, error) {
	head, text, found := bytes.Cut(data, []byte("\n"))
	want := bytes.TrimSuffix(g.headOf(text), []byte("\n"))
	flags, _, _ := bytes.Cut(want, []byte("; text "))
	switch {
	case found && bytes.Equal(head, want):
		return text, nil
	case found && bytes.HasPrefix(head, flags):
		return nil, errors.New("it is damaged")
	}
	return nil, errors.New("it was made for other flags or ClusterIPs, or is damaged")
}

// readOwn reads a file that nobody but this user can have written.
func readOwn(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) // of a pipe there would be no end
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := ownAlone(path, info); err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, err
}

// ownAlone refuses what another user owns or may write.
func ownAlone(path string, info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user", path)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("%s may be written by others (mode %04o)", path, mode)
	}
	return nil
}

// MakeStateDir makes the directory for what outlives the process. No other user can read it.
func MakeStateDir(path string) error {
	if path == "" {
		return nil
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", path)
	}
	if err := ownAlone(path, info); err != nil {
		return err
	}
	if info.Mode().Perm() == 0o700 {
		return nil
	}
	return os.Chmod(path, 0o700) // as Kubernetes makes it, others may look into it
}
