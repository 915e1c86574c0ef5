// SPDX-License-Identifier: Apache-2.0

// Package lab is a Kubernetes node's network in network namespaces: a node, a pod, the pod of the cluster DNS and the world
// outside, with kube-proxy's rules for the DNS Services on the node. Everything belongs to the test process and ends with it.
// The machine's own network is never touched. The packages below lab are its parts: upstream answers queries, client asks them,
// process runs programs, netns has the namespaces, harness is between a test and the machine.
package lab
