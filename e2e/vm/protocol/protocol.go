// SPDX-License-Identifier: Apache-2.0

// Package protocol is what a test on the outside and the init inside of a virtual machine have to agree on.
package protocol

import (
	"encoding/json"
	"fmt"
	"os"
)

// A Job is the program that the machine is for.
type Job struct {
	Path string // in the machine
	Args []string
	Env  []string // beside PATH
	Dir  string
}

const (
	// File is where the machine's init finds its job.
	File = "/job/job.json"
	// Ended begins the line after the job's output; its exit code follows.
	Ended = "the job ended with exit code "
)

// Path is where the machine's programs are.
var Path = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// Read reads the job of the machine that this process runs in.
func Read() (j Job, err error) {
	text, err := os.ReadFile(File)
	if err != nil {
		return j, err
	}
	if err := json.Unmarshal(text, &j); err != nil {
		return j, fmt.Errorf("reading %s: %w", File, err)
	}
	return j, nil
}
