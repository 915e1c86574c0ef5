// SPDX-License-Identifier: Apache-2.0

package xtables

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/family"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet/steering"
	"github.com/nodelocaldns/nodelocaldns/internal/nft"
)

// ErrLocked says that another program held the xtables lock for too long; the change was not made and can be tried
// again.
var ErrLocked = errors.New("another program holds the xtables lock")

const (
	// lockWait is how long, in seconds, one iptables call waits for the lock: short, because the self-queries are of
	// the same goroutine.
	lockWait = 1
	// execTimeout ends an iptables call that hangs.
	execTimeout = 10 * time.Second
)

// xtables is one variant (the plain commands', -nft or -legacy) for one family.
//
// The whole change of a family is one `iptables-restore --noflush`: atomic a table, one process, one wait for the
// lock.
type xtables struct {
	fam     family.Family
	variant string // "", "-nft" or "-legacy"
}

func (x xtables) command(suffix string) string {
	return x.fam.String() + "tables" + x.variant + suffix // ip6tables-nft-save
}

// legacy reports whether the command is the one of the kernel's old interface.
func (x xtables) legacy() (bool, error) {
	out, err := x.run("", "", "--version")
	return !strings.Contains(out, "nf_tables"), err
}

// An UnreadableError names a table in which somebody has put a rule that only nft can express: iptables-save prints a
// comment then, and no rule, ours neither, and succeeds; iptables-restore adds what it is told.
type UnreadableError string

func (e UnreadableError) Error() string {
	return fmt.Sprintf("iptables cannot read table %s, as it has a rule that only nft knows: move that to a table of its own, or use nftables", string(e))
}

// save returns the two tables as iptables-save prints them; with an UnreadableError, what can be read.
func (x xtables) save() (string, error) {
	var saved strings.Builder
	var unreadable error
	for _, table := range []string{"raw", "filter"} {
		out, err := x.run("", "-save", "-t", table)
		if err != nil {
			return "", err
		}
		if strings.Contains(out, "' is incompatible, use 'nft' tool") {
			unreadable = fmt.Errorf("running %s: %w", x.command("-save"), UnreadableError(table))
			continue
		}
		saved.WriteString(out)
	}
	return saved.String(), unreadable
}

// read is save, but for a table that iptables cannot read and in which, says nf_tables itself, is no rule of ours or
// of the reference: there is nothing to read.
func (x xtables) read() (string, error) {
	saved, unreadable := x.save()
	if !errors.As(unreadable, new(UnreadableError)) {
		return saved, unreadable
	}
	for _, h := range steering.Hooks {
		if hasTable(saved, h.Table) {
			continue
		}
		for _, marker := range []string{steering.ChainPrefix, steering.CommentSkip, steering.CommentAllow} {
			rules, err := nft.Chain{Family: x.fam, Table: h.Table, Name: h.Builtin}.Rules(marker)
			if len(rules) > 0 || err != nil {
				return saved, errors.Join(unreadable, err)
			}
		}
	}
	return saved, nil
}

func (x xtables) restore(input string) error {
	if input == "" {
		return nil
	}
	_, err := x.run(input, "-restore", "--noflush", "-w", strconv.Itoa(lockWait))
	return err
}

// run runs the command with that suffix and returns its standard output.
func (x xtables) run(stdin, suffix string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), execTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, x.command(suffix), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	said := strings.Join(strings.Fields(stderr.String()), " ")
	if lacks := missingExtensions(said); len(lacks) > 0 {
		err = LackingError(fmt.Sprintf("the kernel lacks iptables' %s: load its modules, or use nftables", strings.Join(lacks, ", ")))
	} else if suffix == "-restore" && cmd.ProcessState.ExitCode() == resourceProblem && x.locks() {
		err = ErrLocked
	} else if said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return "", fmt.Errorf("running %s: %w", strings.Join(cmd.Args, " "), err)
}

// resourceProblem is the exit status RESOURCE_PROBLEM of include/xtables.h. A command of the kernel's old interface
// ends with it if another program holds the xtables lock, if it cannot open the lock's file (xtables_lock_or_exit of
// iptables/xshared.c), and for want of memory; iptables-legacy-restore 1.8.9 ends with 1 at a rule that the kernel
// refuses. An nft command has no lock, and ends with it at whatever nf_tables refuses (nft_action of iptables/nft.c).
// iptables-save takes no lock, in contrast to `iptables -S`.
const resourceProblem = 4

// locks reports whether x is of the old interface and can open the lock's file.
func (x xtables) locks() bool {
	if legacy, err := x.legacy(); err != nil || !legacy {
		return false
	}
	f, err := os.OpenFile(cmp.Or(os.Getenv("XTABLES_LOCKFILE"), "/run/xtables.lock"), os.O_CREATE|os.O_RDONLY, 0o600)
	if err == nil {
		_ = f.Close() // nothing was written
	}
	return err == nil
}

var missingExtension = regexp.MustCompile(`Extension (\S+) .*?missing kernel module`)

// A LackingError names what the kernel has no module for.
type LackingError string

func (e LackingError) Error() string { return string(e) }

// missingExtensions reads from what iptables says which of its extensions the kernel has no module for.
func missingExtensions(said string) (names []string) {
	for _, m := range missingExtension.FindAllStringSubmatch(said, -1) {
		if !slices.Contains(names, m[1]) {
			names = append(names, m[1])
		}
	}
	return names
}
