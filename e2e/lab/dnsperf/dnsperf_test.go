// SPDX-License-Identifier: Apache-2.0

package dnsperf

import (
	"reflect"
	"testing"
	"time"
)

// page is what dnsperf 2.10 prints.
const page = `DNS Performance Testing Tool
Version 2.10.0

> NOERROR svc1.dnstest.svc.cluster.local A 0.000123
> T svc2.dnstest.svc.cluster.local A
> NXDOMAIN svc1 A 1.000002
[Status] Testing complete (time limit)

Statistics:

  Queries sent:         18431
  Queries completed:    18425 (99.97%)
  Queries lost:         6 (0.03%)

  Response codes:       NOERROR 18420 (99.97%), NXDOMAIN 5 (0.03%)
  Average packet size:  request 53, response 69
  Run time (s):         1.000000
  Queries per second:   18422.899789

  Average Latency (s):  0.005424 (min 0.000080, max 0.049311)
  Latency StdDev (s):   0.002311
`

func TestParse(t *testing.T) {
	want := Result{
		Sent: 18431, Answered: 18425, Lost: 6, Rate: 18422.899789, Mean: 5424 * time.Microsecond,
		Codes:     map[string]int{"NOERROR": 18420, "NXDOMAIN": 5},
		Latencies: []time.Duration{123 * time.Microsecond, time.Second + 2*time.Microsecond},
	}
	if got, err := parse(page); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestParseNothing(t *testing.T) {
	for _, page := range []string{"", "Error: unable to open input file", "Statistics:\n  Queries sent: 1\n"} {
		if got, err := parse(page); err == nil {
			t.Errorf("%q: %+v", page, got)
		}
	}
}
