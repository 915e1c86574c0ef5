// SPDX-License-Identifier: Apache-2.0

package suggest

import "testing"

func TestClosest(t *testing.T) {
	names := []string{"cache", "errors", "forward", "health", "kubernetes-like", "log", "loop", "ready"}
	for word, want := range map[string]string{
		"forwrad": "forward", "forward": "forward", "foward": "forward", "chache": "cache", "log": "log",
		"lgo": "log", "x": "", "kubernets": "", "error": "errors", "helth": "health",
	} {
		if got := closest(word, names); got != want {
			t.Errorf("closest(%q) = %q, want %q", word, got, want)
		}
	}
}
