// Prints, a line each, the proxy that Go takes from the environment for the URLs given, "direct", or "error: ".
package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
)

func main() {
	for _, arg := range os.Args[1:] {
		target, err := url.Parse(arg)
		if err != nil {
			panic(err)
		}
		proxy, err := http.ProxyFromEnvironment(&http.Request{URL: target})
		switch {
		case err != nil:
			fmt.Println("error:", err)
		case proxy == nil:
			fmt.Println("direct")
		default:
			fmt.Println(proxy)
		}
	}
}
