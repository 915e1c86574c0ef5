// SPDX-License-Identifier: Apache-2.0

// Package protocol is what the tests and the pods' probe say to each other.
package protocol

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
)

// Wire is a DNS message.
type Wire struct{ Message []byte }

// Lookup asks for a name by the pod's resolv.conf.
type Lookup struct{ Name string }

// Addresses is the answer to Lookup.
type Addresses struct{ Addresses []string }

// ID names a load.
type ID struct{ ID string }

// Done says that there is nothing to say.
type Done struct{}

// Load is a steady stream of queries.
type Load struct {
	ID        string
	Server    netip.Addr // invalid: the pod's resolv.conf, with a C library's timeouts and attempts
	Stub      bool       // such timeouts and attempts also with Server
	TCP       bool
	Socket    string
	LocalPort uint16
	Interval  time.Duration
	Timeout   time.Duration
	Name      string // asked each time; empty: names of the cluster that nobody has asked for yet
	Tag       byte   // tells the new names of two loads apart
}

// Namer is the load's sequence of names. The new ones are pod records, which exist for every address, under 10.Tag.0.0/16.
func (l Load) Namer() func(int) string {
	if l.Name != "" {
		return client.Always(l.Name)
	}
	return func(i int) string {
		return fmt.Sprintf("10-%d-%d-%d.default.pod.cluster.local.", l.Tag, i>>8&255, i&255)
	}
}

// Check is what makes an answer a right one: a new name's own address, or the lab's usual check.
func (l Load) Check() func(*dns.Msg) error {
	if l.Name != "" {
		return nil
	}
	return func(m *dns.Msg) error {
		label, _, _ := strings.Cut(m.Question[0].Name, ".")
		if len(m.Answer) == 1 {
			if a, ok := m.Answer[0].(*dns.A); ok && a.A.String() == strings.ReplaceAll(label, "-", ".") {
				return nil
			}
		}
		return fmt.Errorf("answered %s %v", dns.RcodeToString[m.Rcode], m.Answer)
	}
}

// Report is a client.Report on its way.
type Report struct {
	client.Report
	Failures []Failure
}

// Failure is a client.Failure on its way.
type Failure struct {
	At        time.Time
	Name, Err string
}

// ReportOf packs a report.
func ReportOf(r client.Report) Report {
	packed := Report{Report: r}
	packed.Report.Failures = nil
	for _, f := range r.Failures {
		packed.Failures = append(packed.Failures, Failure{f.At, f.Name, f.Err.Error()})
	}
	return packed
}

// Unpack gives the report back.
func (r Report) Unpack() client.Report {
	for _, f := range r.Failures {
		r.Report.Failures = append(r.Report.Failures, client.Failure{At: f.At, Name: f.Name, Err: errors.New(f.Err)})
	}
	return r.Report
}
