// Command kube is a whole Kubernetes in one program: etcd, the control plane, the node agents and kubectl.
// Like busybox it is what it is called as: every name in the table below is a symbolic link to it.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	programs := map[string]func(){
		"etcd":                    func() { etcdmain.Main(os.Args) },
		"kube-apiserver":          func() { serve(apiserver.NewAPIServerCommand()) },
		"kube-controller-manager": func() { serve(controllers.NewControllerManagerCommand()) },
		"kube-scheduler":          func() { serve(scheduler.NewSchedulerCommand()) },
		"kubelet":                 func() { serve(kubelet.NewKubeletCommand(context.Background())) },
		"kube-proxy":              func() { serve(proxy.NewProxyCommand()) },
		"kubectl":                 runKubectl,
	}
	name := filepath.Base(os.Args[0])
	program, known := programs[name]
	if !known {
		fmt.Fprintf(os.Stderr, "%s: call this program through one of its symbolic links, such as kubectl\n", name)
		os.Exit(2)
	}
	program()
}

func serve(command *cobra.Command) {
	os.Exit(cli.Run(command))
}

// runKubectl keeps to the order of cmd/kubectl of Kubernetes, so that messages, logs and exit codes are kubectl's own.
func runKubectl() {
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
