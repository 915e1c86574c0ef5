// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// manifests has this Kubernetes check everything that the project ships, each in its own way: a server-side dry run applies
// the schema, the defaults and the validation of the API server.
func manifests(t *testing.T, c *Cluster) {
	c.Kubectl(t, "apply", "-f", "testdata/crds.yaml")
	c.Kubectl(t, "wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
	for _, pattern := range []string{"overlays/*", "overlays/*/*", "cleanup", "base"} {
		dirs, err := filepath.Glob(filepath.Join(manifest(t, ""), pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			if _, err := os.Stat(filepath.Join(dir, "kustomization.yaml")); err != nil {
				continue
			}
			yaml := c.Kubectl(t, "kustomize", dir)
			c.dryRun(t, dir, yaml)
		}
	}
	examples, err := filepath.Glob(filepath.Join(manifest(t, "examples"), "*.yaml"))
	if err != nil || len(examples) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range examples {
		c.dryRun(t, file, readFile(t, file))
	}
	c.dryRun(t, "render manifests", c.Render(t))
}

func (c *Cluster) dryRun(t *testing.T, what, yaml string) {
	t.Helper()
	if !strings.Contains(yaml, "kind:") {
		t.Errorf("%s: nothing in it", what)
	}
	if out, err := c.TryKubectl(yaml, "apply", "--dry-run=server", "--validate=strict", "-f", "-"); err != nil {
		t.Errorf("%s: %v\n%s", what, err, out)
	}
}
