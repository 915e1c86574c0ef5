// SPDX-License-Identifier: Apache-2.0

// Package e2e proves the promises that README.md numbers, on a node made of network namespaces. Each file is one story.
package e2e

import (
	"testing"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
