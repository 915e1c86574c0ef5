// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sedLines are those of https://kubernetes.io/docs/tasks/administer-cluster/nodelocaldns/, for kube-proxy in iptables
// mode and in IPVS mode.
var sedLines = map[string]string{
	"iptables": `sed -i "s/__PILLAR__LOCAL__DNS__/$localdns/g; s/__PILLAR__DNS__DOMAIN__/$domain/g; s/__PILLAR__DNS__SERVER__/$kubedns/g" nodelocaldns.yaml`,
	"ipvs": `sed -i "s/__PILLAR__LOCAL__DNS__/$localdns/g; s/__PILLAR__DNS__DOMAIN__/$domain/g; s/,__PILLAR__DNS__SERVER__//g; ` +
		`s/__PILLAR__CLUSTER__DNS__/$kubedns/g" nodelocaldns.yaml`,
}

// TestSedLines does to the single file what users do, and runs what its DaemonSet would: the arguments and the
// template of the ConfigMap must make a Corefile that is whole.
func TestSedLines(t *testing.T) {
	for mode, line := range sedLines {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			path := writeFile(t, dir, "nodelocaldns.yaml", readString(t, "../../manifests/nodelocaldns.yaml"))
			cmd := exec.Command("bash", "-c", line)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "localdns=169.254.20.10", "domain=example.org", "kubedns=10.96.0.10")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			corefile := renderPod(t, readString(t, path), "KUBE_DNS_UPSTREAM_SERVICE_HOST=10.96.0.11")
			ips, upstream := "169.254.20.10 10.96.0.10", "10.96.0.11"
			if mode == "ipvs" {
				ips, upstream = "169.254.20.10", "10.96.0.10"
			}
			wantCorefile(t, corefile, ips, "10.96.0.11", upstream, "example.org")
		})
	}
}

// wantCorefile checks what the manifest decides in a rendered Corefile.
func wantCorefile(t *testing.T, corefile, ips, fallback, upstream, domain string) {
	t.Helper()
	first, _, _ := strings.Cut(ips, " ")
	contains(t, corefile, domain+" {\n", "    nodelocal "+ips+" {\n        fallback "+fallback+"\n    }\n", "hedge . "+upstream+" {",
		"health "+first+":8080\n", "ready "+first+":8181 {")
	// Of a variable that stands for nothing a space is left.
	bound := strings.Count(strings.ReplaceAll(corefile, " \n", "\n"), "\n    bind "+ips+"\n")
	if blocks := strings.Count(corefile, "\n    bind "); bound != 4 || blocks != 4 {
		t.Errorf("%d of %d blocks are bound to %s:\n%s", bound, blocks, ips, corefile)
	}
	if strings.Contains(corefile, "__") {
		t.Errorf("a variable is left:\n%s", corefile)
	}
}

// renderPod renders the Corefile that the DaemonSet of a manifest runs.
func renderPod(t *testing.T, manifest string, env ...string) string {
	t.Helper()
	template := writeFile(t, t.TempDir(), "Corefile.base", block(manifest, "  Corefile: |\n", "    "))
	var args []string
	for line := range strings.Lines(block(manifest, "        args:\n", "        - ")) {
		args = append(args, strings.Trim(strings.TrimSpace(line), `"`))
	}
	cmd := program(t, append(append([]string{"render"}, args...), "-basecorefile", template)...)
	cmd.Env = append(cmd.Env, env...)
	stdout, stderr, code := result(t, cmd)
	if code != 0 || stderr != "" {
		t.Fatalf("%q: exit code %d: %s", args, code, stderr)
	}
	return stdout
}

// block returns the lines after head that begin with prefix, or are empty, without it.
func block(text, head, prefix string) string {
	_, rest, _ := strings.Cut(text, head)
	var b strings.Builder
	for line := range strings.Lines(rest) {
		content, ok := strings.CutPrefix(line, prefix)
		if !ok && line != "\n" {
			break
		}
		b.WriteString(content)
	}
	return b.String()
}

