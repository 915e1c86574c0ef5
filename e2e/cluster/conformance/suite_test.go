// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster"
)

// chosen is the tests that are run: all of DNS, and those of Services in which a pod asks for a Service's name.
var chosen = []string{
	"DNS ",
	"Services should be able to (change the type|create a functioning NodePort|update service type)",
	"Services should be possible to connect to a service via ExternalIP",
	"Services should be updated after adding or deleting ports",
	"Services should allow pods to hairpin back",
	"Services should create endpoints for unready pods",
	"Services should serve (a basic endpoint|multiport endpoints) from pods",
	"Services should support named targetPorts",
}

// omitted is the tests of chosen that are not run. docs/conformance.md says why.
var omitted = []string{`\[Provider:gce\]`}

// stubDomain is a test that changes what the cluster DNS says of names outside of the cluster. By default the cache asks the
// node's resolvers for them. So the test is run with a template that names the cluster DNS.
const stubDomain = "DNS configMap nameserver Change stubDomain"

// suite says which tests are run, and beside what.
type suite struct {
	run     string
	focus   []string
	skip    []string
	disturb func(*testing.T, *cluster.Cluster, <-chan struct{}) int // if set, it says how often it did something until the end
}

// fewest is the number of tests that have to pass without the cache: with fewer, the comparison says little.
const fewest = 30

// tell runs the suite once.
func (s suite) tell(t *testing.T, c *cluster.Cluster) Results {
	t.Helper()
	dir := filepath.Join(os.Getenv("CONFORMANCE_RESULTS"), c.Mode.String(), s.run)
	begin, over, disturbed := time.Now(), make(chan struct{}), make(chan int, 1)
	if s.disturb != nil {
		go func() { disturbed <- s.disturb(t, c, over) }()
	}
	out, err := c.Tool(cluster.Binary("ginkgo"), s.arguments(dir)...)
	close(over)
	if s.disturb != nil {
		times := <-disturbed
		t.Logf("%s: %d times", s.run, times)
		if times < 2 {
			t.Errorf("%s: %d times is no disturbance", s.run, times)
		}
	}
	results, e := ReadResults(filepath.Join(dir, "junit_01.xml"))
	if e != nil {
		t.Fatalf("%v, and the suite: %v\n%s", e, err, out)
	}
	t.Logf("%s: %d tests in %s: %v", s.run, len(results), time.Since(begin).Round(time.Second), results.count())
	if err := os.WriteFile(filepath.Join(dir, "log"), []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
	return results
}

// arguments are those of ginkgo, which runs several processes of the suite: its tests wait most of the time. Tests that the
// suite declares serial run alone, after the others.
func (s suite) arguments(dir string) []string {
	args := []string{"--procs=4", "--no-color", "--timeout=60m",
		"--focus=" + regexp.QuoteMeta("[sig-network] ") + "(" + strings.Join(s.focus, "|") + ")"}
	for _, pattern := range s.skip {
		args = append(args, "--skip="+pattern)
	}
	return append(args, cluster.Binary("conformance.test"), "--",
		"-kubectl-path="+cluster.Binary("kubectl"), "-provider=skeleton", "-report-dir="+dir)
}
