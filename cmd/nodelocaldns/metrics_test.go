// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

func TestServeMetrics(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	stop, err := serveMetrics(addr)
	if err != nil {
		t.Fatal(err)
	}
	second, err := serveMetrics(addr) // the next instance, beside the first
	if err != nil {
		t.Fatal(err)
	}
	stop()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(body), `coredns_nodecache_setup_errors_total{errortype="configmap"}`, "coredns_nodelocal_config_reloads_total")
	second()
	if _, err := http.Get("http://" + addr + "/metrics"); err == nil {
		t.Error("still served after stop")
	}
}

func TestServeMetricsOff(t *testing.T) {
	stop, err := serveMetrics("")
	if err != nil {
		t.Fatal(err)
	}
	stop()
}

// The reference's listener does not share its address: the metrics come when it goes, and nothing else waits for them.
func TestServeMetricsLater(t *testing.T) {
	defer func(d time.Duration) { metricsRetry = d }(metricsRetry)
	metricsRetry = 5 * time.Millisecond
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := other.Addr().String()
	stop, err := serveMetrics(addr)
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if resp, err := http.Get("http://" + addr + "/metrics"); err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("not served after the other program has gone")
		}
	}
	stop()
}
