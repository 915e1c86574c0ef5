// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coredns/caddy"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/corefiles/kubedns"
	"github.com/nodelocaldns/nodelocaldns/internal/atomicfile"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
)

// ServerType is what caddy calls CoreDNS.
const ServerType = "dns"

// A Corefile is ready to run.
type Corefile struct {
	Path     string // files that it imports are found from there
	Text     []byte
	Warnings []string // for the operator

	template string // what it was rendered from; empty: nothing
	lines    []int  // by line of Text: the line of the template, 0: none; nil: Text was not rendered
}

// input is a Corefile as caddy takes it.
type input struct {
	caddy.CaddyfileInput
	from Corefile
}

// Source returns the path of what c was rendered from: the template, or the Corefile itself. It names an embedded template.
func (c Corefile) Source() string { return cmp.Or(c.template, c.Path) }

// Input returns c as caddy takes it.
func (c Corefile) Input() caddy.Input {
	return input{caddy.CaddyfileInput{Filepath: c.Path, Contents: c.Text, ServerTypeName: ServerType}, c}
}

// From returns the Corefile that in was made from.
func From(in caddy.Input) Corefile {
	if i, ok := in.(input); ok {
		return i.from
	}
	return Corefile{Path: in.Path(), Text: in.Body()}
}

// A Renderer makes the Corefile from the flags, the environment and the files that the flags name, anew each time.
type Renderer struct {
	Inputs
	Plugins Plugins

	last   memo
	copied []byte // the text that was last written to -conf
}

// settled is the age from which a file's time of change tells it from a later version. Two writes within one tick of the
// kernel's clock, at most 10 ms, have the same time.
const settled = time.Second

// memo is the last result, for as long as the files that it was made from are the same.
type memo struct {
	stamp string // empty: nothing is kept
	skip  []string
	made  Corefile
}

// New returns a Renderer for this machine's environment and files.
func New(o *options.Options, plugins Plugins) *Renderer {
	return &Renderer{Inputs: newInputs(o), Plugins: plugins}
}

// Render makes the Corefile, without the given keys of the kube-dns ConfigMap, and checks it. An empty key stands for all keys.
// The warnings are valid with an error, too.
func (r *Renderer) Render(skip ...string) (Corefile, error) {
	now := r.stamp()
	if now != "" && now == r.last.stamp && slices.Equal(skip, r.last.skip) {
		return r.last.made, nil
	}
	c, err := r.corefile(skip)
	if err == nil {
		err = r.Plugins.Check(c.Path, c.Text)
	}
	r.last = memo{}
	// A fault is not kept, since the next look may find another one, nor is a text that imports files of its own.
	if err == nil && !bytes.Contains(c.Text, []byte("import")) {
		r.last = memo{now, skip, c}
	}
	return c, err
}

// corefile makes the Corefile of the mode that the flags chose.
func (r *Renderer) corefile(skip []string) (Corefile, error) {
	c := Corefile{Path: r.Opts.Path()}
	if r.Opts.Mode == options.AsItIs {
		var err error
		c.Text, err = readFile("Corefile", c.Path)
		return c, err
	}
	template, err := r.template()
	if err != nil {
		return c, err
	}
	c.template = template.Path
	params, notes, err := r.params(template, skip)
	c.Warnings = notes
	if err != nil {
		return c, err
	}
	result, err := corefiles.Render(template, params)
	if err != nil {
		return c, err
	}
	c.Text, c.lines, c.Warnings = result.Text, result.Lines, append(c.Warnings, result.Warnings...)
	// The template is checked before the result: its author sees the template's lines.
	return c, r.Plugins.checkTemplate(template.Path, template.Text)
}

// copyMark is the last line of a copy.
var copyMark = []byte("# Rendered by nodelocaldns; what is changed here has no effect.\n")

// Load renders the Corefile for running it on this node, without the given keys of the kube-dns ConfigMap. It also writes the
// result to -conf, unless that file is the template.
func (r *Renderer) Load(skip ...string) (Corefile, error) {
	c, err := r.Render(skip...)
	if err == nil {
		err = Bindable(c.Path, c.Text, r.Opts.Addresses)
	}
	if err != nil || r.Opts.Mode != options.Template || r.Opts.Conf == "" || r.Opts.Conf == c.template {
		return c, err
	}
	// Two processes with one -conf watch that file. If each wrote its text at each look, they would wake each other for ever.
	if bytes.Equal(c.Text, r.copied) {
		return c, nil
	}
	if err := atomicfile.Replace(r.Opts.Conf, slices.Concat(c.Text, copyMark), 0o644); err != nil {
		// The copy is for the eyes of the operator. Without it the cache serves all the same.
		c.Warnings = append(slices.Clone(c.Warnings), "Not keeping a copy of the rendered Corefile: "+err.Error())
	} else {
		r.copied = c.Text
	}
	return c, nil
}

// Detached returns text as it is kept for the next start: with the nameservers of resolv.conf in the place of the file's name,
// since that file may be what the next start fails of. ok is false if text needs the file, and the file has no nameserver that
// can be asked.
func (r *Renderer) Detached(text []byte) (kept []byte, ok bool) {
	resolv, _ := readFile("the node's nameservers", r.ResolvConf) // on an error: no nameserver
	return corefiles.ResolvConf{Path: r.ResolvConf, Text: resolv}.Detach(text, r.Opts.Addresses)
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
