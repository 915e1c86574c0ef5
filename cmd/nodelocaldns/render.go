// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
)

// render prints the Corefile that o would run, and writes no file.
func render(o *options, stdout, stderr io.Writer) error {
	note := func(s string) { fmt.Fprintln(stderr, "nodelocaldns:", s) }
	if err := newFinder(o, 0, note).resolve(); err != nil {
		return err
	}
	c, err := newLoader(o).render()
	if err != nil {
		return err
	}
	for _, w := range c.warnings {
		fmt.Fprintln(stderr, "nodelocaldns: warning:", w)
	}
	_, err = stdout.Write(c.text)
	return err
}
