// SPDX-License-Identifier: Apache-2.0

// Package kubeapi has as much of an API server as CoreDNS's plugin kubernetes needs.
package kubeapi

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Object is a Kubernetes object as JSON.
type Object map[string]any

// API is a server that lists its objects, and tells those who watch what changes.
type API struct {
	URL string // for the directive endpoint of the plugin kubernetes

	mu      sync.Mutex
	version int
	objects map[string]Object // by resource/namespace/name
	events  []event
	changed chan struct{} // closed and replaced with each event
}

type event struct {
	resource string
	version  int
	Type     string `json:"type"`
	Object   Object `json:"object"`
}

// kinds are the resources that there are.
var kinds = map[string][2]string{
	"services": {"v1", "Service"}, "namespaces": {"v1", "Namespace"}, "pods": {"v1", "Pod"},
	"endpointslices": {"discovery.k8s.io/v1", "EndpointSlice"}, "serviceimports": {"multicluster.x-k8s.io/v1alpha1", "ServiceImport"},
}

// Start serves at the listener until the end of the test. There are no objects at first.
func Start(t testing.TB, l net.Listener) *API {
	a := &API{version: 1, objects: map[string]Object{}, changed: make(chan struct{})}
	server := httptest.NewUnstartedServer(a)
	server.Listener.Close() // it has one of its own
	server.Listener = l
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections() // the watches
		server.Close()
	})
	a.URL = server.URL
	return a
}

// Set creates or replaces an object of a resource: services, namespaces, pods, endpointslices or serviceimports. The namespace of a
// namespace is empty. Set makes the metadata; the fields service and cluster of o are the labels of an endpoint slice.
func (a *API) Set(resource, namespace, name string, o Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	kind := kinds[resource]
	meta := Object{"name": name, "uid": resource + namespace + name, "resourceVersion": strconv.Itoa(a.version)}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	if service, ok := o["service"]; ok {
		meta["labels"] = Object{"kubernetes.io/service-name": service, "multicluster.kubernetes.io/service-name": service}
		if cluster, ok := o["cluster"]; ok {
			meta["labels"].(Object)["multicluster.kubernetes.io/source-cluster"] = cluster
		}
	}
	full := Object{"apiVersion": kind[0], "kind": kind[1], "metadata": meta}
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

// Remove deletes an object. Nothing happens if there is none.
func (a *API) Remove(resource, namespace, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := resource + "/" + namespace + "/" + name
	if o, ok := a.objects[key]; ok {
		delete(a.objects, key)
		a.version++
		a.tell(event{resource, a.version, "DELETED", o})
	}
}

func (a *API) tell(e event) {
	a.events = append(a.events, e)
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resource, query := path.Base(r.URL.Path), r.URL.Query()
	kind, known := kinds[resource]
	w.Header().Set("Content-Type", "application/json")
	switch {
	case !known:
		w.WriteHeader(http.StatusNotFound)
	case query.Get("sendInitialEvents") != "": // the client lists then
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(Object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422})
	case query.Get("watch") != "":
		from, _ := strconv.Atoi(query.Get("resourceVersion"))
		a.watch(w, r, resource, from)
	default:
		a.mu.Lock()
		defer a.mu.Unlock()
		items := []Object{}
		for key, o := range a.objects {
			if strings.HasPrefix(key, resource+"/") {
				items = append(items, o)
			}
		}
		_ = json.NewEncoder(w).Encode(Object{"kind": kind[1] + "List", "apiVersion": kind[0],
			"metadata": Object{"resourceVersion": strconv.Itoa(a.version)}, "items": items})
	}
}

func (a *API) watch(w http.ResponseWriter, r *http.Request, resource string, from int) {
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

// Namespace creates a namespace.
func (a *API) Namespace(name string) { a.Set("namespaces", "", name, Object{}) }

// Port is the only port of each Service.
var Port = []Object{{"name": "http", "protocol": "TCP", "port": 80}}

// Service creates a Service; headless if ip is empty.
func (a *API) Service(namespace, name, ip string) {
	if ip == "" {
		ip = "None"
	}
	a.Set("services", namespace, name, Object{"spec": Object{"type": "ClusterIP", "clusterIP": ip, "clusterIPs": []string{ip}, "ports": Port}})
}

// External creates a Service of type ExternalName.
func (a *API) External(namespace, name, target string) {
	a.Set("services", namespace, name, Object{"spec": Object{"type": "ExternalName", "externalName": target}})
}

// Pod is an endpoint. It may have no hostname.
type Pod struct {
	IP, Hostname string
	Ready        bool
}

// Endpoints sets those of a Service; with cluster, those that one cluster of a multicluster zone has.
func (a *API) Endpoints(namespace, service, cluster string, pods ...Pod) {
	var all []Object
	for _, p := range pods {
		e := Object{"addresses": []string{p.IP}, "conditions": Object{"ready": p.Ready}, "zone": "zone-a"}
		if p.Hostname != "" {
			e["hostname"] = p.Hostname
		}
		all = append(all, e)
	}
	o := Object{"service": service, "addressType": "IPv4", "ports": Port, "endpoints": all}
	if cluster != "" {
		o["cluster"] = cluster
	}
	a.Set("endpointslices", namespace, service+"-"+cluster, o)
}
