// SPDX-License-Identifier: Apache-2.0

// Package soak judges and shows what a soak has measured: a cache under load for a long time, to which something happens every half
// minute. TestSoak of e2e is the soak. All times are seconds since its begin.
package soak

import "github.com/nodelocaldns/nodelocaldns/e2e/lab/output"

// Class is what a query asks for, and how.
type Class string

// The classes of queries.
const (
	Known Class = "known" // over UDP, a name that the cache knows, or one that it denies
	New   Class = "new"   // over UDP, a name that nobody has asked for before
	TCP   Class = "TCP"   // over TCP, a name that the cache knows
)

// Classes lists the classes.
var Classes = []Class{Known, New, TCP}

// Kind is a kind of event, with what it may cost.
type Kind struct {
	Name  string
	Group string            // of the track in the picture
	Gap   map[Class]float64 // for how long after its begin and after its end queries may be lost; 0: none may
	// Outage says that there is no cluster DNS from the begin to the end. New names may be answered by a failure all the time.
	Outage bool
}

// Event is one that happened.
type Event struct {
	Kind       string
	Begin, End float64
}

// Process is one of the cache's processes.
type Process struct {
	Begin, End float64
	Ended      string // the kind of event that ended it; empty: the end of the soak
}

// Sample is what a process had and had used at a moment.
type Sample struct {
	At         float64
	Process    int   // the index of the process
	RSS        int64 // octets
	Goroutines int
	Files      int
	CPU        float64 // seconds since the start of the process
}

// Sent is how many queries had ended at a moment, answered or not, and for how many seconds since the machine's start tasks had waited for
// a CPU.
type Sent struct {
	At      float64
	Queries int
	Waited  float64
}

// Failure is a query without a good answer.
type Failure struct {
	At       float64 // when it was sent
	Class    Class
	Answered bool // by a failure, such as SERVFAIL
	Error    string
}

// Results are what a soak has measured.
type Results struct {
	Date      string
	Seed      uint64
	CPUs      int
	Seconds   float64 // from the begin to the end
	Stall     float64 // the longest time by which a client was too late with a query
	Kinds     []Kind
	Events    []Event // in the order of their begins
	Processes []Process
	Samples   []Sample // in the order of time
	Sent      []Sent
	Failures  []Failure
}

// Read reads the results that Write has written.
func Read(path string) (*Results, error) {
	r := &Results{}
	if err := output.Read(path, r); err != nil {
		return nil, err
	}
	return r, nil
}

// Write writes results.json, results.md and soak.svg into a directory, which it makes.
func (r *Results) Write(dir string) error {
	return output.Write(dir, r, map[string]string{"results.md": r.Tables(), "soak.svg": r.Plot()})
}
