// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/setups"
)

// pluginError is how plugin.Error of CoreDNS begins a message. Caddy may say before it what it was doing.
var pluginError = regexp.MustCompile(`(?:^|: )plugin/(\S+): `)

// badPort is what package net says of a port at which nobody can listen.
var badPort = regexp.MustCompile(`^listen tcp: (?:address|lookup) .*(?:invalid|unknown) port`)

// Located says where in c the error of a plugin is, in the template's lines where c was rendered, and what helps. It runs the
// plugin's setup again, on parts of c, as most plugins say neither. Other errors it returns as they are.
func Located(err error, c Corefile) error {
	m := pluginError.FindStringSubmatch(err.Error())
	directives := []string{"health", "ready", "prometheus", "pprof"}
	switch {
	case m != nil:
		directives = []string{m[1]}
	case !badPort.MatchString(err.Error()):
		return err
	}
	parsed, perr := setups.Parse(c.Path, c.Text)
	if perr != nil {
		return err // of a Corefile that cannot be parsed, nothing better can be said
	}
	for _, d := range directives {
		if f, ok := parsed.First(d); ok {
			return located{c.say(f), err}
		}
	}
	return c.unsure(parsed, err, directives)
}

// unsure is Located for an error that no setup returns again.
func (c Corefile) unsure(parsed setups.Corefile, err error, directives []string) error {
	if len(directives) > 1 {
		return err
	}
	if directives[0] == "nodelocal" { // it names the place, or the fault is the node's
		return c.templated(err)
	}
	f, where := parsed.Unsure(directives[0], err)
	if len(where) == 0 {
		return c.templated(err)
	}
	var places []string
	for _, w := range where {
		places = append(places, c.place(w.File, w.Line))
	}
	return located{strings.Join(places, " or ") + ": " + f.String(), err}
}

// located is an error in other words.
type located struct {
	text  string
	cause error
}

func (l located) Error() string { return l.text }
func (l located) Unwrap() error { return l.cause }

// say returns the fault in one line, with its place.
func (c Corefile) say(f setups.Fault) string {
	return fmt.Sprintf("%s: %s", c.place(f.File, f.Line), c.inTemplate(f.String()))
}

// place is FILE:LINE of a line of c, or of a file that c imports, as the author of the template sees it.
func (c Corefile) place(file string, line int) string {
	if file == c.Path && line >= 1 && line <= len(c.lines) {
		if origin := c.lines[line-1]; origin > 0 {
			return fmt.Sprintf("%s:%d", c.template, origin)
		}
		return fmt.Sprintf("%s:%d (as rendered)", file, line)
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// inTemplate replaces each FILE:LINE of c by its place.
func (c Corefile) inTemplate(text string) string {
	if len(c.lines) == 0 {
		return text
	}
	at := regexp.MustCompile(`(^|[\s(])` + regexp.QuoteMeta(c.Path) + `:(\d+)`)
	return at.ReplaceAllStringFunc(text, func(s string) string {
		m := at.FindStringSubmatch(s)
		line, _ := strconv.Atoi(m[2]) // of digits
		return m[1] + c.place(c.Path, line)
	})
}

// templated returns err with the template's lines.
func (c Corefile) templated(err error) error {
	text := strings.ReplaceAll(c.inTemplate(err.Error()), " - Error during parsing: ", ": ")
	if text == err.Error() {
		return err
	}
	return located{text, err}
}

// A Fault is what is wrong with a Corefile, in one line that names the place.
type Fault struct {
	Text string
	// NotHere says that only the machine that serves can tell, as this one lacks a file or an interface.
	NotHere bool
}

// Faults runs the setups of all plugins, and returns what they refuse. It is for a process that serves nothing.
func (p Plugins) Faults(c Corefile) ([]Fault, error) {
	parsed, err := setups.Parse(c.Path, c.Text)
	if err != nil {
		return nil, err
	}
	found, err := parsed.All(p.Known)
	if err != nil {
		return nil, c.templated(err)
	}
	var faults []Fault
	for _, f := range found {
		faults = append(faults, Fault{c.say(f), f.NotHere})
	}
	return faults, nil
}
