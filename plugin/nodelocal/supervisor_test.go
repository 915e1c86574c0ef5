// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"
	"testing"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

func TestStart(t *testing.T) {
	play(t, `
		0s open: [10.0.0.1 10.0.0.2]
		2s apply: steer [10.0.0.2]
		`, func(b *bench) {
		b.verdicts[one], b.verdicts[two] = failed, failed
		b.must(b.n.start(both))
		b.pass(2 * time.Second)
		b.hear(two, answered)
		b.pass(2 * time.Second)
		b.hear(one, answered)
		b.pass(5 * time.Second)
	})
}

func TestDeaf(t *testing.T) {
	play(t, `x`, func(b *bench) {
		b.serve(both)
		b.hear(one, failed)
		b.pass(6 * time.Second)
		b.hear(one, answered)
		b.pass(6 * time.Second)
	})
}

func TestHang(t *testing.T) {
	play(t, `x`, func(b *bench) {
		b.serve(both)
		b.do(func() { time.Sleep(5 * time.Second) })
		b.pass(6 * time.Second)
	})
}

func TestLocked(t *testing.T) {
	play(t, `x`, func(b *bench) {
		b.serve(both)
		b.fail("apply", hostnet.ErrLocked, 8*time.Second)
		b.hear(one, failed)
		b.pass(6 * time.Second)
		b.hear(one, answered)
		b.pass(6 * time.Second)
	})
}

func TestErr(t *testing.T) {
	_ = errors.New("")
}
