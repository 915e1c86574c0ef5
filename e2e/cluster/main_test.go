// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"testing"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
