// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func TestChartLint(t *testing.T) {
	if out := helm(t, "lint", "--strict", chart(t)); strings.Contains(out, "[ERROR]") || strings.Contains(out, "[WARNING]") {
		t.Error(out)
	}
}

// helmDocs writes a chart's README from README.md.gotmpl and the comments of values.yaml.
const helmDocs = "github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2"

// TestChartREADME compares the chart's README with what helm-docs makes, and finds values that it does not describe.
func TestChartREADME(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(chart(t))); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "go", "run", helmDocs, "--chart-search-root", dir)
	c.Dir = dir // outside of any module
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("helm-docs: %v\n%s", err, out)
	}
	want, got := read(t, dir+"/README.md"), read(t, chart(t)+"/README.md")
	switch {
	case *update:
		if err := os.WriteFile(chart(t)+"/README.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	case got != want:
		t.Error("charts/nodelocaldns/README.md is not what its template and values.yaml say: run go test ./manifests -run TestChartREADME -update")
	}
	for line := range strings.Lines(want) {
		if strings.HasSuffix(strings.TrimSpace(line), "|  |") {
			t.Errorf("values.yaml does not describe this key: %s", line)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestChartIsTheManifests compares what the chart renders with what kustomize builds. The labels of Helm, which select the pods, and
// the name of the upstream Service are all that differs.
func TestChartIsTheManifests(t *testing.T) {
	for overlay, flags := range map[string][]string{
		"overlays/iptables": nil,
		"overlays/ipvs":     {"--set", "mode=ipvs"},
		"overlays/cilium":   {"--set", "config.setupIptables=false"},
	} {
		t.Run(overlay, func(t *testing.T) {
			fromChart, fromKustomize := template(t, flags...), build(t, overlay)
			checkObjects(t, fromChart)
			if len(fromChart) != len(fromKustomize) {
				t.Errorf("%d objects of the chart, %d of kustomize", len(fromChart), len(fromKustomize))
			}
			for _, objects := range [][]runtime.Object{fromChart, fromKustomize} {
				for _, o := range objects {
					neutral(o)
				}
			}
			for _, o := range fromChart {
				if !slices.ContainsFunc(fromKustomize, func(k runtime.Object) bool { return reflect.DeepEqual(o, k) }) {
					t.Errorf("kustomize makes no such %T:\n%+v", o, o)
				}
			}
		})
	}
}

// neutral takes from an object what the chart and kustomize name differently.
func neutral(o runtime.Object) {
	const upstream, kubeDNSUpstream = release + "-upstream", "kube-dns-upstream"
	if m, ok := o.(metav1.Object); ok {
		m.SetLabels(nil)
		if m.GetName() == upstream {
			m.SetName(kubeDNSUpstream)
		}
	}
	switch o := o.(type) {
	case *corev1.Service:
		if o.Name == release {
			o.Spec.Selector = nil
		}
	case *appsv1.DaemonSet:
		o.Spec.Selector, o.Spec.Template.Labels = nil, nil
		for i, arg := range o.Spec.Template.Spec.Containers[0].Args {
			if arg == upstream {
				o.Spec.Template.Spec.Containers[0].Args[i] = kubeDNSUpstream
			}
		}
	case *localRedirectPolicy:
		o.Spec.RedirectBackend.LocalEndpointSelector = metav1.LabelSelector{}
	}
}

// TestChartKeepsNames: helm upgrade cannot change what selects the pods of a DaemonSet, and finds objects by their names.
func TestChartKeepsNames(t *testing.T) {
	objects := template(t, "-f", absolute(t, theirs+"/values.yaml"))
	ds := one[*appsv1.DaemonSet](t, objects)
	want := map[string]string{"app.kubernetes.io/name": release, "app.kubernetes.io/instance": release}
	if !reflect.DeepEqual(ds.Spec.Selector.MatchLabels, want) || ds.Name != release {
		t.Errorf("DaemonSet %s selects %v", ds.Name, ds.Spec.Selector.MatchLabels)
	}
	var names []string
	for _, o := range objects {
		names = append(names, o.GetObjectKind().GroupVersionKind().Kind+"/"+o.(metav1.Object).GetName())
	}
	slices.Sort(names)
	if want := []string{"ConfigMap/" + release, "DaemonSet/" + release, "Service/" + release, "Service/" + release + "-upstream", "ServiceAccount/" + release}; !slices.Equal(names, want) {
		t.Errorf("objects %q, want %q", names, want)
	}
}

// TestChartRefuses a key that there is not, and a value that makes no sense, with the name of the key.
func TestChartRefuses(t *testing.T) {
	for set, want := range map[string]string{
		"config.localDNS=169.254.20.10":      "at '/config': additional properties 'localDNS' not allowed",
		"tolerance=1":                        "additional properties 'tolerance' not allowed",
		"serviceMonitor.enable=true":         "at '/serviceMonitor': additional properties 'enable' not allowed",
		"config.serveStale.time=1h":          "at '/config/serveStale': additional properties 'time' not allowed",
		"mode=nftables":                      "at '/mode': value must be one of '', 'iptables', 'ipvs', 'auto', 'cilium'",
		"config.commProtocol=tcp":            "at '/config/commProtocol': value must be one of 'force_tcp', 'prefer_udp'",
		"config.kernelHits=true,mode=cilium": "config.kernelHits: not with mode cilium",
		"config.healthPort=0":                "at '/config/healthPort': minimum: got 0, want 1",
		"config.cacheTTL=30s":                "at '/config/cacheTTL': got string, want null or integer",
		"config.enableLogging=maybe":         "at '/config/enableLogging': got string, want boolean",
		"config.upstreamForwardConfig.a=b":   "at '/config/upstreamForwardConfig': maxProperties: got 1, want 0",
	} {
		_, err := tryHelm(t, "template", release, chart(t), "--kube-version", "1.37.0", "--set", set)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want %q, got %v", set, want, err)
		}
	}
}

// TestComponents builds an overlay with each component.
func TestComponents(t *testing.T) {
	for _, name := range []string{"kernel-hits", "monitoring", "no-aaaa"} {
		t.Run(name, func(t *testing.T) {
			objects, plain := decode(t, withComponent(t, name)), build(t, "overlays/iptables")
			switch name {
			case "kernel-hits":
				checkKernelHits(t, objects)
			case "monitoring":
				if more := len(objects) - len(plain); more != 3 {
					t.Errorf("%d objects more", more)
				}
			case "no-aaaa":
				if c := one[*corev1.ConfigMap](t, objects); strings.Count(c.Data["Corefile"], "template IN AAAA . {") != 2 {
					t.Errorf("%s", c.Data["Corefile"])
				}
			}
			checkObjects(t, objects)
		})
	}
}

// checkKernelHits checks the template and the capability, and takes away the capability, which no other component has.
func checkKernelHits(t *testing.T, objects []runtime.Object) {
	t.Helper()
	if c := one[*corev1.ConfigMap](t, objects); strings.Count(c.Data["Corefile"], "packetcache {\n        kernel\n") != 4 {
		t.Errorf("%s", c.Data["Corefile"])
	}
	own := one[*appsv1.DaemonSet](t, objects).Spec.Template.Spec.Containers[0].SecurityContext.Capabilities
	if !slices.Contains(own.Add, "BPF") {
		t.Errorf("capabilities %q", own.Add)
	}
	own.Add = slices.DeleteFunc(own.Add, func(c corev1.Capability) bool { return c == "BPF" })
}

// withComponent builds the overlay iptables with a component. Kustomize takes relative paths alone, so it sees a copy of the manifests.
func withComponent(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(root)); err != nil {
		t.Fatal(err)
	}
	overlay := dir + "/overlays/with-component"
	if err := os.Mkdir(overlay, 0o755); err != nil {
		t.Fatal(err)
	}
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../iptables]\ncomponents: [../../components/" + name + "]\n"
	if err := os.WriteFile(overlay+"/kustomization.yaml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return kustomize(t, overlay)
}
