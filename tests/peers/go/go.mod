module podwire.test/peers

go 1.26.0

require (
	github.com/gorilla/websocket v1.5.3
	github.com/moby/spdystream v0.5.1
	golang.org/x/net v0.62.0
)
