{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* corefile is the template of the manifests, with what the values change. Each change is a replacement of that text. */}}
{{- define "nodelocaldns.corefile" -}}
{{- $c := .Values.config -}}
{{- if $c.customConfig -}}
{{- tpl $c.customConfig . -}}
{{- else -}}
{{- $text := .Files.Get "files/kubernetes.corefile" -}}
{{- $head := list -}}
{{- if $c.enableLogging -}}{{- $head = append $head "    log\n" -}}{{- end -}}
{{- if $c.noIPv6Lookups -}}{{- $head = append $head (.Files.Get "files/no-aaaa.corefile") -}}{{- end -}}
{{- if $c.kernelHits -}}
{{- if eq (include "nodelocaldns.mode" .) "cilium" -}}{{- fail "config.kernelHits: not with mode cilium, whose pods have no access to the interfaces of others: remove it" -}}{{- end -}}
{{- $text = replace "    packetcache\n" "    packetcache {\n        kernel\n    }\n" $text -}}
{{- end -}}
{{- range $line := list "__PILLAR__DNS__DOMAIN__ {\n" "\n. {\n" -}}
{{- $text = replace $line (print $line (join "" $head)) $text -}}
{{- end -}}
{{- if not (kindIs "invalid" $c.prefetch.enabled) -}}
{{- $lines := ternary (printf "        prefetch %v %v %v\n" $c.prefetch.amount $c.prefetch.duration $c.prefetch.percentage) "" $c.prefetch.enabled -}}
{{- $text = regexReplaceAll "(?m)(^ *# The answer for a popular name .*\n)?^ *prefetch .*\n" $text $lines -}}
{{- end -}}
{{- if not (kindIs "invalid" $c.serveStale.enabled) -}}
{{- if not $c.serveStale.enabled -}}
{{- $text = regexReplaceAll "(?m)^ *serve_stale.*\n" $text "" -}}
{{- else if eq $c.serveStale.mode "verify" -}}
{{- $text = regexReplaceAll "serve_stale \\S+ verify" $text (printf "serve_stale %s verify" ($c.serveStale.duration | default "1h")) -}}
{{- else -}}
{{- $text = regexReplaceAll "serve_stale \\S+ verify.*" $text (printf "serve_stale %s %s" ($c.serveStale.duration | default "1h") $c.serveStale.mode) -}}
{{- end -}}
{{- end -}}
{{- if $c.cacheTTL -}}
{{- $parts := splitn "\nin-addr.arpa {" 2 $text -}}
{{- $text = print $parts._0 "\nin-addr.arpa {" (regexReplaceAll "(success \\S+) 30\n" $parts._1 (printf "${1} %d\n" (int $c.cacheTTL))) -}}
{{- end -}}
{{- if eq $c.commProtocol "prefer_udp" -}}
{{- $text = regexReplaceAll "(?s)hedge \\. __PILLAR__CLUSTER__DNS__ \\{.*?\n    \\}" $text "forward . __PILLAR__CLUSTER__DNS__ {\n        prefer_udp\n    }" -}}
{{- end -}}
{{- with $c.upstreamForwardConfig -}}
{{- $text = regexReplaceAll "(?s)forward \\. __PILLAR__UPSTREAM__SERVERS__ \\{.*?\n    \\}" $text (printf "forward . __PILLAR__UPSTREAM__SERVERS__ {\n        %s\n    }" (join "\n        " .)) -}}
{{- end -}}
{{- $text = replace "forward . __PILLAR__UPSTREAM__SERVERS__" (printf "forward . %s" $c.upstreamServers) $text -}}
{{- $text = replace "health __PILLAR__LOCAL__DNS__:8080" (printf "health __PILLAR__LOCAL__DNS__:%d" (int $c.healthPort)) $text -}}
{{- $text -}}
{{- $c.extraServerBlocks -}}
{{- end -}}
{{- end -}}
