package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

var forwardCases = []testCase{
	{"GetPortsReturnsDynamicallyAssignedLocalPort", dynamicPort},
	{"HandleConnection", handleConnection},
	{"HandleConnectionMany", handleConnections},
	{"HandleConnectionSendsRemoteError", remoteError},
	{"ForwardPortsReturnsNilWhenStopChanIsClosed", stopped},
	{"ForwardPortsOfNobody", forwardOfNobody},
}

func (p *peer) dialer(pod string) (httpstream.Dialer, error) {
	u := p.url(pod, "portforward", nil)
	transport, upgrader, err := spdy.RoundTripperFor(p.config)
	if err != nil {
		return nil, err
	}
	plain := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, "POST", u)
	if p.wire == "spdy" {
		return plain, nil
	}
	tunnel, err := portforward.NewSPDYOverWebsocketDialerForStreaming(u, p.config)
	if err != nil || p.wire == "websocket" {
		return tunnel, err
	}
	return portforward.NewFallbackDialerForStreaming(tunnel, plain, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// forwarding is a port-forward that is up.
type forwarding struct {
	*portforward.PortForwarder
	stop  chan struct{}
	ended chan error
	log   *lockedBuffer
}

type lockedBuffer struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (b *lockedBuffer) Write(data []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(data)
}

func (p *peer) forward(pod string, ports ...string) (*forwarding, error) {
	dialer, err := p.dialer(pod)
	if err != nil {
		return nil, err
	}
	f := &forwarding{stop: make(chan struct{}), ended: make(chan error, 1), log: &lockedBuffer{}}
	ready := make(chan struct{})
	f.PortForwarder, err = portforward.NewOnAddressesForStreaming(
		dialer, []string{"127.0.0.1"}, ports, f.stop, ready, io.Discard, f.log)
	if err != nil {
		return nil, err
	}
	go func() { f.ended <- f.ForwardPorts() }()
	select {
	case <-ready:
		return f, nil
	case err := <-f.ended:
		return nil, fmt.Errorf("ended before it was ready: %w", err)
	}
}

// end stops it, and gives what ForwardPorts returned.
func (f *forwarding) end() error {
	close(f.stop)
	return <-f.ended
}

func (f *forwarding) dial(index int) (*net.TCPConn, error) {
	ports, err := f.GetPorts()
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[index].Local))
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// exchange sends data, ends its direction, and expects the same back.
func exchange(conn *net.TCPConn, data []byte) error {
	defer conn.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(data)
		sent <- errors.Join(err, conn.CloseWrite())
	}()
	got, err := io.ReadAll(conn)
	return errors.Join(err, <-sent, same("the answer", got, data))
}

func dynamicPort(p *peer) error {
	f, err := p.forward("web", "0:80")
	if err != nil {
		return err
	}
	ports, err := f.GetPorts()
	if err == nil && (len(ports) != 1 || ports[0].Local == 0 || ports[0].Remote != 80) {
		err = fmt.Errorf("ports %v", ports)
	}
	return errors.Join(err, f.end())
}

func handleConnection(p *peer) error {
	f, err := p.forward("web", "0:80")
	if err != nil {
		return err
	}
	for _, size := range []int{1, 1000, 4 << 20} {
		conn, err := f.dial(0)
		if err == nil {
			err = exchange(conn, random(size))
		}
		if err != nil {
			return fmt.Errorf("%d bytes: %w", size, err)
		}
	}
	return f.end()
}

func handleConnections(p *peer) error {
	f, err := p.forward("web", "0:80")
	if err != nil {
		return err
	}
	results := make(chan error)
	const count = 50
	for range count {
		go func() {
			conn, err := f.dial(0)
			if err == nil {
				err = exchange(conn, random(100_000))
			}
			results <- err
		}()
	}
	for range count {
		err = errors.Join(err, <-results)
	}
	return errors.Join(err, f.end())
}

// remoteError shows that a port that is refused ends client-go's whole port-forward, and what it says.
func remoteError(p *peer) error {
	f, err := p.forward("web", "0:81")
	if err != nil {
		return err
	}
	conn, err := f.dial(0)
	if err != nil {
		return err
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err == nil && len(got) > 0 {
		return fmt.Errorf("%d bytes from nobody", len(got))
	}
	select {
	case err := <-f.ended:
		if !errors.Is(err, portforward.ErrLostConnectionToPod) {
			return fmt.Errorf("ended with %v", err)
		}
		return nil
	case <-time.After(10 * time.Second):
		return errors.New("nobody told client-go that the port is refused")
	}
}

func stopped(p *peer) error {
	f, err := p.forward("web", "0:80")
	if err != nil {
		return err
	}
	conn, err := f.dial(0)
	if err != nil {
		return err
	}
	defer conn.Close()
	return f.end()
}

func forwardOfNobody(p *peer) error {
	_, err := p.forward("nobody", "0:80")
	if err == nil || !strings.Contains(err.Error(), `"nobody" not found`) {
		return fmt.Errorf("a pod that does not exist became %v", err)
	}
	return nil
}
