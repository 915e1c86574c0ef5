// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// allowed is what each container may have more than nothing, by the name of its object and its own.
var allowed = map[string][]corev1.Capability{
	"node-local-dns/node-cache":      {"NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"},
	"node-local-dns-cleanup/cleanup": {"NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"},
	"coredns/coredns":                {"NET_BIND_SERVICE"},
}

// checkSecurity finds privileges that nobody needs.
func checkSecurity(t *testing.T, name string, pod corev1.PodSpec) {
	t.Helper()
	if pod.HostPID || pod.HostIPC {
		t.Errorf("%s: a namespace of the host besides the network", name)
	}
	if p := pod.SecurityContext; p == nil || p.SeccompProfile == nil || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%s: no seccomp profile", name)
	}
	if name != "coredns" && (pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken) {
		t.Errorf("%s: a token is mounted", name)
	}
	if pod.PriorityClassName != "system-node-critical" && name != "coredns" {
		t.Errorf("%s: priority %s", name, pod.PriorityClassName)
	}
	all := slices.Concat(pod.InitContainers, pod.Containers)
	if name == "node-local-dns" {
		checkProbes(t, all[0])
		if len(pod.Tolerations) != 1 || pod.Tolerations[0] != (corev1.Toleration{Operator: corev1.TolerationOpExists}) {
			t.Error("it does not tolerate everything")
		}
	}
	for _, c := range all {
		checkContainer(t, name+"/"+c.Name, c)
	}
}

func checkContainer(t *testing.T, name string, c corev1.Container) {
	t.Helper()
	s := c.SecurityContext
	if s == nil || s.Capabilities == nil {
		t.Errorf("%s: no security context", name)
		return
	}
	is := func(b *bool, want bool) bool { return b != nil && *b == want }
	if !is(s.AllowPrivilegeEscalation, false) || !is(s.ReadOnlyRootFilesystem, true) || is(s.Privileged, true) {
		t.Errorf("%s: %+v", name, s)
	}
	if !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("%s: keeps capabilities", name)
	}
	for _, a := range s.Capabilities.Add {
		if !slices.Contains(allowed[name], a) {
			t.Errorf("%s: capability %s", name, a)
		}
	}
	if c.ImagePullPolicy != corev1.PullIfNotPresent {
		t.Errorf("%s: pull policy %s", name, c.ImagePullPolicy)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
		t.Errorf("%s: no requests", name)
	}
	if !c.Resources.Limits.Cpu().IsZero() {
		t.Errorf("%s: a limit of CPU", name)
	}
}

func checkProbes(t *testing.T, c corev1.Container) {
	t.Helper()
	for path, p := range map[string]*corev1.Probe{"/health": c.LivenessProbe, "/ready": c.ReadinessProbe} {
		if p == nil || p.HTTPGet == nil || p.HTTPGet.Path != path {
			t.Errorf("%s is not probed", path)
		}
	}
}
