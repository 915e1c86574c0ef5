// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// object is a Kubernetes object as JSON.
type object map[string]any

// api is as much of an API server as CoreDNS's kubernetes plugin needs: it lists and watches objects.
type api struct {
	URL string

	mu      sync.Mutex
	version int
	objects map[string]object // by resource/namespace/name
	events  []event
	changed chan struct{} // closed and replaced with each event
}

type event struct {
	resource string
	version  int
	Type     string `json:"type"`
	Object   object `json:"object"`
}

// kinds are the resources that there are.
var kinds = map[string][2]string{
	"services": {"v1", "Service"}, "namespaces": {"v1", "Namespace"}, "pods": {"v1", "Pod"},
	"endpointslices": {"discovery.k8s.io/v1", "EndpointSlice"}, "serviceimports": {"multicluster.x-k8s.io/v1alpha1", "ServiceImport"},
}

func startAPI(t *testing.T) *api {
	a := &api{version: 1, objects: map[string]object{}, changed: make(chan struct{})}
	server := httptest.NewServer(a)
	t.Cleanup(func() {
		server.CloseClientConnections() // the watches
		server.Close()
	})
	a.URL = server.URL
	return a
}

// set creates or replaces an object.
func (a *api) set(resource, namespace, name string, o object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	kind := kinds[resource]
	meta := object{"name": name, "uid": resource + namespace + name, "resourceVersion": strconv.Itoa(a.version)}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	if service, ok := o["service"]; ok {
		meta["labels"] = object{"kubernetes.io/service-name": service, "multicluster.kubernetes.io/service-name": service}
		if cluster, ok := o["cluster"]; ok {
			meta["labels"].(object)["multicluster.kubernetes.io/source-cluster"] = cluster
		}
	}
	full := object{"apiVersion": kind[0], "kind": kind[1], "metadata": meta}
	for k, v := range o {
		full[k] = v
	}
	key := resource + "/" + namespace + "/" + name
	word := "ADDED"
	if _, ok := a.objects[key]; ok {
		word = "MODIFIED"
	}
	a.objects[key] = full
	a.tell(event{resource, a.version, word, full})
}

// remove deletes an object.
func (a *api) remove(resource, namespace, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := resource + "/" + namespace + "/" + name
	if o, ok := a.objects[key]; ok {
		delete(a.objects, key)
		a.version++
		a.tell(event{resource, a.version, "DELETED", o})
	}
}

func (a *api) tell(e event) {
	a.events = append(a.events, e)
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resource, query := path.Base(r.URL.Path), r.URL.Query()
	kind, known := kinds[resource]
	w.Header().Set("Content-Type", "application/json")
	switch {
	case !known:
		w.WriteHeader(http.StatusNotFound)
	case query.Get("sendInitialEvents") != "": // the client lists then
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422})
	case query.Get("watch") != "":
		from, _ := strconv.Atoi(query.Get("resourceVersion"))
		a.watch(w, r, resource, from)
	default:
		a.mu.Lock()
		defer a.mu.Unlock()
		items := []object{}
		for key, o := range a.objects {
			if strings.HasPrefix(key, resource+"/") {
				items = append(items, o)
			}
		}
		_ = json.NewEncoder(w).Encode(object{"kind": kind[1] + "List", "apiVersion": kind[0],
			"metadata": object{"resourceVersion": strconv.Itoa(a.version)}, "items": items})
	}
}

func (a *api) watch(w http.ResponseWriter, r *http.Request, resource string, from int) {
	encoder, flusher := json.NewEncoder(w), w.(http.Flusher)
	flusher.Flush()
	for next := 0; ; {
		a.mu.Lock()
		events, changed := a.events[next:], a.changed
		next = len(a.events)
		a.mu.Unlock()
		for _, e := range events {
			if e.resource == resource && e.version > from && encoder.Encode(e) != nil {
				return
			}
		}
		flusher.Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// namespace creates a namespace.
func (a *api) namespace(name string) { a.set("namespaces", "", name, object{}) }

var port = []object{{"name": "http", "protocol": "TCP", "port": 80}}

// service creates a Service; headless without ip.
func (a *api) service(namespace, name, ip string) {
	if ip == "" {
		ip = "None"
	}
	a.set("services", namespace, name, object{"spec": object{"type": "ClusterIP", "clusterIP": ip, "clusterIPs": []string{ip}, "ports": port}})
}

// external creates a Service of type ExternalName.
func (a *api) external(namespace, name, target string) {
	a.set("services", namespace, name, object{"spec": object{"type": "ExternalName", "externalName": target}})
}

// pod is an endpoint.
type pod struct {
	ip, hostname string
	ready        bool
}

// endpoints sets those of a Service; in a multicluster zone those of one cluster.
func (a *api) endpoints(namespace, service, cluster string, pods ...pod) {
	var all []object
	for _, p := range pods {
		e := object{"addresses": []string{p.ip}, "conditions": object{"ready": p.ready}, "zone": "zone-a"}
		if p.hostname != "" {
			e["hostname"] = p.hostname
		}
		all = append(all, e)
	}
	o := object{"service": service, "addressType": "IPv4", "ports": port, "endpoints": all}
	if cluster != "" {
		o["cluster"] = cluster
	}
	a.set("endpointslices", namespace, service+"-"+cluster, o)
}
