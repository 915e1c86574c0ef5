// SPDX-License-Identifier: Apache-2.0

package rendering

import (
	"errors"
	"testing"
)

func TestLocated(t *testing.T) {
	c := Corefile{Path: "Corefile", Text: []byte("a {\n    forward . 192.0.2.1\n}\n. {\n    forward . 192.0.2.1 force_tcp\n    prometheus 9253\n}\n")}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errors.New(`plugin/forward: failed to resolve "force_tcp": no such host`), `Corefile:5: plugin/forward: failed to resolve "force_tcp": no such host`},
		{errors.New("plugin/forward: no upstream"), "Corefile:2 or Corefile:5: plugin/forward: no upstream"},
		{errors.New("plugin/prometheus: address 9253: missing port in address"), "Corefile:6: plugin/prometheus: address 9253: missing port in address"},
		{errors.New("plugin/forward: Corefile:2 - Error during parsing: x"), "plugin/forward: Corefile:2 - Error during parsing: x"},
		{errors.New("plugin/cache: of no directive"), "plugin/cache: of no directive"},
		{errors.New("something else"), "something else"},
	} {
		if got := Located(tt.err, c); got.Error() != tt.want || !errors.Is(got, tt.err) {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	c.Text = []byte("a {")
	if err := errors.New("plugin/forward: no upstream"); Located(err, c) != err {
		t.Errorf("got %s", Located(err, c))
	}
}
