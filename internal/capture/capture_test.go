// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"net"
	"testing"

	"github.com/miekg/dns"
)

func TestWriter(t *testing.T) {
	var w Writer
	r := new(dns.Msg).SetQuestion("a.test.", dns.TypeA)
	if err := w.WriteMsg(r); err != nil || w.Msg != r || w.RemoteAddr().Network() != "tcp" || w.LocalAddr().Network() != "tcp" {
		t.Errorf("%v, %+v", err, w)
	}
	wire, err := new(dns.Msg).SetQuestion("b.test.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write(wire); n != len(wire) || err != nil || w.Msg.Question[0].Name != "b.test." {
		t.Errorf("%d, %v, %v", n, err, w.Msg)
	}
	if _, err := w.Write(wire[:5]); err == nil || w.Msg.Question[0].Name != "b.test." {
		t.Errorf("%v, %v", err, w.Msg)
	}
	client := &net.UDPAddr{Port: 5}
	if w := (&Writer{Remote: client}); w.RemoteAddr() != client {
		t.Error(w.RemoteAddr())
	}
}
