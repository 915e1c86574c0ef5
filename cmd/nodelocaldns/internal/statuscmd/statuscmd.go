// SPDX-License-Identifier: Apache-2.0

// Package statuscmd is the command status. It asks the caches of this node what they do, and without one looks at the kernel.
package statuscmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

// Exit codes.
const (
	allWell    = 0
	degraded   = 1 // an address is not steered, or something else is wrong
	noInstance = 2
)

const head = `Usage:
  nodelocaldns status [FLAG...]

It asks the caches of this node what they do, and says what is wrong. It changes nothing. The exit code is 0 if all is well, 1 if something
is wrong, and 2 if no cache runs.

`

// An instance is a cache of this node, and what it has answered.
type instance struct {
	Socket        string   `json:"socket"`
	Unanswered    string   `json:"error,omitzero"` // why there is no report; empty: there is one
	Faults        []string `json:"faults"`         // what is wrong, worst first; none: all is well
	status.Report          // zero without an answer
}

// Run is the subcommand status with args. It returns the exit code.
func Run(args []string, stdout io.Writer) (int, error) {
	var dir, form string
	fs := options.NewFlagSet("status")
	fs.StringVar(&dir, "statedir", options.Defaults().StateDir, "`DIR` that the caches have as -statedir")
	options.Define(fs, "o", "text", options.OneOf("text", "json"), &form, "`FORM` of the answer: text or json")
	if helped, err := options.ParseSub(fs, args, head, stdout); helped || err != nil {
		return allWell, err
	}
	all, err := ask(dir)
	if err != nil {
		return degraded, err
	}
	var seen *kernel
	if len(all) == 0 || unanswered(all) {
		seen = look()
	}
	if form == "json" {
		out := json.NewEncoder(stdout)
		out.SetIndent("", "  ")
		return code(all, seen), out.Encode(all)
	}
	_, err = io.WriteString(stdout, text(all, seen, dir))
	return code(all, seen), err
}

// ask asks all caches with a socket in dir at once. No directory is no cache.
func ask(dir string) ([]instance, error) {
	if _, err := os.ReadDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for caches: %w; run it as root", err)
	}
	sockets, err := status.Sockets(dir)
	if err != nil {
		return nil, err
	}
	all := make([]instance, len(sockets))
	var answers sync.WaitGroup
	for i, path := range sockets {
		all[i].Socket = path
		answers.Go(func() {
			r, err := status.Ask(path)
			all[i].Report = r
			if netErr := net.Error(nil); errors.As(err, &netErr) && netErr.Timeout() {
				all[i].Unanswered = fmt.Sprintf("the process at %s hangs: it has not answered within %s", path, status.Patience)
			} else if err != nil {
				all[i].Unanswered = err.Error()
			}
		})
	}
	answers.Wait()
	judge(all, time.Now())
	return all, nil
}

// judge finds the faults of all.
func judge(all []instance, now time.Time) {
	for i := range all {
		it := &all[i]
		if it.Time.IsZero() {
			it.Time = now
		}
		if it.Unanswered != "" {
			it.Faults = []string{it.Unanswered}
			continue
		}
		it.Faults = faults(it.Report)
	}
	relieve(all)
}

// code returns the exit code. seen is what the kernel says if nobody has answered.
func code(all []instance, seen *kernel) int {
	if len(all) == 0 && len(seen.instances) == 0 {
		return noInstance
	}
	if len(all) == 0 {
		return degraded
	}
	for _, it := range all {
		if len(it.Faults) > 0 {
			return degraded
		}
	}
	return allWell
}

func unanswered(all []instance) bool {
	for _, it := range all {
		if it.Unanswered != "" {
			return true
		}
	}
	return false
}
