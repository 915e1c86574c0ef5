// SPDX-License-Identifier: Apache-2.0

package clusterdns

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// kubectl asks a cluster through the command of that name, which knows how its user gets there.
type kubectl struct {
	kubeconfig string
	context    string
}

// get decodes what "kubectl get" prints; v stays as it is if there is nothing.
func (k kubectl) get(v any, args ...string) error {
	args = append([]string{"get", "--request-timeout=10s"}, args...)
	if k.kubeconfig != "" {
		args = append(args, "--kubeconfig", k.kubeconfig)
	}
	if k.context != "" {
		args = append(args, "--context", k.context)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("kubectl", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	switch err := cmd.Run(); {
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("there is no kubectl in PATH")
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

// said prefers the last line that kubectl printed to its exit code: that is its error, after warnings and retries.
func said(text string, err error) error {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return errors.New("kubectl: " + last)
	}
	return fmt.Errorf("kubectl: %w", err)
}

// object is what of the API's objects is looked at here.
type object struct {
	Metadata struct{ Name string }
	Data     map[string]string // of a ConfigMap
	Spec     struct {          // of a Service
		ClusterIP  string
		ClusterIPs []string
	}
}

// list is what kubectl prints for several objects; for one it prints the object.
type list struct {
	Items []object
	object
}

// objects asks for objects of kube-system, and ignores those that do not exist.
func (k kubectl) objects(args ...string) ([]object, error) {
	var l list
	err := k.get(&l, append(args, "--namespace", "kube-system", "--ignore-not-found", "--output", "json")...)
	if l.Metadata.Name != "" {
		return []object{l.object}, err
	}
	return l.Items, err
}
