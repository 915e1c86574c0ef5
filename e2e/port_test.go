// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// TestPortAgain makes a TCP connection with the source port of an earlier one with the cache, while the cache is away. It goes
// to the cluster DNS, and stays there when the cache is back.
func TestPortAgain(t *testing.T) {
	for _, firewall := range lab.Backends {
		t.Run(string(firewall), func(t *testing.T) {
			l := lab.New(t, firewall)
			c := start(t, l, options{firewall: firewall, addrs: dual})
			for i, a := range clusterIPs(dual) {
				conn := fromPort(t, l.Pod, 40404+i, client.Port53(a).String())
				askOver(t, conn, "before")
				_ = conn.Close()
			}
			c.term(t)
			var open []*dns.Conn
			for i, a := range clusterIPs(dual) {
				conn := fromPort(t, l.Pod, 40404+i, client.Port53(a).String())
				askOver(t, conn, "away")
				open = append(open, conn)
			}
			c.again(t)
			for _, conn := range open {
				askOver(t, conn, "back")
			}
		})
	}
}

// fromPort connects from a port. The end of the connection is a reset, after which the port is free.
func fromPort(t *testing.T, n *netns.Namespace, port int, server string) *dns.Conn {
	t.Helper()
	var conn net.Conn
	err := n.Run(func() (err error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{Port: port}, Timeout: 2 * time.Second}
		conn, err = d.Dial("tcp", server)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	return &dns.Conn{Conn: conn}
}

func askOver(t *testing.T, conn *dns.Conn, when string) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	err := conn.WriteMsg(new(dns.Msg).SetQuestion("web.default.svc.cluster.local.", dns.TypeA))
	if err == nil {
		_, err = conn.ReadMsg()
	}
	if err != nil {
		t.Errorf("%s, %s: %v", when, conn.RemoteAddr(), err)
	}
}

// TestMetricsPort has another program listen at the metrics' port when the cache starts. The log names the program, DNS does not
// wait, and the metrics come when the port is free. They stay over a reload.
func TestMetricsPort(t *testing.T) {
	l := lab.New(t, lab.NFTables)
	var other net.Listener
	err := l.Node.Run(func() (err error) {
		other, err = net.Listen("tcp", ":9253")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	c := launch(t, l, options{firewall: lab.NFTables})
	c.WaitOutput(t, steeringTimeout, "Metrics of the directive prometheus are not served, and tried again each 5s: listen tcp :9253: bind: address already in use; "+
		fmt.Sprintf("tcp [::]:9253 is held by pid %d (", os.Getpid()))
	c.WaitOutput(t, steeringTimeout, "Steering on: "+lab.LinkLocal.String())
	_ = other.Close()
	c.waitSteering(t, true, 20*time.Second)
	c.reload(t)
	c.waitSteering(t, true, steeringTimeout)
	c.term(t)
}
