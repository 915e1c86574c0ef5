// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/coredns/caddy"
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
	logs := captureLogs(t)
	stop, err := serveMetrics(addr)
	if err != nil {
		t.Fatal(err)
	}
	contains(t, logs.take(), "[WARNING] plugin/nodelocal: Metrics of -metrics-listen-address are not served, and tried again each 5ms: listen tcp "+addr+
		": bind: address already in use; tcp "+addr+" is held by pid ")
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

// TestPluginMetrics: an address of prometheus at which nobody of this process listens is served as soon as it is free, over a reload
// with the address, and not over one without it.
func TestPluginMetrics(t *testing.T) {
	defer func(d time.Duration) { metricsRetry = d }(metricsRetry)
	metricsRetry = 5 * time.Millisecond
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := other.Addr().String()
	logs := captureLogs(t)
	var p pluginMetrics
	with := caddy.CaddyfileInput{Contents: []byte(".:0 {\n prometheus " + addr + "\n}\n"), ServerTypeName: "dns"}
	served := func() bool {
		resp, err := http.Get("http://" + addr + "/metrics")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	}
	p.follow(with) // somebody of this process listens: it might be the plugin
	if len(p.served) != 0 {
		t.Error("served beside the plugin")
	}
	other.Close()
	p.follow(with)
	eventually(t, "metrics", served)
	p.follow(with)
	if !served() {
		t.Error("not served after a reload")
	}
	p.follow(caddy.CaddyfileInput{Contents: []byte(".:0 {\n whoami\n}\n"), ServerTypeName: "dns"})
	if served() {
		t.Error("served after a reload without prometheus")
	}
	contains(t, logs.take(), "Metrics of the directive prometheus are served at "+addr)
}

func TestPrometheusAddrs(t *testing.T) {
	t.Setenv("METRICS", ":9253")
	text := `one {
    prometheus {$METRICS}
}
two {
    prometheus :9253
}
three {
    prometheus
}
four {
    prometheus 192.0.2.1:9443 {
        runtime_metrics
        tls web.yaml
    }
}
five {
    prometheus 192.0.2.1:9254 {
        runtime_metrics
    }
}
six {
    whoami
}
`
	got := prometheusAddrs(caddy.CaddyfileInput{Contents: []byte(text), Filepath: "Corefile", ServerTypeName: "dns"})
	if want := []string{":9253", "localhost:9153", "192.0.2.1:9254"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