func TestRenderManifestsOffline(t *testing.T) {
	tests := []struct {
		args     string
		ips      string
		fallback string
	}{
		{"-mode iptables -dnsserver 10.96.0.10", "169.254.20.10 10.96.0.10", "10.96.0.11"},
		{"--mode nftables --dnsserver 10.96.0.10,fd00:10:96::a", "169.254.20.10 10.96.0.10 fd00:10:96::a", "10.96.0.11"},
		{"-mode iptables -dnsserver fd00:10:96::a,10.96.0.10 -localip fd00::20:10,169.254.20.10", "fd00::20:10 169.254.20.10 fd00:10:96::a 10.96.0.10",
			"fd00:10:96::a 10.96.0.10"},
		{"-mode ipvs", "169.254.20.10", "10.96.0.11"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			cmd := program(t, strings.Fields("render manifests -clusterdomain example.org "+tt.args)...)
			cmd.Env = append(cmd.Env, "PATH=")
			manifest, stderr, code := result(t, cmd)
			if code != 0 || stderr != "" {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			corefile := renderPod(t, manifest, "KUBE_DNS_UPSTREAM_SERVICE_HOST=10.96.0.11")
			corefile = strings.ReplaceAll(corefile, "[fd00::20:10]", "fd00::20:10")
			wantCorefile(t, corefile, tt.ips, tt.fallback, "10.96.0.11", "example.org")
		})
	}
}

func TestRenderManifestsCilium(t *testing.T) {
	manifest, stderr, code := result(t, program(t, "render", "manifests", "-mode", "cilium", "-clusterdomain", "example.org", "-image", "x/y:1"))
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	contains(t, manifest, "kind: CiliumLocalRedirectPolicy\n", "        image: x/y:1\n")
	// The kubelet fills in the pod's addresses.
	corefile := renderPod(t, strings.ReplaceAll(manifest, "$(POD_IPS)", "10.244.1.7,fd00:10:244::7"), "KUBE_DNS_UPSTREAM_SERVICE_HOST=10.96.0.11")
	contains(t, corefile, "example.org {\n", "        link none\n", "        firewall none\n", "    bind 10.244.1.7 fd00:10:244::7\n",
		"health 10.244.1.7:8080\n", "hedge . 10.96.0.11 {\n")
}

