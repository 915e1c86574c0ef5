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

// fewest is the number of tests that have to pass without the cache: with fewer, the comparison says little.
const fewest = 30

// runSuite runs the suite once, beside something else if disturb is not nil. disturb gets a channel that is closed when the
// suite has ended, and returns how often it did something.
func runSuite(t *testing.T, c *cluster.Cluster, name string, disturb func(*testing.T, <-chan struct{}) int) Results {
	t.Helper()
	dir := filepath.Join(os.Getenv("CONFORMANCE_RESULTS"), c.Mode.String(), name)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	begin, over, disturbed := time.Now(), make(chan struct{}), make(chan int, 1)
	go func() {
		if disturb == nil {
			disturbed <- 0
			return
		}
		disturbed <- disturb(t, over)
	}()
	out, err := c.Tool(cluster.Binary("ginkgo"), arguments(dir)...)
	close(over)
	times := <-disturbed
	if e := os.WriteFile(filepath.Join(dir, "log"), []byte(out), 0o644); e != nil {
		t.Fatalf("%v, and the suite: %v\n%s", e, err, out)
	}
	results, e := ReadResults(filepath.Join(dir, "junit_01.xml"))
	if e != nil {
		t.Fatalf("%v, and the suite: %v\n%s", e, err, out)
	}
	t.Logf("%s: %d tests in %s, %v; disturbed %d times", name, len(results), time.Since(begin).Round(time.Second), results.count(), times)
	if disturb != nil && times < 2 {
		t.Errorf("%s: disturbed %d times, which is no disturbance", name, times)
	}
	return results
}

// arguments are those of ginkgo, which runs several processes of the suite: its tests wait most of the time. Tests that the
// suite declares serial run alone, after the others.
func arguments(dir string) []string {
	args := []string{
		"--procs=4", "--no-color", "--timeout=60m",
		"--focus=" + regexp.QuoteMeta("[sig-network] ") + "(" + strings.Join(chosen, "|") + ")",
	}
	for _, o := range omitted {
		args = append(args, "--skip="+o)
	}
	return append(args, cluster.Binary("conformance.test"), "--",
		"-kubectl-path="+cluster.Binary("kubectl"), "-provider=skeleton", "-report-dir="+dir)
}
