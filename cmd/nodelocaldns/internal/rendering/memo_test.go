// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// settle waits until the files of r are old enough for a memo.
func settle(t *testing.T, r *Renderer) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); r.stamp() == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the files do not settle")
		}
	}
}

// TestMemo renders nothing while the files are the same, and anew after each kind of change.
func TestMemo(t *testing.T) {
	n := newNode(t)
	path := writeFile(t, n.dir, "Corefile.base", template)
	r := n.renderer(t, "-localip 10.0.0.1 -basecorefile DIR/Corefile.base -kubednscm DIR/kube-dns")
	asked := 0
	getenv := r.Getenv
	r.Getenv = func(name string) string { asked++; return getenv(name) }
	rendered := func() (text string, anew bool) {
		t.Helper()
		asked = 0
		c, err := r.Render()
		if err != nil {
			t.Fatal(err)
		}
		return string(c.Text), asked > 0
	}
	if _, anew := rendered(); !anew {
		t.Error("nothing was rendered at first")
	}
	if _, anew := rendered(); !anew {
		t.Error("a file was trusted that may have been written twice within one tick of the clock")
	}
	settle(t, r)
	first, _ := rendered()
	for range 3 {
		if text, anew := rendered(); anew || text != first {
			t.Errorf("rendered anew (%t), or another text:\n%s", anew, text)
		}
	}
	if c, err := r.Render(""); err != nil || asked == 0 {
		t.Errorf("other keys to skip, and the same result: %v\n%s", err, c.Text)
	}
	dir := filepath.Join(n.dir, "kube-dns")
	for _, step := range []struct {
		name   string
		change func() error
	}{
		{"the template is rewritten, with the same size and time", func() error {
			info, err := os.Stat(path)
			writeFile(t, n.dir, "Corefile.base", strings.Replace(template, "forward", "hedge  ", 1))
			_ = os.Chtimes(path, info.ModTime(), info.ModTime())
			return err
		}},
		{"the ConfigMap appears", func() error { return os.Mkdir(dir, 0o755) }},
		{"a key appears", func() error { writeFile(t, dir, "stubDomains", `{"a.example": ["192.0.2.1"]}`); return nil }},
		{"resolv.conf is replaced", func() error {
			return os.Rename(writeFile(t, n.dir, "new", "nameserver 192.0.2.54\n"), filepath.Join(n.dir, "resolv.conf"))
		}},
	} {
		settle(t, r)
		rendered()
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		if _, anew := rendered(); !anew {
			t.Errorf("%s: not rendered anew", step.name)
		}
	}
}

// TestNoMemo keeps neither a fault nor a text with an import, whose file the text does not show.
func TestNoMemo(t *testing.T) {
	n := newNode(t)
	writeFile(t, n.dir, "broken", ".:53 {\n    nothing\n}\n")
	writeFile(t, n.dir, "import", ".:53 {\n    import imported\n}\n")
	writeFile(t, n.dir, "imported", "whoami\n")
	for _, name := range []string{"broken", "import"} {
		r := n.renderer(t, "-conf DIR/"+name)
		settle(t, r)
		_, _ = r.Render()
		if r.last.stamp != "" {
			t.Errorf("%s: kept", name)
		}
	}
}