// fakeKubectl makes a kubectl that prints files of testdata/kubectl/CLUSTER by what it is asked for.
func fakeKubectl(t *testing.T, cluster string) string {
	t.Helper()
	data, err := filepath.Abs("testdata/kubectl/" + cluster)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := `#!/bin/sh
echo "$@" >> ` + dir + `/calls
case "$*" in
*configz*) f=configz ;;
*nodes*) f=nodes ;;
*service*) f=services ;;
*kube-proxy*) f=proxy ;;
*coredns*) f=coredns ;;
esac
if [ -e ` + data + `/error ]; then cat ` + data + `/error >&2; exit 1; fi
[ ! -e "` + data + `/$f.json" ] || cat "` + data + `/$f.json"
`
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRenderManifestsAsksTheCluster(t *testing.T) {
	tests := []struct {
		cluster string
		found   []string
		want    []string
	}{
		{"kubeadm", []string{
			"kube-proxy mode nftables in ConfigMap kube-system/kube-proxy, config.conf",
			"cluster DNS 10.96.0.10 fd00:10:96::a in Service kube-system/kube-dns",
			"cluster domain example.org in ConfigMap kube-system/coredns",
		}, []string{`- "169.254.20.10,10.96.0.10,fd00:10:96::a"` + "\n", "    example.org {\n"}},
		{"ipvs", []string{
			"kube-proxy mode ipvs in ConfigMap kube-system/kube-proxy-config, config",
			"cluster domain cluster.local in the kubelet of node node1",
		}, []string{`- "169.254.20.10"` + "\n"}},
		{"cilium", []string{
			"Cilium in the place of kube-proxy in ConfigMap kube-system/cilium-config",
			"cluster DNS 10.43.0.10 in Service kube-system/rke2-coredns",
			"cluster domain cluster.local in ConfigMap kube-system/coredns",
		}, []string{"kind: CiliumLocalRedirectPolicy\n", "serviceName: rke2-coredns\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.cluster, func(t *testing.T) {
			dir := fakeKubectl(t, tt.cluster)
			cmd := program(t, "render", "manifests", "--kubeconfig", "/etc/my config", "--context", "mine")
			cmd.Env = append(cmd.Env, "PATH="+dir+":"+os.Getenv("PATH"))
			stdout, stderr, code := result(t, cmd)
			want := "nodelocaldns: found " + strings.Join(tt.found, "\nnodelocaldns: found ") + "\n"
			if code != 0 || stderr != want {
				t.Errorf("exit code %d\ngot\n%swant\n%s", code, stderr, want)
			}
			contains(t, stdout, tt.want...)
			for call := range strings.Lines(readString(t, dir+"/calls")) {
				contains(t, call, "get --request-timeout=10s ", " --kubeconfig /etc/my config --context mine\n")
			}
		})
	}
}

func TestRenderManifestsErrors(t *testing.T) {
	tests := []struct {
		cluster string // none: there is no kubectl
		args    string
		code    int
		want    string
	}{
		{"", "", 1, "finding who balances the cluster's Services: there is no kubectl in PATH; name it with -mode"},
		{"", "-mode iptables", 1, "finding the ClusterIP of kube-dns: there is no kubectl in PATH; name it with -dnsserver"},
		{"", "-mode ipvs", 1, "finding the cluster domain: there is no kubectl in PATH; name it with -clusterdomain"},
		{"", "-mode iptables -clusterdomain a -dnsserver fd00::a", 1,
			"kube-dns has IPv6 addresses only: choose an address of the cache with -localip, such as fd00::20:10"},
		{"", "-mode ipvs -dnsserver 10.96.0.10", 2, "-dnsserver has no effect in mode ipvs; see nodelocaldns -help"},
		{"", "-mode cilium -localip 10.96.0.10", 2, "-localip has no effect in mode cilium; see nodelocaldns -help"},
		{"", "-mode ebpf", 2, `invalid value "ebpf" for flag -mode: want auto, iptables, nftables, ipvs or cilium; see nodelocaldns -help`},
		{"", "-image", 2, "flag needs an argument: -image; see nodelocaldns -help"},
		{"", "-imgae x", 2, "unknown flag -imgae (did you mean -image?); see nodelocaldns -help"},
		{"", "all", 2, `unexpected argument "all"; see nodelocaldns -help`},
		{"unreachable", "", 1, "finding who balances the cluster's Services: asking the cluster: kubectl: " +
			"The connection to the server 192.0.2.1:6443 was refused - did you specify the right host or port?; name it with -mode"},
		{"empty", "", 1, "finding who balances the cluster's Services: there is no ConfigMap kube-proxy in kube-system that says it; name it with -mode"},
		{"empty", "-mode iptables", 1,
			"finding the ClusterIP of kube-dns: 0 Services in kube-system have the label k8s-app=kube-dns, not one; name it with -dnsserver"},
		{"empty", "-mode ipvs", 1, "finding the cluster domain: the cluster has no node; name it with -clusterdomain"},
		{"cilium-off", "", 1, "finding who balances the cluster's Services: kube-proxy is replaced by Cilium, whose local redirect policies " +
			"are off: enable them (Helm: localRedirectPolicies.enabled=true); name it with -mode"},
	}
	for _, tt := range tests {
		t.Run(tt.cluster+tt.args, func(t *testing.T) {
			cmd := program(t, append([]string{"render", "manifests"}, strings.Fields(tt.args)...)...)
			path := "PATH="
			if tt.cluster != "" {
				path += fakeKubectl(t, tt.cluster) + ":" + os.Getenv("PATH")
			}
			cmd.Env = append(cmd.Env, path)
			stdout, stderr, code := result(t, cmd)
			if want := "nodelocaldns: " + tt.want + "\n"; stderr != want || code != tt.code || stdout != "" {
				t.Errorf("exit code %d, want %d\ngot  %swant %s", code, tt.code, stderr, want)
			}
		})
	}
}
