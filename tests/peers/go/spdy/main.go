// A SPDY/3.1 peer for podwire's tests: moby/spdystream, which is what speaks SPDY in kubectl, the API server and every
// container runtime.
//
//	spdy serve               listens on loopback, prints its port; what a stream gets is in its header "mode"
//	spdy dial PORT SCENARIO  connects, plays a scenario of client.go, prints "ok" or what went wrong
//	spdy frames              reads connections as lines of hex, prints for each as JSON what the library makes of it
package main

import (
	"fmt"
	"os"
)

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "serve":
		fail(serve())
	case len(os.Args) == 2 && os.Args[1] == "frames":
		fail(frames())
	case len(os.Args) == 4 && os.Args[1] == "dial":
		fail(dial(os.Args[2], os.Args[3]))
		fmt.Println("ok")
	default:
		fmt.Fprintln(os.Stderr, "usage: spdy serve | dial PORT SCENARIO | frames")
		os.Exit(2)
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
