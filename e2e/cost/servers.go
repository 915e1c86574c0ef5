// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/process"
)

// template is the cluster's zone and the rest of the world, as the usual manifests have them.
const template = `cluster.local:53 {
    errors
    cache {
        success 9984 30
        denial 9984 5
    }
    reload
    loop
    bind 169.254.20.10
    forward . __PILLAR__CLUSTER__DNS__ {
        force_tcp
    }
    prometheus :9253
    health 169.254.20.10:8080
}
.:53 {
    errors
    cache 30
    reload
    loop
    bind 169.254.20.10
    forward . __PILLAR__UPSTREAM__SERVERS__
    prometheus :9253
}
`

// cache is a running nodelocaldns.
type cache struct {
	*process.Process
	tools    *lab.Tools
	steering time.Duration // from start to steering
}

func arguments(h *harness.Host, firewall lab.Backend) []string {
	kind := "iptables"
	if firewall == lab.NFTables {
		kind = "nftables"
	}
	return []string{
		"-localip", lab.LinkLocal.String(), "-basecorefile", harness.WriteFile(h, "Corefile.base", template),
		"-upstreamsvc", "kube-dns-upstream", "-link", "tun", "-firewall", kind, "-quiet",
	}
}

func environment(tools *lab.Tools) []string {
	return []string{"PATH=" + tools.Dir, fmt.Sprintf("KUBE_DNS_UPSTREAM_SERVICE_HOST=%s", lab.UpstreamIP)}
}

// start runs the cache until it steers.
func start(h *harness.Host, l *lab.Lab, firewall lab.Backend) *cache {
	c := &cache{tools: lab.NewTools(h, firewall)}
	begin := time.Now()
	c.Process = process.Start(h, l.Node, process.Command{Path: harness.NodeLocalDNS(h), Args: arguments(h, firewall), Env: environment(c.tools)})
	harness.Until(h, 20*time.Second, "steering", func() error {
		if !c.Running() {
			h.Fatal(c.Output())
		}
		page, err := l.Node.Get("http://127.0.0.1:9253/metrics")
		if err != nil {
			return err
		}
		on, err := process.Metric(page, "coredns_nodelocal_steering")
		if err == nil && on == 0 {
			err = errors.New("off")
		}
		return err
	})
	c.steering = time.Since(begin)
	return c
}

var stanza = regexp.MustCompile(`(?s)\n\s*nodelocal[^\n]*\{.*?\n\s*\}`)

// startStock runs a stock CoreDNS with what the cache would run, but for its own stanza; the address is on the loopback link.
func startStock(h *harness.Host, l *lab.Lab) *process.Process {
	corefile := l.Node.Exec(h, "", "env", append(
		append(environment(lab.NewTools(h, lab.NFTables)), harness.NodeLocalDNS(h), "render"), arguments(h, lab.NFTables)...)...)
	if !stanza.MatchString(corefile) {
		h.Fatal("no nodelocal stanza in\n" + corefile)
	}
	corefile = stanza.ReplaceAllString(corefile, "")
	if strings.Contains(corefile, "nodelocal {") {
		h.Fatal("still a nodelocal stanza in\n" + corefile)
	}
	l.Node.Exec(h, "", "ip", "addr", "add", lab.LinkLocal.String()+"/32", "dev", "lo")
	p := process.Start(h, l.Node, process.Command{
		Path: harness.Stock(h), Args: []string{"-conf", harness.WriteFile(h, "Corefile", corefile), "-quiet"},
		Env: []string{"HOME=" + os.Getenv("HOME")},
	})
	harness.Until(h, 20*time.Second, "answer", func() error {
		_, err := client.Ask(l.Pod, client.Query{Server: client.Port53(lab.LinkLocal), Name: "ready.wild.cluster.local.", Type: 1, Timeout: time.Second})
		return err
	})
	return p
}
