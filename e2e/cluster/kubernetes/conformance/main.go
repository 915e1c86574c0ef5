// SPDX-License-Identifier: Apache-2.0

// Command conformance runs the tests of Kubernetes' own e2e suite that are in test/e2e/network: those of DNS and of Services.
// Its flags are the suite's: -kubeconfig, -ginkgo.focus, -report-dir for the JUnit file, and others. The command ginkgo runs
// several of it at a time, and wants it to end in .test.
package main

import (
	"flag"
	"os"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"k8s.io/kubernetes/test/e2e/framework"
	"k8s.io/kubernetes/test/e2e/framework/config"
	"k8s.io/kubernetes/test/e2e/framework/testfiles"
	manifests "k8s.io/kubernetes/test/e2e/testing-manifests"

	_ "k8s.io/kubernetes/test/e2e/framework/debug/init"
	_ "k8s.io/kubernetes/test/e2e/framework/node/init"
	_ "k8s.io/kubernetes/test/e2e/network"
)

// failure is what the suite tells of a failed test. RunSpecs returns that as well.
type failure struct{}

// Fail does nothing.
func (failure) Fail() {}

func main() {
	testing.Init() // ginkgo sets flags of a test
	config.CopyFlags(config.Flags, flag.CommandLine)
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flag.Parse()
	testfiles.AddFileSource(manifests.GetE2ETestingManifestsFS())
	framework.AfterReadingAllFlags(&framework.TestContext)
	gomega.RegisterFailHandler(framework.Fail)
	suite, reporter := framework.CreateGinkgoConfig()
	if !ginkgo.RunSpecs(failure{}, "Kubernetes' network tests", suite, reporter) {
		os.Exit(1)
	}
}
