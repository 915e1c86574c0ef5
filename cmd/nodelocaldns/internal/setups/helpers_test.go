// SPDX-License-Identifier: Apache-2.0

package setups

import (
	"os"
	"path/filepath"
	"testing"
)

// writeFile writes a file and returns its path.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "imported")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
