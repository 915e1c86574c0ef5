// SPDX-License-Identifier: Apache-2.0

package nodecheck

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/internal/sockets"
)

// ports looks for other programs at the ports of the cache.
func ports(_ context.Context, e *Env) (found []Finding) {
	for _, network := range []string{"udp", "tcp"} {
		all, err := e.Sockets(network)
		if err != nil {
			return one(Warning, err.Error(), "whether the cache's ports are free is not known", "run the check as root in the host's network namespace")
		}
		for _, l := range e.Listeners {
			if network == "udp" && l.For != DNS {
				continue
			}
			for _, s := range all {
				if owner := e.conflict(s, l); owner != "" {
					found = append(found, taken(network, s, l, owner))
				}
			}
		}
	}
	slices.SortFunc(found, compare)
	return slices.Compact(found)
}

// DNS is what the first of the listeners is for.
const DNS = "DNS"

// conflict names the process whose socket keeps the cache from listening; "" if s does not, or is a running cache's.
func (e *Env) conflict(s sockets.Socket, l Listener) string {
	here := s.Local.Addr().IsUnspecified() || l.All || slices.Contains(e.Addresses, s.Local.Addr())
	if !s.Bound || s.Local.Port() != l.Port || !here {
		return ""
	}
	owner := e.Owner(s)
	if strings.Contains(owner, "(nodelocaldns)") || e.Running && (strings.Contains(owner, "cannot be seen") || strings.Contains(owner, "("+alias+")")) {
		return ""
	}
	return owner
}

func taken(network string, s sockets.Socket, l Listener, owner string) Finding {
	f := Finding{Severity: Error, What: fmt.Sprintf("%s %s is taken, the port for %s: %s", network, s.Local, l.For, owner),
		Why: "the cache cannot listen there", Do: "stop that program, or give one of both another port"}
	switch {
	case l.For != DNS:
		f.Severity = Warning
	case strings.Contains(owner, "(dnsmasq)"):
		f.Do = "give dnsmasq bind-dynamic and except-interface=nodelocaldns*, or bind-interfaces"
	default:
		f.Do = "stop that DNS server, or have it listen at its own addresses alone, and not at all"
	}
	return f
}

type process struct{ pid, name string }

// alias is the name of k8s-dns-node-cache's program. The image has a link of that name to this one.
const alias = "node-cache"

// processes lists the processes in this network namespace that can be seen.
func (e *Env) processes() (all []process) {
	own, _ := os.Readlink(e.Proc + "/thread-self/ns/net")
	dirs, _ := filepath.Glob(e.Proc + "/[0-9]*") // no process at all is an answer, too
	for _, dir := range dirs {
		name, err := os.ReadFile(dir + "/comm")
		if other, _ := os.Readlink(dir + "/ns/net"); err == nil && own == other {
			all = append(all, process{filepath.Base(dir), nameOf(dir, strings.TrimSpace(string(name)))})
		}
	}
	return all
}

// nameOf returns the name of a process, for this program that of its file: it may run by its alias.
func nameOf(dir, comm string) string {
	if file, _ := os.Readlink(dir + "/exe"); comm == alias && filepath.Base(file) == "nodelocaldns" {
		return "nodelocaldns"
	}
	return comm
}
