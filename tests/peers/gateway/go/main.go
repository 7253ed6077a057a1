// client-go's executors and port-forwarders, with upstream's own cases (client-go tools/remotecommand and
// tools/portforward), against any server that has the pod "web": port 80 repeats what comes, nobody listens on port 81.
//
// usage: gateway-peer SERVER WIRE, where WIRE is websocket, spdy or fallback. Prints a line for each case: its name, a tab, and
// "ok" or what went wrong.
package main

import (
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/rest"
)

// peer is one server as one wire reaches it.
type peer struct {
	config *rest.Config
	wire   string
}

type testCase struct {
	name string
	run  func(*peer) error
}

// caseTimeout is more than any case takes: a session that hangs fails by itself.
const caseTimeout = 30 * time.Second

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gateway-peer SERVER WIRE")
		os.Exit(2)
	}
	p := &peer{config: &rest.Config{Host: os.Args[1], UserAgent: "gateway-peer"}, wire: os.Args[2]}
	for _, c := range append(commandCases, forwardCases...) {
		result := make(chan error, 1)
		go func() { result <- c.run(p) }()
		var err error
		select {
		case err = <-result:
		case <-time.After(caseTimeout):
			err = fmt.Errorf("still running after %v", caseTimeout)
		}
		if err == nil {
			fmt.Printf("%s\tok\n", c.name)
		} else {
			fmt.Printf("%s\t%q\n", c.name, err.Error())
		}
	}
}
