// SPDX-License-Identifier: Apache-2.0

package control

import "net"

// Etcd is the arguments of etcd with its data in a directory. It listens on the loopback link.
func Etcd(dir string) []string {
	const clients, peers = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	return []string{
		"--name=e2e", "--data-dir=" + dir, "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=" + clients, "--advertise-client-urls=" + clients,
		"--listen-peer-urls=" + peers, "--initial-advertise-peer-urls=" + peers, "--initial-cluster=e2e=" + peers,
	}
}

// APIServer is the arguments of an API server beside etcd, which listens at port 6443 of every address. Nodes find it at ip.
// services is the networks of the ClusterIPs, separated by a comma.
func (p *PKI) APIServer(ip net.IP, services string) []string {
	return []string{
		"--etcd-servers=http://127.0.0.1:2379", "--secure-port=6443", "--advertise-address=" + ip.String(), "--allow-privileged=true",
		"--service-cluster-ip-range=" + services, "--authorization-mode=Node,RBAC", "--client-ca-file=" + p.Path("ca.crt"),
		"--tls-cert-file=" + p.Path("apiserver.crt"), "--tls-private-key-file=" + p.Path("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + p.Path("sa.pub"), "--service-account-signing-key-file=" + p.Path("sa.key"),
		"--kubelet-client-certificate=" + p.Path("apiserver-kubelet.crt"), "--kubelet-client-key=" + p.Path("apiserver-kubelet.key"),
		"--kubelet-certificate-authority=" + p.Path("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
	}
}
