// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// stubOf renders template, which is in a directory with the files, with a stub domain.
func stubOf(t *testing.T, template string, files map[string]string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := params(stub("acme.example", "192.0.2.1"))
	p.Path = filepath.Join(dir, "Corefile")
	got, err := Render(Template{"f", []byte(template)}, p)
	if err != nil {
		return strings.ReplaceAll(err.Error(), dir, "DIR"), err
	}
	_, block, _ := strings.Cut(string(got.Text), "acme.example:53 {\n")
	return block, nil
}

// TestStubsAreBoundAsTheRoot has all forms in which the root's block may say where it listens.
func TestStubsAreBoundAsTheRoot(t *testing.T) {
	t.Setenv("CACHE", "169.254.20.10")
	for name, test := range map[string]struct {
		template string
		files    map[string]string
		want     string // what the stub domain's block begins with, up to forward
	}{
		"both":             {".:53 {\n bind 169.254.20.10 10.96.0.10\n}\n", nil, "    bind 169.254.20.10 10.96.0.10\n"},
		"one":              {"cluster.local {\n bind 10.96.0.10 169.254.20.10\n}\n. {\n bind 169.254.20.10\n}\n", nil, "    bind 169.254.20.10\n"},
		"all of IPv4":      {". {\n bind 0.0.0.0\n}\n", nil, "    bind 0.0.0.0\n"},
		"all":              {". {\n bind ::\n}\n", nil, "    bind ::\n"},
		"none":             {"cluster.local {\n bind 169.254.20.10\n}\n. {\n log\n}\n", nil, ""},
		"several":          {". {\n bind 169.254.20.10\n log\n bind 10.96.0.10\n}\n", nil, "    bind 169.254.20.10\n    bind 10.96.0.10\n"},
		"except":           {". {\n bind eth0 lo {\n  except 127.0.0.1 ::1\n }\n}\n", nil, "    bind eth0 lo {\n        except 127.0.0.1 ::1\n    }\n"},
		"variable":         {". {\n bind {$CACHE}\n}\n", nil, "    bind 169.254.20.10\n"},
		"snippet":          {"(s) {\n bind 169.254.20.10\n}\n. {\n import s\n}\n", nil, "    bind 169.254.20.10\n"},
		"snippet of words": {"(s) {\n bind 169.254.20.10 }\n. {\n import s\n bind 10.96.0.10\n}\n", nil, "    bind 169.254.20.10\n    bind 10.96.0.10\n"},
		"file":             {". {\n import b\n}\n", map[string]string{"b": "bind 169.254.20.10\npacketcache"}, "    packetcache\n    bind 169.254.20.10\n"},
		"imported root":    {"a {\n bind 10.96.0.10\n}\nimport *.server\n", map[string]string{"r.server": ".:53 {\n bind 0.0.0.0\n}\n"}, "    bind 0.0.0.0\n"},
		"with a scheme":    {"a {\n bind 10.96.0.10\n}\ndns://.:53 b {\n bind 0.0.0.0\n}\n", nil, "    bind 0.0.0.0\n"},
		"views":            {". {\n bind 169.254.20.10\n}\n. {\n bind 169.254.20.10\n}\n", nil, "    bind 169.254.20.10\n"},
		"another port":     {"a {\n bind 169.254.20.10\n}\n.:54 {\n bind 0.0.0.0\n}\n", nil, "    bind 169.254.20.10\n"},
		"no root":          {"a {\n bind 10.96.0.10\n}\nb {\n nodelocal\n bind 169.254.20.10\n}\n", nil, "    bind 169.254.20.10\n"},
		"no root, no bind": {"a {\n log\n}\n", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := stubOf(t, test.template, test.files)
			got, _, _ = strings.Cut(got, "    fairshare")
			if err != nil || got != test.want {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

// TestStubsWaitAsTheRoot has the times that a server of a stub domain is given: those of the root's, or forward's own.
func TestStubsWaitAsTheRoot(t *testing.T) {
	for name, test := range map[string]struct{ template, want string }{
		"stock":         {". {\n forward . 192.0.2.1\n}\n", ""},
		"stock options": {". {\n forward . 192.0.2.1 {\n  force_tcp\n  expire 5s\n }\n}\n", ""},
		"its own": {". {\n forward . 192.0.2.1 {\n  read_timeout 3s\n  force_tcp\n  max_connect_attempts 2\n }\n}\n",
			"        read_timeout 3s\n        max_connect_attempts 2\n"},
		"of another zone":  {"cluster.local {\n forward . 192.0.2.1 {\n  read_timeout 3s\n }\n}\n. {\n forward . 192.0.2.1\n}\n", ""},
		"of a part":        {". {\n forward a.example 192.0.2.1 {\n  read_timeout 3s\n }\n forward . 192.0.2.1 {\n  read_timeout 4s\n }\n}\n", "        read_timeout 4s\n"},
		"snippet":          {"(s) {\n forward . 192.0.2.1 {\n  read_timeout 3s\n }\n}\n. {\n import s\n}\n", "        read_timeout 3s\n"},
		"without a value":  {". {\n forward . 192.0.2.1 {\n  read_timeout\n  force_tcp\n }\n}\n", ""},
		"another upstream": {". {\n hedge . 192.0.2.1 {\n  timeout 3s\n }\n}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := stubOf(t, test.template, nil)
			_, got, _ = strings.Cut(got, "        prefer_udp\n")
			got, _, _ = strings.Cut(got, stubOptions[0])
			if err != nil || got != test.want {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

// TestStubsBesideImports has zones that are taken by a block which is not in the template itself.
func TestStubsBesideImports(t *testing.T) {
	t.Setenv("ZONE", "acme.example")
	const adding = `adding stub domain "acme.example" of the kube-dns ConfigMap: `
	for name, test := range map[string]struct {
		template string
		files    map[string]string
		want     string
	}{
		"file": {".:53 {\n}\nimport x.server\n", map[string]string{"x.server": "# mine\nb.example, ACME.example:53 {\n errors\n}\n"},
			adding + "DIR/x.server:2 has a server block for it already, ACME.example:53"},
		"glob": {".:53 {\n}\nimport *.server\n", map[string]string{"a.server": "a {\n log\n}\n", "b.server": "b.example {\n log\n}\n\nacme.example. {\n log\n}\n"},
			adding + "DIR/b.server:5 has a server block for it already, acme.example."},
		"nested":      {"import a\n.:53 {\n}\n", map[string]string{"a": "import b\n", "b": "acme.example {\n log\n}\n"}, adding + "DIR/b:1 has a server block for it already, acme.example"},
		"empty block": {".:53 {\n}\nimport x\n", map[string]string{"x": "acme.example {\n}\n"}, adding + "f (by an import or a variable) has a server block for it already, acme.example"},
		"variable":    {".:53 {\n}\n{$ZONE} {\n}\n", nil, adding + "f (by an import or a variable) has a server block for it already, acme.example"},
		"other port":  {".:53 {\n}\nimport x\n", map[string]string{"x": "acme.example:54 {\n log\n}\n"}, ""},
		"no file":     {".:53 {\n}\nimport x\n", nil, "DIR/Corefile:4: File to import not found: x"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := stubOf(t, test.template, test.files)
			if (err != nil) != (test.want != "") || err != nil && got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}
