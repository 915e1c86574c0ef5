// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

func configValid(t *testing.T) bool {
	t.Helper()
	var m dto.Metric
	if err := nodelocal.ConfigValid.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetGauge().GetValue() == 1
}

// TestValidity tells stories: "say X" is what the inputs say (- for a fault), "serve X" what serves, "refused" a start or
// reload that failed. The gauge is compared after each, and in the end what was kept.
func TestValidity(t *testing.T) {
	for name, tc := range map[string]struct{ story, gauge, kept string }{
		"start":                        {"say a, serve a, say a", "?11", "a a"},
		"reload":                       {"say a, serve a, say b, serve b", "?111", "a b"},
		"fault and mended":             {"say a, serve a, say -, say -, say a", "?1001", "a a"},
		"mended to another":            {"say a, serve a, say -, say b, serve b", "?1001", "a b"},
		"refused":                      {"say a, serve a, say b, refused, say b, say b, say a", "?110001", "a a"},
		"refused, mended to another":   {"say a, serve a, say b, refused, say c, serve c", "?11001", "a c"},
		"stand-in":                     {"say -, serve s, say -, say a, serve a", "00001", "a"},
		"stand-in that becomes valid":  {"say -, serve s, say s", "001", "s"},
		"start refused, then stand-in": {"say a, refused, serve s, say a, refused, say b, serve b", "?000001", "b"},
		"older than what inputs say":   {"say a, serve a, say b, serve c, say b, serve b", "?11001", "a b"},
	} {
		t.Run(name, func(t *testing.T) {
			var kept []string
			v := validity{keep: func(text []byte) { kept = append(kept, string(text)) }}
			for i, step := range strings.Split(tc.story, ", ") {
				do, text, _ := strings.Cut(step, " ")
				switch {
				case step == "say -":
					v.inputsSay(nil)
				case do == "say":
					v.inputsSay([]byte(text))
				case do == "serve":
					v.serves([]byte(text), []byte(text))
				default:
					countRefused()
				}
				if want := tc.gauge[i]; want != '?' && configValid(t) != (want == '1') {
					t.Errorf("after %q (%d): %t", step, i, configValid(t))
				}
			}
			if got := strings.Join(kept, " "); got != tc.kept {
				t.Errorf("kept %q, want %q", got, tc.kept)
			}
		})
	}
	nodelocal.ConfigValid.Set(1)
}

// TestValidityOfImports has a reload refused whose fault is in an imported file: the text stays the same.
func TestValidityOfImports(t *testing.T) {
	v := validity{}
	v.inputsSay([]byte("text, import 1"))
	v.serves([]byte("text"), []byte("text, import 1"))
	v.inputsSay([]byte("text, import 2"))
	countRefused()
	v.inputsSay([]byte("text, import 2"))
	if configValid(t) {
		t.Error("valid, while what serves is not what the inputs say")
	}
	v.inputsSay([]byte("text, import 1"))
	if !configValid(t) {
		t.Error("not valid, although the inputs say again what serves")
	}
}

// TestLifecycleTellsValidity has a reload that is refused, and one that is not.
func TestLifecycleTellsValidity(t *testing.T) {
	l, p := newLife(t)
	captureLogs(t)
	wants := func(name string) { l.validity.inputsSay(config(name).Body()) }
	wants("1")
	mustStart(t, l)
	if !configValid(t) {
		t.Error("not valid after the start")
	}
	p.do("startup bad", fail)
	wants("bad")
	if l.restart(config("bad")); configValid(t) {
		t.Error("valid after a reload that was refused")
	}
	wants("1")
	if !configValid(t) {
		t.Error("not valid although the inputs say again what runs")
	}
	wants("2")
	if l.restart(config("2")); !configValid(t) {
		t.Error("not valid after a reload")
	}
}
