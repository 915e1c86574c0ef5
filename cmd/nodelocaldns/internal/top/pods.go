// SPDX-License-Identifier: Apache-2.0

package top

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"time"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/kubectl"
)

const (
	// patience bounds a look-up of names.
	patience = 8 * time.Second
	// refresh is the time between two look-ups.
	refresh = 30 * time.Second
)

// pods are the names of addresses.
type pods struct {
	names map[netip.Addr]string // NAMESPACE/NAME, or "node NAME"
	fault error                 // why there are no names; nil: there are, or there is no kubectl
}

// lookUp begins to ask the cluster, and returns the channel that gets the names.
func (c *command) lookUp() <-chan pods {
	found := make(chan pods, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		names, err := podNames(ctx, c.kubectl)
		if errors.Is(err, kubectl.ErrNone) && c.kubectl == (kubectl.Kubectl{}) {
			err = nil // as in the container of the cache
		}
		found <- pods{names, err}
	}()
	return found
}

// podList has what is used of the API's PodList.
type podList struct {
	Items []struct {
		Metadata struct{ Namespace, Name string }
		Spec     struct {
			NodeName    string
			HostNetwork bool
		}
		Status struct {
			Phase           string
			PodIPs, HostIPs []struct{ IP netip.Addr }
			HostIP          netip.Addr // of Kubernetes before 1.30
		}
	}
}

// podNames asks for the pods of this node, or for all pods if the cluster knows this node by another name than its host name.
func podNames(ctx context.Context, k kubectl.Kubectl) (map[netip.Addr]string, error) {
	args := []string{"pods", "--all-namespaces", "--output", "json"}
	var l podList
	if host, err := os.Hostname(); err == nil {
		if err := k.Get(ctx, &l, append(args, "--field-selector", "spec.nodeName="+host)...); err != nil {
			return nil, err
		}
	}
	if len(l.Items) == 0 {
		if err := k.Get(ctx, &l, args...); err != nil {
			return nil, err
		}
	}
	return l.names(), nil
}

func (l *podList) names() map[netip.Addr]string {
	names := map[netip.Addr]string{}
	for _, p := range l.Items {
		if p.Status.HostIP.IsValid() {
			names[p.Status.HostIP] = "node " + p.Spec.NodeName
		}
		for _, a := range p.Status.HostIPs {
			names[a.IP] = "node " + p.Spec.NodeName
		}
		if p.Spec.HostNetwork || p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" { // the address is not the pod's, or no longer
			continue
		}
		for _, a := range p.Status.PodIPs {
			names[a.IP] = p.Metadata.Namespace + "/" + p.Metadata.Name
		}
	}
	return names
}
