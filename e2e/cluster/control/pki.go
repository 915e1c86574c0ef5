// SPDX-License-Identifier: Apache-2.0

// Package control has what a control plane of Kubernetes is started with: certificates, and the arguments of its programs.
package control

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

var serviceIP = net.IPv4(10, 96, 0, 1) // the first address of the Services

// PKI is the cluster's certificate authority, and a directory with all that it signed.
type PKI struct {
	dir         string
	Certificate *x509.Certificate // of the authority itself
	key         crypto.Signer
	next        int64
}

// NewPKI makes the authority (ca.crt), the key of the service accounts (sa.key, sa.pub), and what the components need:
// NAME.crt and NAME.key, and NAME.kubeconfig for those that are clients of the API server. A kubeconfig needs no other file.
func NewPKI(dir string, api net.IP, nodes map[string][]net.IP) (*PKI, error) {
	p := &PKI{dir: dir, next: 1}
	if err := p.authority(); err != nil {
		return nil, err
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	server := pkix.Name{CommonName: "kube-apiserver"}
	if err := p.sign("apiserver", server, names, []net.IP{net.IPv4(127, 0, 0, 1), serviceIP, api}); err != nil {
		return nil, err
	}
	clients := map[string]pkix.Name{
		"apiserver-kubelet": {CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}},
		"admin":             {CommonName: "admin", Organization: []string{"system:masters"}},
		"scheduler":         {CommonName: "system:kube-scheduler"},
		"proxy":             {CommonName: "system:kube-proxy"},
	}
	for name := range nodes {
		clients[name] = pkix.Name{CommonName: "system:node:" + name, Organization: []string{"system:nodes"}}
	}
	for name, subject := range clients {
		if err := p.sign(name, subject, []string{name}, nodes[name]); err != nil {
			return nil, err
		}
		if err := p.kubeconfig(name, api); err != nil {
			return nil, err
		}
	}
	return p, p.serviceAccounts()
}

// Path is the path of a file of the authority.
func (p *PKI) Path(file string) string { return filepath.Join(p.dir, file) }

func (p *PKI) authority() (err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := p.template(pkix.Name{CommonName: "e2e"})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if p.Certificate, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	p.key = key
	return p.write("ca.crt", "CERTIFICATE", der)
}

func (p *PKI) template(subject pkix.Name) *x509.Certificate {
	p.next++
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(p.next), Subject: subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
}

// sign makes a certificate for a client that may be a server too.
func (p *PKI) sign(file string, subject pkix.Name, names []string, ips []net.IP) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := p.template(subject)
	template.DNSNames, template.IPAddresses = names, ips
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, p.Certificate, key.Public(), p.key)
	if err != nil {
		return err
	}
	if err := p.write(file+".crt", "CERTIFICATE", der); err != nil {
		return err
	}
	return p.writeKey(file+".key", key)
}

func (p *PKI) serviceAccounts() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := p.write("sa.pub", "PUBLIC KEY", der); err != nil {
		return err
	}
	return p.writeKey("sa.key", key)
}

func (p *PKI) writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return p.write(file, "EC PRIVATE KEY", der)
}

func (p *PKI) write(file, kind string, der []byte) error {
	return os.WriteFile(p.Path(file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func (p *PKI) kubeconfig(name string, api net.IP) error {
	var data [3]string
	for i, file := range []string{"ca.crt", name + ".crt", name + ".key"} {
		text, err := os.ReadFile(p.Path(file))
		if err != nil {
			return err
		}
		data[i] = base64.StdEncoding.EncodeToString(text)
	}
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- {name: e2e, cluster: {server: "https://%s:6443", certificate-authority-data: "%s"}}
users:
- {name: user, user: {client-certificate-data: "%s", client-key-data: "%s"}}
contexts:
- {name: e2e, context: {cluster: e2e, user: user}}
current-context: e2e
`, api, data[0], data[1], data[2])
	return os.WriteFile(p.Path(name+".kubeconfig"), []byte(text), 0o600)
}
