// SPDX-License-Identifier: Apache-2.0

package corefiles

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/corefiles/kubedns"
	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// fuzzParams makes parameters from the input of a fuzzer.
func fuzzParams(flags uint8, resolv, domain, server string) Params {
	p := params(resolvConf(resolv))
	if flags&1 != 0 {
		p.LocalIPs = addrs("fd00::a", "169.254.20.10")
		p.ClusterDNS = addrs("fd00::53")[0]
	}
	if flags&2 != 0 {
		stub(domain, server)(&p)
		stub("acme.example", "192.0.2.1")(&p)
	}
	if flags&4 != 0 {
		upstream("192.0.2.1", server)(&p)
	}
	if flags&8 != 0 {
		p.Stanza = Stanza{Addresses: addrs("169.254.20.10"), Options: option("link tun", "lease 1s")}
	}
	if flags&16 != 0 {
		p.ClusterDomain, p.PrometheusEndpoint, p.ResolvConf.Path = domain, server, "/"+resolv
	}
	if flags&32 != 0 && domain != "" {
		p.Stanza.Options = append(p.Stanza.Options, []string{"interface", domain})
	}
	return p
}

func FuzzRender(f *testing.F) {
	paths := []string{"kubernetes.corefile", "standalone.corefile",
		"testdata/reference-manifest.corefile", "testdata/reference-manifest-sed.corefile"}
	for i, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, uint8(4*i), "nameserver 192.0.2.1\nnameserver 169.254.20.10", "corp.example", "tls://192.0.2.2%x")
	}
	for i, text := range append(oddities,
		".:53 {\n nodelocal\n forward . __PILLAR__UPSTREAM__SERVERS__ { force_tcp\n force_tcp#x\n}\n#__PILLAR__LOCAL__DNS__\n}",
		"(s) { forward . __PILLAR__UPSTREAM__SERVERS__ {\nforce_tcp\n} }\na,\r\nb {\r\n\timport s\r\n}",
		"a\nlog#__PILLAR__LOCAL__DNS__ x\nhealth [__PILLAR__LOCAL__DNS__]:8080") {
		f.Add([]byte(text), uint8(i), "nameserver ::1", ".", "192.0.2.2")
	}
	f.Fuzz(func(t *testing.T, text []byte, flags uint8, resolv, domain, server string) {
		if all, err := blocks(text); all == nil && err == nil {
			flags &^= 2 // for stub domains, what the text imports is read
		}
		p := fuzzParams(flags, resolv, domain, server)
		template := Template{"f", text}
		got, err := Render(template, p)
		again, errAgain := Render(template, fuzzParams(flags, resolv, domain, server))
		if !reflect.DeepEqual(got, again) || errText(err) != errText(errAgain) {
			t.Fatalf("%q gives %q, %v\nand then %q, %v", text, got.Text, err, again.Text, errAgain)
		}
		if err != nil {
			return
		}
		checkTokens(t, got.Text)
		r, _ := render(template, p)
		checkSubstitution(t, text, r)
		checkEdits(t, r)
		checkBlocks(t, r, got.Text, len(p.KubeDNS.StubDomains))
		p.KubeDNS = kubedns.Config{}
		if again, err := Render(Template{"f", got.Text}, p); err != nil || !bytes.Equal(again.Text, got.Text) {
			t.Errorf("%q is rendered to %q, and that to %q, %v", text, got.Text, again.Text, err)
		}
	})
}

// checkTokens makes sure that text has no variable where CoreDNS reads, and is read by scan as by CoreDNS.
func checkTokens(t *testing.T, text []byte) {
	compareTokens(t, text)
	for _, tok := range lexed(text) {
		if words.Variable.MatchString(tok.Text) {
			t.Errorf("variable in %q of %q", tok.Text, text)
		}
	}
}

// checkSubstitution makes sure that nothing but variables of the template was replaced. With checkEdits it says
// that all other bytes are as they were, because apply keeps what is outside the edits.
func checkSubstitution(t *testing.T, template []byte, r rendering) {
	ordered(t, template, r.substitution.edits)
	for _, e := range r.substitution.edits {
		if name := string(template[e.start:e.end]); !words.Variable.MatchString(name) || strings.Contains(e.text, "\n") {
			t.Errorf("%q was replaced by %q", name, e.text)
		}
	}
}

var forceTCP = regexp.MustCompile(`^\s*("force_tcp"|f\r*o\r*r\r*c\r*e\r*_\r*t\r*c\r*p)[^\S\n]*(#.*)?\n?$`)

// checkEdits makes sure that nothing but force_tcp was removed, and only a stanza and stub domains were added.
func checkEdits(t *testing.T, r rendering) {
	ordered(t, r.text, r.edits)
	insertions := 0
	for _, e := range r.edits {
		switch gone := r.text[e.start:e.end]; {
		case len(gone) == 0 && (strings.Contains(e.text, "nodelocal") || e.start == len(r.text)):
			insertions++
		case !forceTCP.Match(gone) || e.text != "":
			t.Errorf("%q of %q was replaced by %q", gone, r.text, e.text)
		}
	}
	if insertions > 2 {
		t.Errorf("%d insertions into %q", insertions, r.text)
	}
}

