// SPDX-License-Identifier: Apache-2.0

package vm

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster/control"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// host is what a machine calls the namespace that its emulator runs in: qemu's user mode network connects it to 127.0.0.1 there. The
// namespace has the address itself, so that the API server has one name inside and outside.
var host = netip.MustParseAddr("10.0.2.2")

// controlPlane is etcd and the API server, in a namespace of their own, with what a cluster has. They run outside of the machine, as
// emulation would be too slow for them.
type controlPlane struct {
	*netns.Namespace
	pki *control.PKI
	dir string // of the programs, by their names
}

//go:embed testdata/cluster.yaml.tmpl
var clusterObjects string

// startControlPlane starts it, and has it accept the objects of testdata and those of the overlays for IPVS mode.
func startControlPlane(t testing.TB) *controlPlane {
	t.Helper()
	c := &controlPlane{Namespace: netns.New(t, "control plane"), dir: t.TempDir()}
	c.Configure(t, "lo", []string{netip.PrefixFrom(host, 32).String()})
	var err error
	if c.pki, err = control.NewPKI(t.TempDir(), host.AsSlice(), nil); err != nil {
		t.Fatalf("making certificates: %v", err)
	}
	c.run(t, "etcd", control.Etcd(t.TempDir())...)
	c.run(t, "kube-apiserver", c.pki.APIServer(host.AsSlice(), "10.96.0.0/16,fd00:96::/112")...)
	objects := harness.WriteFile(t, "cluster.yaml", c.objects(t))
	harness.Until(t, 2*time.Minute, "API server with its namespaces", func() error {
		if out, err := c.kubectl(t, "apply", "-f", objects); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	for _, overlay := range []string{"ipvs", "ipvs/kubelet-clusterdns"} {
		if out, err := c.kubectl(t, "apply", "-k", "../../manifests/overlays/"+overlay); err != nil {
			t.Fatalf("applying the overlay %s: %v\n%s", overlay, err, out)
		}
	}
	return c
}

// program is a component of Kubernetes in the file that has them all: its name says which.
func (c *controlPlane) program(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.Symlink(required(t, "VM_KUBERNETES"), path); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	return path
}

func (c *controlPlane) run(t testing.TB, name string, args ...string) {
	t.Helper()
	process.Start(t, c.Namespace, process.Command{Path: c.program(t, name), Args: args})
}

func (c *controlPlane) kubectl(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return c.Output("", c.program(t, "kubectl"), append([]string{"--kubeconfig", c.pki.Path("admin.kubeconfig")}, args...)...)
}

// objects fills in the lab's addresses.
func (c *controlPlane) objects(t testing.TB) string {
	t.Helper()
	type service struct {
		Name       string
		IPv4, IPv6 netip.Addr
	}
	values := struct {
		Services []service
		Pods     map[string]netip.Addr
	}{
		[]service{{"kube-dns", lab.ClusterIP, lab.ClusterIP6}, {"kube-dns-upstream", lab.UpstreamIP, lab.UpstreamIP6}},
		map[string]netip.Addr{"IPv4": lab.DNSPodIP, "IPv6": lab.DNSPodIP6},
	}
	var b strings.Builder
	text := template.Must(template.New("objects").Funcs(template.FuncMap{"lower": strings.ToLower}).Parse(clusterObjects))
	if err := text.Execute(&b, values); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// node is the job of running tests of e2e on a node of this cluster: kube-proxy, the template and the arguments of the program are
// those of the API server.
func (c *controlPlane) node(t testing.TB, pattern string) Job {
	t.Helper()
	job := node(t, pattern)
	job.Files["/job/kubernetes/kube-proxy"] = required(t, "VM_KUBERNETES")
	job.Files["/job/kubernetes/proxy.kubeconfig"] = c.pki.Path("proxy.kubeconfig")
	var configMap struct{ Data struct{ Corefile string } }
	c.get(t, "configmap", "node-local-dns", &configMap)
	job.Files["/etc/coredns/Corefile.base"] = harness.WriteFile(t, "Corefile.base", configMap.Data.Corefile)
	for _, name := range []string{"node-local-dns", "node-local-dns-kubelet-on", "node-local-dns-kubelet-off"} {
		job.Files["/job/args/"+name] = harness.WriteFile(t, name, strings.Join(c.args(t, name), " "))
	}
	job.Env = append(job.Env, lab.KubeProxyDir+"=/job/kubernetes", "MANIFEST_ARGS=/job/args")
	return job
}

// args is the arguments of the first container of a DaemonSet's pods.
func (c *controlPlane) args(t testing.TB, name string) []string {
	t.Helper()
	type container struct{ Args []string }
	var daemonSet struct {
		Spec struct {
			Template struct {
				Spec struct{ InitContainers, Containers []container }
			}
		}
	}
	c.get(t, "daemonset", name, &daemonSet)
	pod := daemonSet.Spec.Template.Spec
	return append(pod.InitContainers, pod.Containers...)[0].Args
}

// get reads an object of the overlays.
func (c *controlPlane) get(t testing.TB, kind, name string, into any) {
	t.Helper()
	out, err := c.kubectl(t, "-n", "kube-system", "get", kind, name, "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), into)
	}
	if err != nil {
		t.Fatalf("reading %s %s: %v\n%s", kind, name, err, out)
	}
}
