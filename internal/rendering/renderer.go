// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"slices"

	"github.com/coredns/caddy"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
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
}

// Input returns c as caddy takes it.
func (c Corefile) Input() caddy.Input {
	return caddy.CaddyfileInput{Filepath: c.Path, Contents: c.Text, ServerTypeName: ServerType}
}

// A Renderer makes the Corefile from the flags, the environment and the files that the flags name, anew each time.
type Renderer struct {
	Inputs
	Plugins Plugins

	last memo
}

// New returns a Renderer for this machine's environment and files.
func New(o *options.Options, plugins Plugins) *Renderer {
	return &Renderer{Inputs: newInputs(o), Plugins: plugins}
}

// Render makes the Corefile, without the given keys of the kube-dns ConfigMap, and checks it. An empty key stands for all keys.
// The warnings are valid with an error, too.
func (r *Renderer) Render(skip ...string) (Corefile, error) {
	now := r.stamp()
	if c, ok := r.last.get(now, skip); ok {
		return c, nil
	}
	c, err := r.corefile(skip)
	if err == nil {
		err = r.Plugins.Check(c.Path, c.Text)
	}
	r.last.put(now, skip, c, err)
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
	c.Text, c.Warnings = result.Text, append(c.Warnings, result.Warnings...)
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
	if err := atomicfile.Replace(r.Opts.Conf, slices.Concat(c.Text, copyMark), 0o644); err != nil {
		// The copy is for the eyes of the operator. Without it the cache serves all the same.
		c.Warnings = append(slices.Clone(c.Warnings), "Not keeping a copy of the rendered Corefile: "+err.Error())
	}
	return c, nil
}

// Detached returns text as it is kept for the next start: independent of resolv.conf, which may be the very fault of that
// start. It is not ok where text needs that file, and the file is missing or has no nameserver that can be asked.
func (r *Renderer) Detached(text []byte) (kept []byte, ok bool) {
	resolv, _ := readFile("the node's nameservers", r.ResolvConf) // on an error: no nameserver
	return corefiles.ResolvConf{Path: r.ResolvConf, Text: resolv}.Detach(text, r.Opts.Addresses)
}
