// SPDX-License-Identifier: Apache-2.0

// Command reference stands in for k8s-dns-node-cache where that cannot be had: it takes its flags, makes its link and its rules
// with their comments, and serves with CoreDNS. It takes nothing away at its end, like the original when it is killed, except with
// -skipteardown=false, which is the original's default. Where the kernel makes no dummy link, its link is a TUN device.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/coremain"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/reload"
)

func main() {
	log.SetFlags(0)
	set := flag.NewFlagSet("node-cache", flag.ExitOnError)
	localIP := set.String("localip", "", "")
	conf := set.String("conf", "/etc/Corefile", "")
	base := set.String("basecorefile", "/etc/coredns/Corefile.base", "")
	upstream := set.String("upstreamsvc", "kube-dns", "")
	pidFile := set.String("pidfile", "", "")
	skipTeardown := set.Bool("skipteardown", true, "")
	set.Bool("setupinterface", true, "")
	set.Bool("setupiptables", true, "")
	if err := set.Parse(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
	ips := strings.Split(*localIP, ",")
	if err := writeCorefile(*base, *conf, *upstream, ips); err != nil {
		log.Fatal(err)
	}
	device, err := makeLink(ips)
	if err != nil {
		log.Fatal(err)
	}
	if err := rules("-I", ips); err != nil {
		log.Fatal(err)
	}
	if !*skipTeardown {
		caddy.OnProcessExit = append(caddy.OnProcessExit, func() { tearDown(ips) })
	}
	os.Args = []string{os.Args[0], "-conf", *conf, "-pidfile", *pidFile} // coremain's
	coremain.Run()
	runtime.KeepAlive(device)
}

func writeCorefile(base, conf, upstream string, ips []string) error {
	text, err := os.ReadFile(base)
	if err != nil {
		return err
	}
	env := strings.ToUpper(strings.ReplaceAll(upstream, "-", "_")) + "_SERVICE_HOST"
	filled := strings.NewReplacer("__PILLAR__CLUSTER__DNS__", os.Getenv(env), "__PILLAR__LOCAL__DNS__", strings.Join(ips, " "),
		"__PILLAR__UPSTREAM__SERVERS__", "/etc/resolv.conf").Replace(string(text))
	return os.WriteFile(conf, []byte(filled), 0o644)
}

// makeLink makes the link and adds the addresses. The link ends when the garbage collector closes the files that it returns.
func makeLink(ips []string) ([]*os.File, error) {
	var files []*os.File
	attrs := netlink.LinkAttrs{Name: "nodelocaldns"}
	if err := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: attrs}); err != nil {
		log.Printf("no dummy link (%v): using a TUN device", err)
		if err := makeDevice(); err != nil {
			return nil, err
		}
		tun := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TUN, NonPersist: true, Queues: 1}
		if err := netlink.LinkAdd(tun); err != nil {
			return nil, fmt.Errorf("making the link: %w", err)
		}
		files = tun.Fds
	}
	link, err := netlink.LinkByName(attrs.Name)
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, err
	}
	for _, ip := range ips {
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(ip), Mask: net.CIDRMask(32, 32)}}); err != nil {
			return nil, fmt.Errorf("adding %s: %w", ip, err)
		}
	}
	return files, nil
}

// makeDevice makes the file that the original's manifest does not mount, since a dummy link needs none.
func makeDevice() error {
	if err := os.MkdirAll("/dev/net", 0o755); err != nil {
		return err
	}
	if err := unix.Mknod("/dev/net/tun", unix.S_IFCHR|0o600, int(unix.Mkdev(10, 200))); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making /dev/net/tun: %w", err)
	}
	return nil
}

// tearDown runs when the servers have stopped, as in the original. The process ends in any case.
func tearDown(ips []string) {
	if err := rules("-D", ips); err != nil {
		log.Print(err)
	}
	link, err := netlink.LinkByName("nodelocaldns")
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		log.Printf("removing the link: %v", err)
	}
}

// rules inserts (-I) or deletes (-D) the original's twelve rules for each address, in the built-in chains.
func rules(command string, ips []string) error {
	skip := []string{"-m", "comment", "--comment", "NodeLocal DNS Cache: skip conntrack", "-j", "NOTRACK"}
	allow := []string{"-m", "comment", "--comment", "NodeLocal DNS Cache: allow DNS traffic", "-j", "ACCEPT"}
	for _, ip := range ips {
		for _, rule := range []struct {
			table, chain, match string
			target              []string
		}{
			{"raw", "PREROUTING", "-p tcp -d %s --dport 53", skip}, {"raw", "PREROUTING", "-p udp -d %s --dport 53", skip},
			{"filter", "INPUT", "-p tcp -d %s --dport 53", allow}, {"filter", "INPUT", "-p udp -d %s --dport 53", allow},
			{"raw", "OUTPUT", "-p tcp -s %s --sport 53", skip}, {"raw", "OUTPUT", "-p udp -s %s --sport 53", skip},
			{"filter", "OUTPUT", "-p tcp -s %s --sport 53", allow}, {"filter", "OUTPUT", "-p udp -s %s --sport 53", allow},
			{"raw", "OUTPUT", "-p tcp -d %s --dport 53", skip}, {"raw", "OUTPUT", "-p udp -d %s --dport 53", skip},
			{"raw", "OUTPUT", "-p tcp -d %s --dport 8080", skip}, {"raw", "OUTPUT", "-p tcp -s %s --sport 8080", skip},
		} {
			args := append([]string{"-w", "5", "-t", rule.table, command, rule.chain}, strings.Fields(fmt.Sprintf(rule.match, ip))...)
			if out, err := exec.Command("iptables", append(args, rule.target...)...).CombinedOutput(); err != nil {
				return fmt.Errorf("iptables %v: %w: %s", args, err, out)
			}
		}
	}
	return nil
}
