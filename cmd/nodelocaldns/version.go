// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"

	"github.com/coredns/coredns/coremain"
)

// Set by make build with -ldflags.
var (
	version = "dev"
	commit  = "unknown"
)

// versionText is what -version prints.
func versionText() string {
	return fmt.Sprintf("nodelocaldns %s (commit %s)\n%s %s\n%s %s/%s\n", version, commit,
		coremain.CoreName, coremain.CoreVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// versionLine is the same for the log.
func versionLine() string {
	return fmt.Sprintf("nodelocaldns %s (commit %s), %s %s, %s", version, commit,
		coremain.CoreName, coremain.CoreVersion, runtime.Version())
}
