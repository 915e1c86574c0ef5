// SPDX-License-Identifier: Apache-2.0

package corefiles

import "testing"

func TestBindLink(t *testing.T) {
	for template, want := range map[string]string{
		".:53 {\n nodelocal\n bind nodelocaldns\n}\n":                                    ".:53 {\n nodelocal\n bind 169.254.20.10 10.96.0.10\n}\n",
		".:53 {\n nodelocal\n bind lo nodelocaldns 10.96.0.10 # nodelocaldns\n}\n":       ".:53 {\n nodelocal\n bind lo 169.254.20.10 10.96.0.10 # nodelocaldns\n}\n",
		".:53 {\n nodelocal\n bind eth0 \"nodelocaldns\" {\n  except 127.0.0.1\n }\n}\n": ".:53 {\n nodelocal\n bind eth0 169.254.20.10 10.96.0.10 {\n  except 127.0.0.1\n }\n}\n",
		"(b) {\n bind nodelocaldns\n}\n.:53 {\n nodelocal\n import b\n}\n":               "(b) {\n bind 169.254.20.10 10.96.0.10\n}\n.:53 {\n nodelocal\n import b\n}\n",
		".:53 {\n nodelocal {\n  interface nodelocaldns\n }\n bind nodelocaldns2\n}\n":   ".:53 {\n nodelocal {\n  interface nodelocaldns\n }\n bind nodelocaldns2\n}\n",
	} {
		p := params(func(p *Params) { p.Link = "nodelocaldns" })
		if got, err := Render(Template{"f", []byte(template)}, p); err != nil || string(got.Text) != want {
			t.Errorf("%q: got %q, %v\nwant %q", template, got.Text, err, want)
		}
		p.Link = ""
		if got, err := Render(Template{"f", []byte(template)}, p); err != nil || string(got.Text) != template {
			t.Errorf("%q without a link: got %q, %v", template, got.Text, err)
		}
	}
}

// TestBindLinkForStubs has the stub domain bound to what the name of the link stands for.
func TestBindLinkForStubs(t *testing.T) {
	p := params(stub("acme.example", "192.0.2.1"), func(p *Params) { p.Link = "nodelocaldns" })
	got, err := Render(Template{"f", []byte(".:53 {\n nodelocal\n bind nodelocaldns\n}\n")}, p)
	golden(t, "stub-of-link", got.Text)
	if err != nil {
		t.Error(err)
	}
}
