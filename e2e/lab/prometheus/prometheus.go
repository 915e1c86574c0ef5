// SPDX-License-Identifier: Apache-2.0

// Package prometheus runs a Prometheus server of Debian's package prometheus in a network namespace, and asks it.
package prometheus

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// Interval is the time between two scrapes, and between two evaluations of the rules.
const Interval = time.Second

// address is where a server listens. The loopback of the namespace is no other program's.
const address = "127.0.0.1:9090"

// Server is a running Prometheus.
type Server struct {
	*process.Process
	from  *netns.Namespace
	start time.Time
}

// Series is what a query returns for one set of labels.
type Series struct {
	Labels map[string]string
	Points []Point
}

// Point is a value at a time.
type Point struct {
	Time  time.Time
	Value float64
}

// Start runs a server in the namespace that scrapes a target there, HOST:PORT, as the one node of the job node-local-dns. rules is
// a file of rules, "" for none. The server ends with the test, which is skipped where the package prometheus is not installed, or
// fails with NODELOCALDNS_E2E=required.
func Start(t testing.TB, n *netns.Namespace, target, rules string) *Server {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("NODELOCALDNS_E2E") == "required" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	config := fmt.Sprintf(`global: {scrape_interval: %[1]s, scrape_timeout: %[1]s, evaluation_interval: %[1]s}
scrape_configs:
- job_name: node-local-dns
  static_configs: [{targets: [%[2]q], labels: {node: node1}}]
`, Interval, target)
	if rules != "" {
		config += fmt.Sprintf("rule_files: [%q]\n", harness.WriteFile(t, "rules.yaml", rules))
	}
	s := &Server{from: n}
	s.Process = process.Start(t, n, process.Command{Path: path, Args: []string{
		"--config.file", harness.WriteFile(t, "prometheus.yaml", config), "--storage.tsdb.path", harness.Dir(t), "--web.listen-address", address,
	}})
	s.Until(t, "up == 1")
	s.start = time.Now()
	return s
}

// Until waits until the query returns something, for a minute at most.
func (s *Server) Until(t testing.TB, query string) {
	t.Helper()
	harness.Until(t, time.Minute, "answer of Prometheus to "+query, func() error {
		found, err := s.try(query, time.Now())
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("empty")
		}
		return err
	})
}

// Query evaluates a query at a moment. Series whose value is not a number are left out.
func (s *Server) Query(t testing.TB, query string, at time.Time) []Series {
	t.Helper()
	var found []Series
	harness.Until(t, 10*time.Second, "answer of Prometheus", func() (err error) {
		found, err = s.try(query, at)
		return err
	})
	return found
}

// Value is the value of a query that returns one series.
func (s *Server) Value(t testing.TB, query string, at time.Time) float64 {
	t.Helper()
	found := s.Query(t, query, at)
	if len(found) != 1 {
		t.Fatalf("%s: %d series", query, len(found))
	}
	return found[0].Points[0].Value
}

// Since is when the server began to scrape.
func (s *Server) Since() time.Time { return s.start }

// Range evaluates a query each Interval from the first scrape until the time given.
func (s *Server) Range(t testing.TB, query string, end time.Time) []Series {
	t.Helper()
	found, err := s.ask("query_range", url.Values{
		"query": {query}, "start": {seconds(s.start)}, "end": {seconds(end)}, "step": {Interval.String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func (s *Server) try(query string, at time.Time) ([]Series, error) {
	return s.ask("query", url.Values{"query": {query}, "time": {seconds(at)}})
}

// reply is the part of Prometheus's answer that is read here. A value is a time in seconds and a number as text.
type reply struct {
	Data struct {
		Result []struct {
			Metric map[string]string
			Value  *[2]any
			Values [][2]any
		}
	}
}

func (s *Server) ask(what string, query url.Values) (found []Series, err error) {
	page, err := s.from.Get("http://" + address + "/api/v1/" + what + "?" + query.Encode())
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus for %s: %w", query.Get("query"), err)
	}
	var r reply
	if err := json.Unmarshal([]byte(page), &r); err != nil {
		return nil, fmt.Errorf("reading Prometheus's answer to %s: %w", query.Get("query"), err)
	}
	for _, one := range r.Data.Result {
		if one.Value != nil {
			one.Values = append(one.Values, *one.Value)
		}
		series := Series{Labels: one.Metric}
		for _, v := range one.Values {
			if number, err := strconv.ParseFloat(v[1].(string), 64); err == nil && !math.IsNaN(number) {
				series.Points = append(series.Points, Point{time.UnixMilli(int64(v[0].(float64) * 1000)), number})
			}
		}
		if len(series.Points) > 0 {
			found = append(found, series)
		}
	}
	return found, nil
}

func seconds(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
