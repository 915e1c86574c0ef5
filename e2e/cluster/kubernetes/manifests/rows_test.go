// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// rows are the fields of rendered objects by what the object is for: "Service metrics | spec.clusterIP" and its value.
type rows map[string]string

const sep = " | "

// whole are fields that are one row each, with all that is in them.
var whole = regexp.MustCompile(`(Probe|updateStrategy|resources|securityContext|affinity|tolerations|lifecycle|selector|matchLabels|[rR]elabelings|resizePolicy)$`)

var domainFlag = regexp.MustCompile(`(?m)- -clusterdomain\n +- (\S+)`)

// rowsOf lists the fields of all objects in a text that helm template has printed.
func rowsOf(t *testing.T, text string) rows {
	t.Helper()
	r := rows{}
	if m := domainFlag.FindStringSubmatch(text); m != nil {
		text = strings.ReplaceAll(text, "__PILLAR__DNS__DOMAIN__", m[1])
	}
	for part := range strings.SplitSeq("\n"+text, "\n---\n") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(part), &o); err != nil {
			t.Fatalf("%v in\n%s", err, part)
		}
		if o == nil {
			continue
		}
		role := roleOf(o)
		delete(o, "apiVersion")
		delete(o, "kind")
		r[role] = ""
		r.add(role, "", o)
	}
	return r
}

// roleOf tells the objects of a kind apart, whatever their names are.
func roleOf(o map[string]any) string {
	kind := o["kind"].(string)
	name, _ := o["metadata"].(map[string]any)["name"].(string)
	spec, _ := o["spec"].(map[string]any)
	switch {
	case kind == "Service" && spec["clusterIP"] == "None":
		return "Service for metrics"
	case kind == "Service":
		return "Service upstream"
	case kind == "ConfigMap" && strings.HasSuffix(name, "-dashboard"):
		return "ConfigMap of the dashboard"
	}
	return kind
}

// add adds a field, or the fields that are in it.
func (r rows) add(object, path string, v any) {
	switch {
	case path == "spec.template.spec":
		r.add(object, "pod", v)
	case path == "data.Corefile":
		r.corefile(object, v.(string))
	case strings.HasSuffix(path, "-dashboard.json"):
		r[object+sep+"data"] = "a dashboard"
	case path == "spec.groups":
		r[object+sep+path] = "alerts"
	case strings.HasSuffix(path, ".args"):
		r.args(object, v.([]any))
	case strings.HasSuffix(path, "metadata.labels"):
		r.labels(object, path, v.(map[string]any))
	case whole.MatchString(path):
		r[object+sep+path] = flow(v)
	default:
		r.inside(object, path, v)
	}
}

// labels has one row for those that each object of the chart has.
func (r rows) labels(object, path string, labels map[string]any) {
	common := map[string]any{}
	for k, v := range labels {
		if strings.HasPrefix(k, "app.kubernetes.io/") || strings.HasPrefix(k, "helm.sh/") {
			common[k[strings.Index(k, "/")+1:]] = v
			continue
		}
		r[object+sep+path+"."+k] = flow(v)
	}
	// The chart's and the program's version differ in any case.
	delete(common, "chart")
	delete(common, "version")
	r[object+sep+path] = flow(common)
}

func (r rows) inside(object, path string, v any) {
	switch v := v.(type) {
	case nil: // as if it were not there
	case map[string]any:
		for k, field := range v {
			r.add(object, strings.TrimPrefix(path+"."+k, "."), field)
		}
	case []any:
		for i, item := range v {
			m, _ := item.(map[string]any)
			name, _ := m["name"].(string)
			switch {
			case name == "":
				r.add(object, fmt.Sprintf("%s[%d]", path, i), item)
			case len(v) == 1 && strings.HasSuffix(path, "containers"):
				r.add(object, "container", without(m, "name"))
			case strings.HasSuffix(path, "containers"), strings.HasSuffix(path, "endpoints"):
				r.add(object, path+"["+name+"]", without(m, "name"))
			default:
				r[object+sep+path+"["+name+"]"] = flow(without(m, "name"))
			}
		}
	default:
		r[object+sep+path] = flow(v)
	}
}

func without(m map[string]any, key string) map[string]any {
	m = maps.Clone(m)
	delete(m, key)
	return m
}

// flow prints a value in one line. A field that is null is as one that is not there.
func flow(v any) string {
	if m, ok := v.(map[string]any); ok {
		v = maps.Clone(m)
		maps.DeleteFunc(v.(map[string]any), func(_ string, field any) bool { return field == nil })
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // it came from JSON
	}
	return strings.NewReplacer(`"`, "", ",", ", ", ":", ": ").Replace(string(text))
}

// args has a row for each flag.
func (r rows) args(object string, args []any) {
	for i := 0; i < len(args); i++ {
		name, value, found := strings.Cut(args[i].(string), "=")
		switch {
		case found:
		case i+1 < len(args) && !strings.HasPrefix(args[i+1].(string), "-"):
			i++
			value = args[i].(string)
		default:
			value = "true"
		}
		r[object+sep+"args "+name] = value
	}
}

// corefile has a row for each plugin of a server block.
func (r rows) corefile(object, text string) {
	var zone, row string
	depth, first := 0, true
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		opens, closes := strings.HasSuffix(line, "{"), line == "}"
		line = strings.TrimSpace(strings.TrimSuffix(line, "{"))
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case closes:
			depth--
		case depth == 0:
			zone = strings.TrimSuffix(line, ":53")
			if zone != "." && !strings.HasSuffix(zone, ".arpa") && first {
				zone, r[object+sep+"zone of the cluster"] = "of the cluster", zone
			}
			first = false
			r[object+sep+"block "+zone] = ""
		case depth == 1:
			name, rest, _ := strings.Cut(line, " ")
			row = object + sep + "block " + zone + sep + name
			if before, found := r[row]; found {
				rest = before + "; " + rest
			}
			r[row] = rest
		default:
			r[row] = strings.TrimPrefix(r[row]+"; "+line, "; ")
		}
		if opens {
			depth++
		}
	}
}

// lines prints rows, sorted.
func (r rows) lines() (lines []string) {
	for _, k := range slices.Sorted(maps.Keys(r)) {
		lines = append(lines, strings.TrimRight(k+" = "+r[k], " ="))
	}
	return lines
}

// since lists what is new or has another value (+), and what has gone (-).
func (r rows) since(before rows) (lines []string) {
	for _, k := range slices.Sorted(maps.Keys(r)) {
		if v, found := before[k]; !found || v != r[k] {
			lines = append(lines, strings.TrimRight("+ "+k+" = "+r[k], " ="))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(before)) {
		if _, found := r[k]; !found && !r.lacksParent(k) {
			lines = append(lines, "- "+k)
		}
	}
	return lines
}

// lacksParent finds out whether the object, or the server block, of a row is not there either.
func (r rows) lacksParent(key string) bool {
	for {
		i := strings.LastIndex(key, sep)
		if i < 0 {
			return false
		}
		key = key[:i]
		if _, found := r[key]; !found {
			return true
		}
	}
}
