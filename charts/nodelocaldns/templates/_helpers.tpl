{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* Names and labels are those that the chart deliveryhero/node-local-dns gives, so that helm upgrade takes its release over. */}}
{{- define "nodelocaldns.name" -}}
{{- default "node-local-dns" .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "nodelocaldns.fullname" -}}
{{- $name := include "nodelocaldns.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "nodelocaldns.upstream" -}}
{{- .Values.config.customUpstreamsvc | default (printf "%s-upstream" (include "nodelocaldns.fullname" .)) -}}
{{- end -}}

{{- define "nodelocaldns.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "nodelocaldns.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "nodelocaldns.selectorLabels" -}}
app.kubernetes.io/name: {{ include "nodelocaldns.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "nodelocaldns.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "nodelocaldns.selectorLabels" . }}
k8s-app: node-local-dns
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* mode is "iptables", "ipvs", "auto" or "cilium". */}}
{{- define "nodelocaldns.mode" -}}
{{- $mode := .Values.mode | default (ternary "iptables" "cilium" .Values.config.setupIptables) -}}
{{- if not (has $mode (list "iptables" "ipvs" "auto" "cilium")) -}}
{{- fail (printf "mode %q: want iptables, ipvs, auto or cilium" $mode) -}}
{{- end -}}
{{- $mode -}}
{{- end -}}

{{/* localIP is the value of the flag -localip. */}}
{{- define "nodelocaldns.localIP" -}}
{{- $mode := include "nodelocaldns.mode" . -}}
{{- if eq $mode "auto" -}}auto
{{- else if eq $mode "cilium" -}}$(POD_IPS)
{{- else if eq $mode "ipvs" -}}{{ .Values.config.localDns }}
{{- else -}}{{ .Values.config.localDns }},{{ .Values.config.dnsServer | default "$(KUBE_DNS_SERVICE_HOST)" }}
{{- end -}}
{{- end -}}

{{/* reference is "true" if the values name the image of k8s-dns-node-cache, as a values file of another chart may. */}}
{{- define "nodelocaldns.reference" -}}
{{- if hasSuffix "k8s-dns-node-cache" .Values.image.repository -}}true{{- end -}}
{{- end -}}

{{- define "nodelocaldns.image" -}}
{{- if include "nodelocaldns.reference" . -}}
ghcr.io/nodelocaldns/nodelocaldns:{{ .Chart.AppVersion }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* strategy is the default updateStrategy. A program of the chart deliveryhero/node-local-dns must leave a node before this one comes: both
make the same link. So the upgrade that takes its release over is without surge. */}}
{{- define "nodelocaldns.strategy" -}}
{{- $live := lookup "apps/v1" "DaemonSet" "kube-system" (include "nodelocaldns.fullname" .) -}}
{{- if hasPrefix "node-local-dns-" (dig "spec" "template" "metadata" "labels" "helm.sh/chart" "" $live) -}}
{{- toYaml (dict "type" "RollingUpdate" "rollingUpdate" (dict "maxSurge" 0 "maxUnavailable" "10%")) -}}
{{- else -}}
{{- toYaml (dict "type" "RollingUpdate" "rollingUpdate" (dict "maxSurge" "10%" "maxUnavailable" 0)) -}}
{{- end -}}
{{- end -}}
