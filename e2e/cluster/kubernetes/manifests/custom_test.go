// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// custom is a resource that somebody else defines: the fields that we use, in the form in which Cilium's CRD
// (cilium.io_ciliumlocalredirectpolicies) and the Prometheus operator's (monitoring.coreos.com_servicemonitors) have them.
type custom struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
}

type localRedirectPolicy struct {
	custom `json:",inline"`
	Spec   struct {
		RedirectFrontend struct {
			ServiceMatcher struct {
				ServiceName string `json:"serviceName"`
				Namespace   string `json:"namespace"`
			} `json:"serviceMatcher"`
		} `json:"redirectFrontend"`
		RedirectBackend struct {
			LocalEndpointSelector metav1.LabelSelector `json:"localEndpointSelector"`
			ToPorts               []struct {
				Name     string `json:"name"`
				Port     string `json:"port"` // in quotes: the CRD has no numbers here
				Protocol string `json:"protocol"`
			} `json:"toPorts"`
		} `json:"redirectBackend"`
	} `json:"spec"`
}

func (p *localRedirectPolicy) DeepCopyObject() runtime.Object { c := *p; return &c }

type serviceMonitor struct {
	custom `json:",inline"`
	Spec   struct {
		Selector          metav1.LabelSelector `json:"selector"`
		NamespaceSelector struct {
			MatchNames []string `json:"matchNames"`
		} `json:"namespaceSelector"`
		JobLabel  string `json:"jobLabel"`
		Endpoints []struct {
			Port              string       `json:"port"`
			Path              string       `json:"path"`
			HonorLabels       bool         `json:"honorLabels"`
			Interval          string       `json:"interval"`
			ScrapeTimeout     string       `json:"scrapeTimeout"`
			Relabelings       []relabeling `json:"relabelings"`
			MetricRelabelings []relabeling `json:"metricRelabelings"`
		} `json:"endpoints"`
	} `json:"spec"`
}

type relabeling struct {
	SourceLabels []string `json:"sourceLabels"`
	TargetLabel  string   `json:"targetLabel"`
	Action       string   `json:"action"`
	Regex        string   `json:"regex"`
}

func (m *serviceMonitor) DeepCopyObject() runtime.Object { c := *m; return &c }

// decodeCustom decodes a custom resource strictly.
func decodeCustom(doc []byte) (runtime.Object, error) {
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &meta); err != nil {
		return nil, err
	}
	var object runtime.Object
	switch meta.APIVersion + " " + meta.Kind {
	case "cilium.io/v2 CiliumLocalRedirectPolicy":
		object = new(localRedirectPolicy)
	case "monitoring.coreos.com/v1 ServiceMonitor":
		object = new(serviceMonitor)
	case "monitoring.coreos.com/v1 PrometheusRule":
		object = new(prometheusRule)
	default:
		return nil, fmt.Errorf("no kind %s %s", meta.APIVersion, meta.Kind)
	}
	return object, yaml.UnmarshalStrict(doc, object)
}

type prometheusRule struct {
	custom `json:",inline"`
	Spec   struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Record      string            `json:"record"`
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	} `json:"spec"`
}

func (r *prometheusRule) DeepCopyObject() runtime.Object { c := *r; return &c }
