// SPDX-License-Identifier: Apache-2.0

// Package manifests checks the project's manifests with Kubernetes's own code: kustomize, the decoder that the API
// server uses in its strict mode, its defaults and its validation. No cluster is needed.
package manifests

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// root is the directory of the manifests.
const root = "../../../../manifests"

var strict = serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()

// find lists the files of that name below root, by their directories.
func find(t *testing.T, name string) (dirs []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Base(path) == name {
			var dir string
			if dir, err = filepath.Rel(root, filepath.Dir(path)); !strings.HasPrefix(dir, "components/") { // TestComponents has these
				dirs = append(dirs, dir)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// build is kubectl kustomize.
func build(t *testing.T, dir string) []runtime.Object {
	t.Helper()
	return decode(t, kustomize(t, filepath.Join(root, dir)))
}

func kustomize(t *testing.T, dir string) string {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// file decodes a file after it went through r.
func file(t *testing.T, name string, r *strings.Replacer) []runtime.Object {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, r.Replace(string(text)))
}

// decode decodes the objects of a file, and finds any field that their kinds do not have.
func decode(t *testing.T, text string) (objects []runtime.Object) {
	t.Helper()
	for part := range strings.SplitSeq("\n"+text, "\n---\n") {
		if strings.TrimSpace(part) == "" {
			continue // in front of the first line that separates, as Helm writes it
		}
		doc := []byte(part + "\n") // which belongs to a literal at the end
		object, _, err := strict.Decode(doc, nil, nil)
		if runtime.IsNotRegisteredError(err) {
			object, err = decodeCustom(doc)
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		objects = append(objects, object)
	}
	return objects
}

// of returns the objects of type T.
func of[T runtime.Object](objects []runtime.Object) (found []T) {
	for _, o := range objects {
		if t, ok := o.(T); ok {
			found = append(found, t)
		}
	}
	return found
}

// one returns the only object of type T.
func one[T runtime.Object](t *testing.T, objects []runtime.Object) T {
	t.Helper()
	found := of[T](objects)
	if len(found) != 1 {
		t.Fatalf("%d objects of type %T, want one", len(found), *new(T))
	}
	return found[0]
}
