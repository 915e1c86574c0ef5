// SPDX-License-Identifier: Apache-2.0

// Package kubectl asks a cluster through the command kubectl, which knows how its user gets there.
package kubectl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// A Kubectl asks a cluster through the command of that name.
type Kubectl struct {
	Config  string // file that says how to reach the cluster; empty: the command's default
	Context string // name of the context in it; empty: the current one
}

// ErrNone says that the machine has no command of that name.
var ErrNone = errors.New("there is no kubectl in PATH")

// Get decodes what "kubectl get" prints; v stays as it is if there is nothing. When ctx is done, Get ends the command.
func (k Kubectl) Get(ctx context.Context, v any, args ...string) error {
	args = append([]string{"get", "--request-timeout=10s"}, args...)
	if k.Config != "" {
		args = append(args, "--kubeconfig", k.Config)
	}
	if k.Context != "" {
		args = append(args, "--context", k.Context)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second // for a plugin that has kubectl's output open
	switch err := cmd.Run(); {
	case errors.Is(err, exec.ErrNotFound):
		return ErrNone
	case ctx.Err() != nil:
		return errors.New("asking the cluster: it does not answer in time")
	case err != nil:
		return fmt.Errorf("asking the cluster: %w", said(stderr.String(), err))
	}
	if len(bytes.TrimSpace(stdout.Bytes())) == 0 {
		return nil
	}
	if err := json.Unmarshal(stdout.Bytes(), v); err != nil {
		return fmt.Errorf("reading what kubectl printed: %w", err)
	}
	return nil
}

// said returns the last line that kubectl printed, which is its error after warnings and retries. Without a line it returns the
// exit status.
func said(text string, err error) error {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return errors.New("kubectl: " + last)
	}
	return fmt.Errorf("kubectl: %w", err)
}
