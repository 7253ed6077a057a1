// A WebSocket peer for podwire's tests: gorilla/websocket or golang.org/x/net/websocket, as a server or as a client, that
// sends every message back.
//
//	websocket serve               listens on loopback, prints its port; /gorilla, /fragments and /xnet echo
//	websocket dial LIBRARY URL    connects and echoes until the server closes; prints how that ended
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"

	gorilla "github.com/gorilla/websocket"
	xnet "golang.org/x/net/websocket"
)

const maxMessage = 32 << 20

func main() {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		fail(serve())
		return
	}
	if len(os.Args) == 4 && os.Args[1] == "dial" {
		switch os.Args[2] {
		case "gorilla":
			fail(dialGorilla(os.Args[3]))
			return
		case "xnet":
			fail(dialXnet(os.Args[3]))
			return
		}
	}
	fmt.Fprintln(os.Stderr, "usage: websocket serve | dial gorilla URL | dial xnet URL")
	os.Exit(2)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	// Like the tunnel of Kubernetes: a small write buffer cuts larger messages into fragments.
	upgrader := gorilla.Upgrader{Subprotocols: []string{"v5.channel.k8s.io"}, WriteBufferSize: 4096}
	http.HandleFunc("/gorilla", func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		echoGorilla(conn, false)
	})
	http.HandleFunc("/fragments", func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		echoGorilla(conn, true)
	})
	http.Handle("/xnet", xnet.Server{
		Handshake: func(config *xnet.Config, _ *http.Request) error {
			config.Protocol = []string{"v5.channel.k8s.io"}
			return nil
		},
		Handler: func(conn *xnet.Conn) {
			defer conn.Close() // sends a Close frame, as Kubernetes' servers do
			echoXnet(conn)
		},
	})
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	return http.Serve(listener, nil)
}

// echoGorilla sends every message back, in fragments if asked for, and returns how the peer ended.
func echoGorilla(conn *gorilla.Conn, fragments bool) error {
	conn.SetReadLimit(maxMessage)
	for {
		kind, data, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		if fragments {
			// A Ping in front of each: the answers must not disturb the messages.
			if err := conn.WriteMessage(gorilla.PingMessage, []byte("ping")); err != nil {
				return err
			}
			writer, err := conn.NextWriter(kind)
			if err != nil {
				return err
			}
			if _, err := writer.Write(data); err != nil {
				return err
			}
			if err := writer.Close(); err != nil {
				return err
			}
			continue
		}
		prepared, err := gorilla.NewPreparedMessage(kind, data)
		if err != nil {
			return err
		}
		if err := conn.WritePreparedMessage(prepared); err != nil {
			return err
		}
	}
}

// message carries text and binary alike, and remembers which it was.
var message = xnet.Codec{
	Marshal: func(v any) ([]byte, byte, error) {
		m := v.(*frame)
		return m.data, m.kind, nil
	},
	Unmarshal: func(data []byte, kind byte, v any) error {
		*v.(*frame) = frame{data, kind}
		return nil
	},
}

type frame struct {
	data []byte
	kind byte
}

func echoXnet(conn *xnet.Conn) error {
	for {
		var m frame
		if err := message.Receive(conn, &m); err != nil {
			return err
		}
		if err := message.Send(conn, &m); err != nil {
			return err
		}
	}
}

func dialGorilla(url string) error {
	dialer := gorilla.Dialer{Subprotocols: []string{"v5.channel.k8s.io"}}
	conn, _, err := dialer.Dial(url, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Println(echoGorilla(conn, false))
	return nil
}

func dialXnet(url string) error {
	config, err := xnet.NewConfig(url, "http://127.0.0.1/")
	if err != nil {
		return err
	}
	config.Protocol = []string{"v5.channel.k8s.io"}
	conn, err := xnet.DialConfig(config)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Println(echoXnet(conn))
	return nil
}
