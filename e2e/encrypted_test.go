// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/upstream"
)

// TestEncryptedUpstreams runs the two examples of docs/operations.md, each in the default template, against servers that speak
// nothing but TLS and QUIC. The cache refuses a server whose certificate has another name.
func TestEncryptedUpstreams(t *testing.T) {
	t.Parallel()
	const tlsAnswer, quicAnswer, none = "198.51.100.53", "198.51.100.54", ""
	examples := encryptedExamples(t)
	l := lab.New(t, lab.IPTablesNFT)
	authority := serveEncrypted(t, l, "dns.example", tlsAnswer, quicAnswer)
	c := start(t, l, options{firewall: lab.IPTablesNFT, base: string(corefiles.Kubernetes), env: []string{"SSL_CERT_FILE=" + authority}})
	for i, step := range []struct{ transport, serverName, want string }{
		{"tls", "dns.example", tlsAnswer},
		{"quic", "dns.example", quicAnswer},
		{"tls", "other.example", none},
		{"quic", "other.example", none},
	} {
		stanza := strings.ReplaceAll(examples[step.transport], "dns.example", step.serverName)
		zone := fmt.Sprintf("step%d.test", i)
		c.setBase(t, withForward(t, stanza)+zoneBlock(zone, ipv4))
		waitZone(t, l, zone, ipv4...)
		c.reload(t) // a reload counts before the servers that it replaces have stopped,
		c.reload(t) // and the next one begins after that
		name := fmt.Sprintf("step%d.encrypted.test.", i)
		msg, err := client.Ask(l.Pod, client.Query{Server: client.Port53(lab.LinkLocal), Name: name, Type: dns.TypeA, Timeout: 10 * time.Second})
		if err != nil {
			t.Fatalf("%s, %s: %v", step.transport, step.serverName, err)
		}
		if got := addressIn(msg); got != step.want || (step.want == none) != (msg.Rcode == dns.RcodeServerFailure) {
			t.Errorf("%s, %s: want %q, got\n%s", step.transport, step.serverName, step.want, msg)
		}
	}
	if asked := l.External.Seen("encrypted.test."); len(asked) > 0 {
		t.Errorf("the node's nameserver was asked without encryption: %v", asked)
	}
}

// encryptedExamples returns the forward stanzas of docs/operations.md by their transport.
func encryptedExamples(t *testing.T) map[string]string {
	t.Helper()
	_, text, _ := strings.Cut(readFile(t, "../docs/operations.md"), "\n### Encrypted upstreams\n")
	text, _, _ = strings.Cut(text, "\n### ")
	examples := map[string]string{}
	for _, m := range regexp.MustCompile(`(?ms)^    forward \. (\w+)://.*?^    }\n`).FindAllStringSubmatch(text, -1) {
		examples[m[1]] = m[0]
	}
	if len(examples) != 2 {
		t.Fatalf("want one example of tls and one of quic, got %q", examples)
	}
	return examples
}

// withForward returns the default template with another stanza in the place of the forward of its block for all names.
func withForward(t *testing.T, stanza string) string {
	t.Helper()
	forward := regexp.MustCompile(`(?ms)^    forward \. __PILLAR__UPSTREAM__SERVERS__ \{.*?^    }\n`)
	text := string(corefiles.Kubernetes)
	if n := len(forward.FindAllString(text, -1)); n != 1 {
		t.Fatalf("the default template has %d stanzas forward of all names", n)
	}
	return forward.ReplaceAllLiteralString(text, stanza)
}

// encryptedServer is the first server of the examples.
var encryptedServer = netip.MustParseAddrPort("192.0.2.53:853")

// serveEncrypted starts servers for the addresses of the examples outside of the node, which answer each A with the address of their
// transport. It returns the file of the certificate of the authority that vouches for their name.
func serveEncrypted(t *testing.T, l *lab.Lab, name, tlsAnswer, quicAnswer string) (authority string) {
	t.Helper()
	for _, a := range []string{"192.0.2.53/32", "192.0.2.54/32"} {
		l.Outside.Exec(t, "", "ip", "addr", "add", a, "dev", "lo")
	}
	cert, key := selfSigned(t, name)
	block := func(transport, answer string) string {
		return fmt.Sprintf("%s://.:853 {\n    tls %s %s\n    template IN A {\n        answer \"{{ .Name }} 60 IN A %s\"\n    }\n"+
			"    template IN ANY {\n        rcode NXDOMAIN\n    }\n}\n", transport, cert, key, answer)
	}
	upstream.StartServer(t, l.Outside, block("tls", tlsAnswer)+block("quic", quicAnswer))
	harness.Until(t, 20*time.Second, "a server on port 853", func() error {
		conn, err := l.Node.Dial("tcp", encryptedServer, time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return cert
}

// selfSigned writes a certificate that is its own authority, and its key.
func selfSigned(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return harness.WriteFile(t, "cert.pem", text("CERTIFICATE", public)), harness.WriteFile(t, "key.pem", text("PRIVATE KEY", secret))
}
