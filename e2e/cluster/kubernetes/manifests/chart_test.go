// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	helmModule = "helm.sh/helm/v3/cmd/helm@v3.18.6"
	release    = "node-local-dns"
	theirs     = "testdata/deliveryhero-2.9.2.yaml"
)

// helm runs helm, outside of any module.
func helm(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", append([]string{"run", helmModule}, args...)...)
	c.Dir = t.TempDir()
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("helm %s: %v\n%s%s", strings.Join(args, " "), err, stderr.String(), out)
	}
	return string(out)
}

func chart(t *testing.T) string { return absolute(t, root+"/../charts/nodelocaldns") }

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// template is helm template, with more flags.
func template(t *testing.T, flags ...string) []runtime.Object {
	t.Helper()
	return decode(t, helm(t, append([]string{"template", release, chart(t), "-n", "kube-system", "--kube-version", "1.37.0"}, flags...)...))
}

func TestChartLint(t *testing.T) {
	if out := helm(t, "lint", "--strict", chart(t)); strings.Contains(out, "[ERROR]") || strings.Contains(out, "[WARNING]") {
		t.Error(out)
	}
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

// TestChartTakesOtherValues renders a values file of the chart that most clusters have, and each group of its keys.
func TestChartTakesOtherValues(t *testing.T) {
	for name, c := range map[string]struct {
		set  []string
		want []string // in the Corefile, the arguments or the pod's template
	}{
		"as it is": {nil, []string{"-localip 169.254.20.25,172.20.0.10", "-upstreamsvc node-local-dns-upstream", "ghcr.io/nodelocaldns/nodelocaldns:dev", "128Mi"}},
		"logging":  {[]string{"config.enableLogging=true"}, []string{"__PILLAR__DNS__DOMAIN__ {\n    log\n", "\n. {\n    log\n"}},
		"no AAAA":  {[]string{"config.noIPv6Lookups=true"}, []string{"template IN AAAA"}},
		"prefetch": {[]string{"config.prefetch.enabled=true"}, []string{"prefetch 3 30s 20%"}},
		"stale":    {[]string{"config.serveStale.enabled=true"}, []string{"serve_stale 1h verify 700ms"}},
		"UDP":      {[]string{"config.commProtocol=prefer_udp"}, []string{"forward . __PILLAR__CLUSTER__DNS__ {\n        prefer_udp\n    }"}},
		"upstream": {[]string{"config.upstreamServers=192.0.2.1", "config.upstreamForwardConfig={force_tcp,expire 20s}", "config.cacheTTL=60"},
			[]string{"forward . 192.0.2.1 {\n        force_tcp\n        expire 20s\n    }", "success __NODELOCALDNS__CACHE__9984__ 60"}},
		"addresses": {[]string{"config.localDns=169.254.20.11", "config.dnsServer=10.96.0.10", "config.dnsDomain=example.org", "config.healthPort=8090"},
			[]string{"-localip 169.254.20.11,10.96.0.10", "-clusterdomain example.org", "-health-port 8090", "__PILLAR__LOCAL__DNS__:8090"}},
		"blocks":    {[]string{"config.extraServerBlocks=example.org {\n}\n"}, []string{"\nexample.org {\n}"}},
		"own":       {[]string{"config.customConfig=. { whoami }"}, []string{". { whoami }"}},
		"switches":  {[]string{"config.setupInterface=false", "config.skipTeardown=true", "config.customUpstreamsvc=mine"}, []string{"-setupinterface=false", "-skipteardown", "-upstreamsvc mine"}},
		"no rules":  {[]string{"config.setupIptables=false"}, []string{"-localip $(POD_IPS)", "-setupiptables=false"}},
		"resources": {[]string{"resources.limits.memory=64Mi", "resources.requests.memory=64Mi", "image.repository=registry.example/dns", "image.tag=1"}, []string{"registry.example/dns:1", "64Mi"}},
	} {
		t.Run(name, func(t *testing.T) {
			flags := []string{"-f", absolute(t, theirs)}
			for _, s := range c.set {
				flags = append(flags, "--set", s)
			}
			objects := template(t, flags...)
			ds := one[*appsv1.DaemonSet](t, objects)
			checkValid(t, &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "other", Namespace: ds.Namespace}, Spec: ds.Spec})
			container := ds.Spec.Template.Spec.Containers[0]
			text := strings.Join([]string{one[*corev1.ConfigMap](t, objects).Data["Corefile"], strings.Join(container.Args, " "), container.Image,
				container.Resources.Limits.Memory().String()}, "\n")
			if name == "as it is" && (strings.Contains(text, "        prefetch ") || strings.Contains(text, "popular name")) {
				t.Errorf("prefetch is off, and the Corefile speaks of it:\n%s", text)
			}
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
			for _, needed := range []corev1.Capability{"NET_BIND_SERVICE"} {
				if !slices.Contains(container.SecurityContext.Capabilities.Add, needed) {
					t.Errorf("capability %s is missing: %v", needed, container.SecurityContext.Capabilities)
				}
			}
		})
	}
}

// TestChartKeepsNames: helm upgrade cannot change what selects the pods of a DaemonSet, and finds objects by their names.
func TestChartKeepsNames(t *testing.T) {
	objects := template(t, "-f", absolute(t, theirs))
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

// TestChartRefuses a key that there is not, and a value that makes no sense.
func TestChartRefuses(t *testing.T) {
	for _, set := range []string{"config.localDNS=169.254.20.10", "mode=nftables", "config.commProtocol=tcp", "config.healthPort=0"} {
		c := exec.CommandContext(t.Context(), "go", "run", helmModule, "template", release, chart(t), "--kube-version", "1.37.0", "--set", set)
		c.Dir = t.TempDir()
		if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "schema") {
			t.Errorf("%s: %v\n%s", set, err, out)
		}
	}
}

// TestComponents builds an overlay with each component.
func TestComponents(t *testing.T) {
	here := absolute(t, root)
	for _, name := range []string{"monitoring", "no-aaaa"} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp(here+"/overlays", "test")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir) //nolint:errcheck // a directory of the test's own
			text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../iptables]\ncomponents: [../../components/" + name + "]\n"
			if err := os.WriteFile(dir+"/kustomization.yaml", []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			objects, plain := build(t, "overlays/"+filepath.Base(dir)), build(t, "overlays/iptables")
			checkObjects(t, objects)
			switch name {
			case "monitoring":
				if more := len(objects) - len(plain); more != 3 {
					t.Errorf("%d objects more", more)
				}
			case "no-aaaa":
				if c := one[*corev1.ConfigMap](t, objects); strings.Count(c.Data["Corefile"], "template IN AAAA . {") != 2 {
					t.Errorf("%s", c.Data["Corefile"])
				}
			}
		})
	}
}
