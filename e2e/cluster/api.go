// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/cluster/control"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/netns"
)

// api is the API server, asked from the fabric. What kubectl would be too slow or too heavy for goes this way.
type api struct {
	client *http.Client
	base   string
}

func newAPI(from *netns.Namespace, p *control.PKI, ip net.IP) (*api, error) {
	cert, err := tls.LoadX509KeyPair(p.Path("admin.crt"), p.Path("admin.key"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.Certificate)
	return &api{
		base: fmt.Sprintf("https://%s:6443", ip),
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			DialContext:     from.DialContext,
			TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}},
		}},
	}, nil
}

// get reads an object into out, if that is not nil.
func (a *api) get(path string, out any) error {
	response, err := a.client.Get(a.base + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, response.Status)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(body, out)
}

// post sends JSON to an URL and reads JSON.
func post(client *http.Client, url string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	response, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", bytes.TrimSpace(said))
	}
	return json.Unmarshal(said, out)
}

// Kubectl runs kubectl and returns what it printed; the test fails when it does.
func (c *Cluster) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	return c.KubectlIn(t, "", args...)
}

// KubectlIn is Kubectl with a standard input.
func (c *Cluster) KubectlIn(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	out, err := c.TryKubectl(stdin, args...)
	if err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return out
}

// TryKubectl is KubectlIn for what may fail.
func (c *Cluster) TryKubectl(stdin string, args ...string) (string, error) {
	return c.fabric.Output(stdin, Binary("kubectl"), append([]string{"--kubeconfig", c.pki.Path("admin.kubeconfig")}, args...)...)
}

// Tool runs a program of the machine beside the nodes. KUBECONFIG names the administrator's file. The program is in a process
// namespace, so that those that it starts end with it, and with the test.
func (c *Cluster) Tool(name string, args ...string) (string, error) {
	command := []string{"--pid", "--fork", "--kill-child", "env", "KUBECONFIG=" + c.pki.Path("admin.kubeconfig"), name}
	return c.fabric.Output("", "unshare", append(command, args...)...)
}

// Apply applies YAML.
func (c *Cluster) Apply(t testing.TB, yaml string) {
	t.Helper()
	c.KubectlIn(t, yaml, "apply", "-f", "-")
}

// readFile is os.ReadFile for a file that has to be there.
func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
