// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// inlineCommand is a command between backquotes: one of these programs with an argument.
	inlineCommand  = regexp.MustCompile("`((?:kubectl|curl|systemctl|helm|make|k3s|gcloud|nodelocaldns|bin/nodelocaldns|/var/lib/rancher/rke2/bin/ctr) [^`]+)`")
	commandComment = regexp.MustCompile(`\s+# .*$`)
	// noCommand is a line of a Corefile, a resolv.conf or a YAML file, or of the picture at the top of the README.
	noCommand  = regexp.MustCompile(`^(?:.*\{|\}|nameserver .*|fallback .*|bind .*|cache|forward .*|force_tcp|kubelet-arg:|- .*|pod .*|│ .*)$`)
	commandRow = regexp.MustCompile("(?m)^\\| `(.+)` \\| (.+) \\|$")
	testName   = regexp.MustCompile("`(Test\\w+)`")
	storyName  = regexp.MustCompile(`story (\w+)`)
)

// commandsOf are the commands of a document: the lines of its indented blocks, also of those in lists, and what is between backquotes.
func commandsOf(text string) (commands []string) {
	for paragraph := range strings.SplitSeq("\n"+text, "\n\n") {
		lines := strings.Split(strings.Trim(paragraph, "\n"), "\n")
		if slices.ContainsFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "    ") }) {
			for _, m := range inlineCommand.FindAllStringSubmatch(paragraph, -1) {
				commands = append(commands, m[1])
			}
			continue
		}
		for _, l := range lines {
			if l = commandComment.ReplaceAllString(strings.TrimSpace(l), ""); !noCommand.MatchString(l) {
				commands = append(commands, l)
			}
		}
	}
	return commands
}

// installDocuments are those whose commands are listed in docs/testing.md. README.zh-CN.md has the commands of README.md, which
// TestTranslation checks.
func installDocuments(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(repository + "docs/install/*.md")
	if err != nil || len(files) < 6 {
		t.Fatalf("%q, %v", files, err)
	}
	names := []string{"README.md"}
	for _, f := range files {
		names = append(names, strings.TrimPrefix(f, repository))
	}
	return names
}

// listedCommands are the rows of the table in docs/testing.md: commands, and what runs them or why nothing does.
func listedCommands(t *testing.T) map[string]string {
	t.Helper()
	_, section, found := strings.Cut(document(t, "docs/testing.md"), "\n## The commands of the README\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !found {
		t.Fatal("docs/testing.md has no list of commands")
	}
	rows := map[string]string{}
	for _, m := range commandRow.FindAllStringSubmatch(section, -1) {
		rows[strings.ReplaceAll(m[1], `\|`, "|")] = m[2]
	}
	return rows
}

// TestCommandsAreListed: each command of the README and of docs/install is run by a test that exists, or the list says why not.
func TestCommandsAreListed(t *testing.T) {
	listed, used := listedCommands(t), map[string]bool{}
	for _, name := range installDocuments(t) {
		for _, c := range commandsOf(document(t, name)) {
			if used[c] = true; listed[c] == "" {
				t.Errorf("%s: the list in docs/testing.md has no row for %s", name, c)
			}
		}
	}
	tests, stories := allTests(t), document(t, "e2e/cluster/stories_test.go")
	for c, by := range listed {
		if !used[c] {
			t.Errorf("the list in docs/testing.md has a command that no document has: %s", c)
		}
		named := testName.FindAllStringSubmatch(by, -1)
		for _, m := range named {
			if !tests[m[1]] {
				t.Errorf("%s: there is no %s", c, m[1])
			}
		}
		story := storyName.FindStringSubmatch(by)
		if story != nil && !strings.Contains(stories, `{"`+story[1]+`", `) {
			t.Errorf("%s: there is no story %s", c, story[1])
		}
		if !strings.HasPrefix(by, "not run: ") && named == nil && story == nil && !strings.HasPrefix(by, "`make ") {
			t.Errorf("%s: no test, and no reason: %s", c, by)
		}
		if strings.Contains(by, "`TestLocalCommands`") != (localCommands[c] != "") {
			t.Errorf("%s: the list and TestLocalCommands differ", c)
		}
	}
	if len(listed) < 30 {
		t.Errorf("%d commands", len(listed))
	}
}

