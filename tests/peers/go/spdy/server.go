package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/moby/spdystream"
)

func serve() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		socket, err := listener.Accept()
		if err != nil {
			return err
		}
		conn, err := spdystream.NewConnection(socket, true)
		if err != nil {
			return err
		}
		go func() {
			conn.Serve(func(stream *spdystream.Stream) { accept(conn, stream) })
			conn.Close()
			socket.Close() // Close alone waits without limit for streams that never end.
		}()
	}
}

// accept replies, as Kubernetes does, on the worker that handles the stream's frames: what comes before the reply is
// dropped, and the library takes it as sent only a moment after it is. The rest must not block a worker.
func accept(conn *spdystream.Connection, stream *spdystream.Stream) {
	switch stream.Headers().Get("mode") {
	case "refuse":
		stream.Refuse()
	case "silent":
	case "reply-fin":
		stream.SendReply(http.Header{}, true)
	case "headers": // gives back the headers, in the reply
		stream.SendReply(stream.Headers(), false)
		go stream.Close()
	default:
		stream.SendReply(http.Header{}, false)
		go handle(conn, stream)
	}
}

// handle does with a stream what its header "mode" says.
func handle(conn *spdystream.Connection, stream *spdystream.Stream) {
	switch stream.Headers().Get("mode") {
	case "echo":
		io.Copy(stream, stream)
		stream.Close()
	case "sum": // the checksum of what came, once it has ended
		sum := sha256.New()
		n, _ := io.Copy(sum, stream)
		fmt.Fprintf(stream, "%d %x", n, sum.Sum(nil))
		stream.Close()
	case "speak-first": // ends first, and says in another stream what came afterwards
		io.WriteString(stream, "hello")
		stream.Close()
		late, _ := io.ReadAll(stream)
		report, err := conn.CreateStream(http.Header{"late": {string(late)}}, nil, true)
		if err == nil {
			report.Wait()
		}
	case "reset": // in the middle of what it sends
		io.WriteString(stream, "half")
		stream.Reset()
	case "ping":
		for range 10 {
			if _, err := conn.Ping(); err != nil {
				return
			}
		}
		io.WriteString(stream, "10 pings")
		stream.Close()
	case "goaway":
		conn.Close()
	case "large": // a write is a frame, however large
		stream.Write(make([]byte, 5<<20))
		stream.Close()
	}
}
