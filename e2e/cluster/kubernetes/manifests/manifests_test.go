// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install" // for the defaults
	"k8s.io/kubernetes/pkg/apis/apps/validation"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
)

// usual is what sed and the cache make of the single file in the cluster for which the overlays are written.
var usual = strings.NewReplacer(
	"__PILLAR__LOCAL__DNS__,__PILLAR__DNS__SERVER__", "169.254.20.10,$(KUBE_DNS_SERVICE_HOST)",
	"bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__", "bind __PILLAR__LOCAL__DNS__",
	"- __PILLAR__DNS__DOMAIN__", "- cluster.local",
	`"__PILLAR__LOCAL__DNS__"`, `"169.254.20.10"`,
)

// TestKustomizations builds every kustomization, and looks at what comes out as the API server would.
func TestKustomizations(t *testing.T) {
	dirs := find(t, "kustomization.yaml")
	for _, dir := range []string{"base", "cleanup", "overlays/cilium", "overlays/cluster-dns", "overlays/dual-stack",
		"overlays/iptables", "overlays/ipvs", "overlays/ipvs/kubelet-clusterdns"} {
		if !slices.Contains(dirs, dir) {
			t.Errorf("no %s", dir)
		}
	}
	for _, dir := range dirs {
		t.Run(dir, func(t *testing.T) { checkObjects(t, build(t, dir)) })
	}
}

func checkObjects(t *testing.T, objects []runtime.Object) {
	t.Helper()
	for _, ds := range of[*appsv1.DaemonSet](objects) {
		checkValid(t, ds)
		checkSecurity(t, ds.Name, ds.Spec.Template.Spec)
	}
	for _, ds := range of[*appsv1.Deployment](objects) {
		checkSecurity(t, ds.Name, ds.Spec.Template.Spec)
	}
}

// TestSingleFile compares the single file with the overlay for the same mode.
func TestSingleFile(t *testing.T) {
	single, overlay := file(t, "nodelocaldns.yaml", usual), build(t, "overlays/iptables")
	checkObjects(t, single)
	if len(single) != len(overlay) {
		t.Fatalf("%d objects, the overlay has %d", len(single), len(overlay))
	}
	for i := range single {
		if !slices.ContainsFunc(overlay, func(o runtime.Object) bool { return reflect.DeepEqual(o, single[i]) }) {
			t.Errorf("the overlay has no such %T: %+v", single[i], single[i])
		}
	}
}

// TestExamples decodes the examples strictly.
func TestExamples(t *testing.T) {
	none := strings.NewReplacer()
	one[*networkingv1.NetworkPolicy](t, file(t, "examples/networkpolicy.yaml", none))
	monitor := one[*serviceMonitor](t, file(t, "components/monitoring/servicemonitor.yaml", none))
	var service *corev1.Service
	for _, s := range of[*corev1.Service](build(t, "common")) {
		if s.Name == "node-local-dns" {
			service = s
		}
	}
	for _, e := range monitor.Spec.Endpoints {
		if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == e.Port }) {
			t.Errorf("the Service has no port %s", e.Port)
		}
	}
	for k, v := range monitor.Spec.Selector.MatchLabels {
		if service.Labels[k] != v {
			t.Errorf("the Service has no label %s=%s", k, v)
		}
	}
}

// TestCiliumPolicy checks what Cilium requires of a policy and its pods.
func TestCiliumPolicy(t *testing.T) {
	objects := build(t, "overlays/cilium")
	policy, ds := one[*localRedirectPolicy](t, objects), one[*appsv1.DaemonSet](t, objects)
	pod := ds.Spec.Template
	if policy.Namespace != ds.Namespace || pod.Spec.HostNetwork {
		t.Error("policy and pods are in different namespaces, or the pods on the host's network")
	}
	for k, v := range policy.Spec.RedirectBackend.LocalEndpointSelector.MatchLabels {
		if pod.Labels[k] != v {
			t.Errorf("the pod has no label %s=%s", k, v)
		}
	}
	for _, p := range policy.Spec.RedirectBackend.ToPorts {
		if !slices.ContainsFunc(pod.Spec.Containers[0].Ports, func(c corev1.ContainerPort) bool {
			return c.Name == p.Name && string(c.Protocol) == p.Protocol && c.ContainerPort == 53 && p.Port == "53"
		}) {
			t.Errorf("the pod has no port %s", p.Name)
		}
	}
}

// checkValid applies the API server's defaults and validation.
func checkValid(t *testing.T, ds *appsv1.DaemonSet) {
	t.Helper()
	ds = ds.DeepCopy()
	legacyscheme.Scheme.Default(ds)
	var internal apps.DaemonSet
	if err := legacyscheme.Scheme.Convert(ds, &internal, nil); err != nil {
		t.Fatal(err)
	}
	for _, err := range validation.ValidateDaemonSet(&internal, corevalidation.PodValidationOptions{}) {
		t.Errorf("DaemonSet %s: %v", ds.Name, err)
	}
	checkSurge(t, ds)
}

// checkSurge finds what would keep a second pod from a node where the first still is.
func checkSurge(t *testing.T, ds *appsv1.DaemonSet) {
	t.Helper()
	if ds.Name != "node-local-dns" {
		return
	}
	update := ds.Spec.UpdateStrategy.RollingUpdate
	if update.MaxSurge.String() == "0" || update.MaxUnavailable.String() != "0" {
		t.Errorf("maxSurge %s, maxUnavailable %s", update.MaxSurge, update.MaxUnavailable)
	}
	for _, c := range ds.Spec.Template.Spec.Containers {
		for _, p := range c.Ports {
			if p.HostPort != 0 || ds.Spec.Template.Spec.HostNetwork { // there it is the default, which each pod gets
				t.Errorf("container %s reserves the host's port %d", c.Name, p.ContainerPort)
			}
		}
	}
}