// allTests are the names of all tests of the repository.
func allTests(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(repository, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// localCommands are the commands that need no cluster, each with a line of bash that succeeds if the command has done its work.
var localCommands = map[string]string{
	`grep -rl nodelocaldns:dev manifests | xargs sed -i 's|ghcr.io/nodelocaldns/nodelocaldns:dev|REGISTRY/nodelocaldns:dev|'`:        `! grep -rq ghcr.io/nodelocaldns/nodelocaldns:dev manifests && grep -q REGISTRY/nodelocaldns:dev manifests/base/daemonset.yaml`,
	`cp manifests/nodelocaldns.yaml nodelocaldns.yaml`:                                                                               `cmp manifests/nodelocaldns.yaml nodelocaldns.yaml`,
	`kubedns=$(kubectl get svc kube-dns -n kube-system -o jsonpath={.spec.clusterIP}); domain=cluster.local; localdns=169.254.20.10`: `[ "$kubedns $domain $localdns" = "10.96.0.10 cluster.local 169.254.20.10" ]`,
	`bin/nodelocaldns render manifests | kubectl apply -f -`:                                                                         `grep -q 169.254.20.10 applied.yaml`,
	`bin/nodelocaldns render manifests -mode iptables | kubectl apply -f -`:                                                          `grep -q 169.254.20.10 applied.yaml`,
	`bin/nodelocaldns render manifests -mode iptables -dnsserver 10.43.0.10 | kubectl apply -f -`:                                    `grep -q 10.43.0.10 applied.yaml`,
	`bin/nodelocaldns render manifests -mode nftables -dnsserver 10.96.0.10 -clusterdomain cluster.local > nodelocaldns.yaml`:        `grep -q 169.254.20.10,10.96.0.10 nodelocaldns.yaml`,
	`sed -i 's/^CLUSTER_DNS=.*/CLUSTER_DNS="--cluster-dns=169.254.20.10"/' /etc/kubernetes/kubelet`:                                  `diff etc/kubernetes/kubelet <(printf 'CLUSTER_DNS="--cluster-dns=169.254.20.10"\nMAX_PODS="--max-pods=61"\n')`,
}

// TestLocalCommands runs these commands in a copy of the manifests. kubectl stands for that of a cluster made by kubeadm: it answers
// questions, and what it should apply is written to a file. The kubelet's file is one of the test's.
func TestLocalCommands(t *testing.T) {
	cluster := fakeKubectl(t, "kubeadm") + "/kubectl"
	kubectl := "#!/bin/sh\ncase $1 in apply) exec cat >applied.yaml ;; esac\ncase \"$*\" in *jsonpath*) exec printf 10.96.0.10 ;; esac\nexec " + cluster + ` "$@"` + "\n"
	for command, check := range localCommands {
		t.Run(command, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir+"/manifests", os.DirFS(repository+"manifests")); err != nil {
				t.Fatal(err)
			}
			for path, content := range map[string]string{
				"kubectl": kubectl, "bin/nodelocaldns": "#!/bin/sh\nexec env " + asCommand + "=1 " + os.Args[0] + ` "$@"` + "\n",
				"etc/kubernetes/kubelet": "CLUSTER_DNS=\"--cluster-dns=172.16.252.5\"\nMAX_PODS=\"--max-pods=61\"\n",
			} {
				path = filepath.Join(dir, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("bash", "-c", "set -e -o pipefail\n"+strings.ReplaceAll(command, " /etc/", " etc/")+"\n"+check)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
