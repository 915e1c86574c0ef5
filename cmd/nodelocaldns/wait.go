// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// wait does nothing until a signal ends it. It is for the main container of a
// DaemonSet whose init container has done all there was to do: there is no
// shell in the image, and a container that ends is started again.
func wait(args []string, stdout io.Writer) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", args[0])}
	}
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, syscall.SIGINT, syscall.SIGTERM)
	fmt.Fprintln(stdout, "waiting for SIGTERM")
	<-sigs
	return nil
}