func ordered(t *testing.T, text []byte, edits []edit) {
	pos := 0
	for _, e := range edits {
		if e.start < pos || e.end < e.start || e.end > len(text) {
			t.Errorf("edits %v of %q", edits, text)
		}
		pos = e.end
	}
}

// checkBlocks makes sure that CoreDNS sees the same blocks before and after the edits but for what was to change.
func checkBlocks(t *testing.T, r rendering, got []byte, stubs int) {
	before, err := blocks(r.text)
	if err != nil || before == nil {
		return
	}
	after, err := blocks(got)
	if err != nil || len(after) != len(before)+stubs {
		t.Fatalf("%q gives %q\nwhich has %d blocks, error %v", r.text, got, len(after), err)
	}
	inserted := 0
	for i, b := range before {
		a := after[i]
		if _, ok := b.Tokens["nodelocal"]; !ok && a.Tokens["nodelocal"] != nil {
			inserted++
			delete(a.Tokens, "nodelocal")
		}
		if len(r.upstream) > 0 {
			dropTCP(a)
			dropTCP(b)
		}
		if !slices.Equal(a.Keys, b.Keys) || !maps.EqualFunc(a.Tokens, b.Tokens, sameTexts) {
			t.Errorf("%q gives %q\nwith block %v\n  instead of %v", r.text, got, a, b)
		}
	}
	if inserted > 1 {
		t.Errorf("%q gives %q\nwith %d stanzas", r.text, got, inserted)
	}
}

// blocks returns what caddyfile parses, nil if text has something in it which lies outside the text.
func blocks(text []byte) ([]caddyfile.ServerBlock, error) {
	if bytes.Contains(text, []byte("{$")) || bytes.Contains(text, []byte("{%")) {
		return nil, nil
	}
	tokens := lexed(text)
	for i, tok := range tokens {
		if tok.Text == "import" && (i+1 == len(tokens) || strings.Trim(tokens[i+1].Text, "abcdefghijklmnopqrstuvwxyz") != "") {
			return nil, nil // it could be the name of any file
		}
	}
	return caddyfile.Parse("f", bytes.NewReader(text), nil)
}

// dropTCP drops force_tcp wherever it is: a snippet with a forward stanza can be imported into anything.
func dropTCP(b caddyfile.ServerBlock) {
	for name, tokens := range b.Tokens {
		b.Tokens[name] = slices.DeleteFunc(tokens, func(tok caddyfile.Token) bool { return tok.Text == "force_tcp" })
	}
}

func sameTexts(a, b []caddyfile.Token) bool {
	return slices.EqualFunc(a, b, func(a, b caddyfile.Token) bool { return a.Text == b.Text })
}

func FuzzParseKubeDNS(f *testing.F) {
	f.Add([]byte(`{"acme.example": ["192.0.2.1", "tls://[::1]:853"], "b.": ["fe80::1%eth0"]}`), []byte(`["192.0.2.1:53"]`))
	f.Add([]byte(`{"a": ["::1"], "\u0061": ["::2"]}`), []byte("null"))
	f.Add([]byte(`{"10.in-addr.arpa": ["dns://192.0.2.1%x"]} {}`), []byte(`["tls://192.0.2.1%dns.example"]`))
	f.Fuzz(func(t *testing.T, stubs, upstreams []byte) {
		k, err := kubedns.Parse(stubs, upstreams)
		if err != nil {
			if s := err.Error(); !strings.HasPrefix(s, kubedns.StubDomainsKey+":") && !strings.HasPrefix(s, kubedns.UpstreamsKey+":") {
				t.Errorf("error %q does not begin with a key", s)
			}
			return
		}
		checkRoundTrip(t, k)
		got, err := Render(Template{"f", []byte("nowhere.invalid:54 {\nforward . __PILLAR__UPSTREAM__SERVERS__\n}\n")},
			params(func(p *Params) { p.KubeDNS, p.LocalIPs = k, addrs("127.99.99.99") }))
		if err != nil {
			if !strings.Contains(err.Error(), "which would ask itself") {
				t.Errorf("%v: %v", k, err)
			}
			return
		}
		checkTokens(t, got.Text)
		parsed, err := caddyfile.Parse("f", bytes.NewReader(got.Text), nil)
		if err != nil || len(parsed) != 1+len(k.StubDomains) {
			t.Fatalf("%v gives %q, %v", k, got.Text, err)
		}
		for i, domain := range k.Domains() {
			forward := parsed[i+1].Tokens["forward"]
			args := slices.IndexFunc(forward, func(t caddyfile.Token) bool { return t.Text == "{" })
			if parsed[i+1].Keys[0] != words.Normal(domain)+":53" || args != 2+len(k.StubDomains[domain]) {
				t.Errorf("%q gives %v", domain, parsed[i+1])
			}
		}
	})
}

// checkRoundTrip makes sure that what was accepted is accepted again, with the same meaning.
func checkRoundTrip(t *testing.T, k kubedns.Config) {
	stubs, err := json.Marshal(k.StubDomains)
	if err != nil {
		t.Fatal(err)
	}
	upstreams, err := json.Marshal(k.UpstreamNameservers)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := kubedns.Parse(stubs, upstreams); err != nil || !reflect.DeepEqual(again, k) {
		t.Errorf("%v becomes %v, %v", k, again, err)
	}
}
