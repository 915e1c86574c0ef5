// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nodelocaldns/nodelocaldns/corefiles/kubedns"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
)

// settled is the age from which a file's time of change tells it from a later version. Two writes within one tick of the
// kernel's clock, at most 10 ms, have the same time.
const settled = time.Second

// memo is the last result, for as long as the files that it was made from are the same.
type memo struct {
	stamp string // empty: nothing is kept
	skip  []string
	made  Corefile
}

func (m *memo) get(stamp string, skip []string) (Corefile, bool) {
	return m.made, stamp != "" && stamp == m.stamp && slices.Equal(skip, m.skip)
}

// put keeps c. It keeps neither a fault, since the next look may find another one, nor a text that imports files of its own.
func (m *memo) put(stamp string, skip []string, c Corefile, err error) {
	*m = memo{stamp, skip, c}
	if err != nil || bytes.Contains(c.Text, []byte("import")) {
		*m = memo{}
	}
}

// Files returns the paths of all files that the Corefile is made from. Some may not exist.
func (in *Inputs) Files() []string {
	o := in.Opts
	if o.Mode == options.AsItIs {
		return []string{o.Conf}
	}
	files := []string{in.ResolvConf}
	for _, key := range kubedns.Keys {
		files = append(files, filepath.Join(in.kubeDNSPath(), key))
	}
	if o.Mode == options.Template {
		files = append(files, o.BaseCorefile)
		if o.Conf != "" {
			files = append(files, o.Conf)
		}
	}
	return files
}

// stamp tells the files apart from what they were before: a file that is written or replaced has another inode or another time
// of change (ctime, which no program can set). It is empty if one of them is too new to tell.
func (in *Inputs) stamp() string {
	var b strings.Builder
	for _, path := range append(in.Files(), in.kubeDNSPath()) {
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintln(&b, err)
			continue
		}
		s, ok := info.Sys().(*syscall.Stat_t)
		if !ok || time.Since(time.Unix(s.Ctim.Unix())) < settled {
			return ""
		}
		fmt.Fprintln(&b, s.Dev, s.Ino, s.Size, s.Ctim)
	}
	return b.String()
}
