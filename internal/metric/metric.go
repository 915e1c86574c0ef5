// SPDX-License-Identifier: Apache-2.0

// Package metric declares the metrics of a plugin.
package metric

import (
	"github.com/coredns/coredns/plugin"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Of is the name of a plugin. The name of a metric is coredns_PLUGIN_NAME. A second metric of the same name is a panic.
type Of string

// Counter declares a counter without labels.
func (p Of) Counter(name, help string) prometheus.Counter {
	return promauto.NewCounter(prometheus.CounterOpts{Namespace: plugin.Namespace, Subsystem: string(p), Name: name, Help: help})
}

// CounterVec declares a counter with labels.
func (p Of) CounterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return promauto.NewCounterVec(prometheus.CounterOpts{Namespace: plugin.Namespace, Subsystem: string(p), Name: name, Help: help}, labels)
}

// Gauge declares a gauge without labels.
func (p Of) Gauge(name, help string) prometheus.Gauge {
	return promauto.NewGauge(prometheus.GaugeOpts{Namespace: plugin.Namespace, Subsystem: string(p), Name: name, Help: help})
}

// GaugeVec declares a gauge with labels.
func (p Of) GaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	return promauto.NewGaugeVec(prometheus.GaugeOpts{Namespace: plugin.Namespace, Subsystem: string(p), Name: name, Help: help}, labels)
}
