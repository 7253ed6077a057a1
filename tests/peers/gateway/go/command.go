package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

var commandCases = []testCase{
	{"LoopbackStdinToStdout", loopback},
	{"DifferentBufferSizes", differentBufferSizes},
	{"LoopbackStdinAsPipe", loopbackAsPipe},
	{"LoopbackStdinToStderr", loopbackToStderr},
	{"MultipleReadChannels", multipleReadChannels},
	{"MultipleWriteChannels", multipleWriteChannels},
	{"ErrorStream", errorStream},
	{"ProtocolVersions", protocolVersions},
	{"BadHandshake", badHandshake},
	{"HeartbeatSucceeds", heartbeatSucceeds},
	{"StreamRandomData", streamRandomData},
	{"ContextCancelled", contextCancelled},
	{"StdinUnread", stdinUnread},
}

type command struct {
	argv  []string
	pod   string
	tty   bool
	sizes remotecommand.TerminalSizeQueue
	stdin io.Reader
	// Where they go; nil where they are not asked for.
	stdout, stderr io.Writer
}

func (p *peer) url(pod, subresource string, query url.Values) *url.URL {
	u, _ := url.Parse(p.config.Host)
	u.Path = strings.TrimSuffix(u.Path, "/") + "/api/v1/namespaces/default/pods/" + pod + "/" + subresource
	u.RawQuery = query.Encode()
	return u
}

func (p *peer) executor(u *url.URL) (remotecommand.Executor, error) {
	spdy, err := remotecommand.NewSPDYExecutor(p.config, "POST", u)
	if err != nil || p.wire == "spdy" {
		return spdy, err
	}
	webSocket, err := remotecommand.NewWebSocketExecutor(p.config, "GET", u.String())
	if err != nil || p.wire == "websocket" {
		return webSocket, err
	}
	return remotecommand.NewFallbackExecutor(webSocket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
}

func (c command) query() url.Values {
	query := url.Values{"command": c.argv}
	for name, wanted := range map[string]bool{
		"stdin": c.stdin != nil, "stdout": c.stdout != nil, "stderr": c.stderr != nil, "tty": c.tty,
	} {
		if wanted {
			query.Set(name, "true")
		}
	}
	return query
}

func (c command) options() remotecommand.StreamOptions {
	return remotecommand.StreamOptions{
		Stdin: c.stdin, Stdout: c.stdout, Stderr: c.stderr, Tty: c.tty, TerminalSizeQueue: c.sizes,
	}
}

func (p *peer) run(ctx context.Context, c command) error {
	pod := c.pod
	if pod == "" {
		pod = "web"
	}
	executor, err := p.executor(p.url(pod, "exec", c.query()))
	if err != nil {
		return err
	}
	return executor.StreamWithContext(ctx, c.options())
}

func random(size int) []byte {
	data := make([]byte, size)
	rand.Read(data)
	return data
}

func same(what string, got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s: %d bytes, not the %d that were sent", what, len(got), len(want))
	}
	return nil
}

func loopback(p *peer) error {
	data := random(1 << 20)
	var out bytes.Buffer
	err := p.run(context.Background(), command{argv: []string{"cat"}, stdin: bytes.NewReader(data), stdout: &out})
	return errors.Join(err, same("stdout", out.Bytes(), data))
}

// chunks reads at most size bytes at once.
type chunks struct {
	from io.Reader
	size int
}

func (c chunks) Read(into []byte) (int, error) {
	return c.from.Read(into[:min(len(into), c.size)])
}

func differentBufferSizes(p *peer) error {
	for _, size := range []int{1 << 10, 4 << 10, 16 << 10, 64 << 10, 128 << 10} {
		data := random(512 << 10)
		var out bytes.Buffer
		err := p.run(context.Background(), command{
			argv: []string{"cat"}, stdin: chunks{bytes.NewReader(data), size}, stdout: &out,
		})
		if err := errors.Join(err, same("stdout", out.Bytes(), data)); err != nil {
			return fmt.Errorf("%d bytes at once: %w", size, err)
		}
	}
	return nil
}

func loopbackAsPipe(p *peer) error {
	data := random(64 << 10)
	reader, writer := io.Pipe()
	go func() {
		for part := range bytesIn(data, 8<<10) {
			writer.Write(part)
		}
		writer.Close()
	}()
	var out bytes.Buffer
	err := p.run(context.Background(), command{argv: []string{"cat"}, stdin: reader, stdout: &out})
	return errors.Join(err, same("stdout", out.Bytes(), data))
}

func bytesIn(data []byte, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(data) > 0 {
			n := min(size, len(data))
			if !yield(data[:n]) {
				return
			}
			data = data[n:]
		}
	}
}

func loopbackToStderr(p *peer) error {
	data := random(256 << 10)
	var out, err bytes.Buffer
	failure := p.run(context.Background(), command{
		argv: []string{"sh", "-c", "cat >&2"}, stdin: bytes.NewReader(data), stdout: &out, stderr: &err,
	})
	return errors.Join(failure, same("stderr", err.Bytes(), data), same("stdout", out.Bytes(), nil))
}

func multipleReadChannels(p *peer) error {
	data := random(300 << 10)
	var out, err bytes.Buffer
	failure := p.run(context.Background(), command{
		argv: []string{"tee", "/dev/stderr"}, stdin: bytes.NewReader(data), stdout: &out, stderr: &err,
	})
	return errors.Join(failure, same("stdout", out.Bytes(), data), same("stderr", err.Bytes(), data))
}

type oneSize struct{ sent sync.Once }

func (s *oneSize) Next() (size *remotecommand.TerminalSize) {
	s.sent.Do(func() { size = &remotecommand.TerminalSize{Width: 101, Height: 33} })
	return size
}

func multipleWriteChannels(p *peer) error {
	var out bytes.Buffer
	script := "while [ \"$(stty size)\" != '33 101' ]; do sleep 0.05; done; read line; echo \"got $line\""
	err := p.run(context.Background(), command{
		argv: []string{"sh", "-c", script}, tty: true, sizes: &oneSize{},
		stdin: strings.NewReader("words\n"), stdout: &out,
	})
	if err == nil && !strings.Contains(out.String(), "got words") {
		err = fmt.Errorf("the terminal shows %q", out.String())
	}
	return err
}

func errorStream(p *peer) error {
	for _, code := range []int{0, 1, 7, 137, 255} {
		err := p.run(context.Background(), command{
			argv: []string{"sh", "-c", fmt.Sprintf("exit %d", code)}, stdout: io.Discard, stderr: io.Discard,
		})
		var exit exec.CodeExitError
		if code == 0 && err != nil || code != 0 && (!errors.As(err, &exit) || exit.Code != code) {
			return fmt.Errorf("exit code %d became %v", code, err)
		}
	}
	err := p.run(context.Background(), command{argv: []string{"/no/such"}, stdout: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		return fmt.Errorf("a command that does not exist became %v", err)
	}
	return nil
}

// protocolVersions asks for each subprotocol of a WebSocket by itself. Before v5 there is no end of input.
func protocolVersions(p *peer) error {
	if p.wire == "spdy" {
		return nil // Its executor offers all of them; stream_translator_test.ts has each by itself.
	}
	for _, protocol := range []string{"v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"} {
		var out, errOut bytes.Buffer
		c := command{argv: []string{"sh", "-c", "echo out; echo err >&2"}, stdout: &out, stderr: &errOut}
		u := p.url("web", "exec", c.query())
		executor, err := remotecommand.NewWebSocketExecutorForProtocols(p.config, "GET", u.String(), protocol)
		if err == nil {
			err = executor.StreamWithContext(context.Background(), c.options())
		}
		if err != nil || out.String() != "out\n" || errOut.String() != "err\n" {
			return fmt.Errorf("%s: %v, %q, %q", protocol, err, out.String(), errOut.String())
		}
	}
	return nil
}

func badHandshake(p *peer) error {
	err := p.run(context.Background(), command{pod: "nobody", argv: []string{"ls"}, stdout: io.Discard})
	if err == nil || !strings.Contains(err.Error(), `"nobody" not found`) {
		return fmt.Errorf("a pod that does not exist became %v", err)
	}
	if p.wire == "websocket" && !httpstream.IsUpgradeFailure(err) {
		return fmt.Errorf("no upgrade failure, so nobody would fall back: %T", err)
	}
	return nil
}

// heartbeatSucceeds is silent for longer than the time between two Pings.
func heartbeatSucceeds(p *peer) error {
	var out bytes.Buffer
	err := p.run(context.Background(), command{argv: []string{"sh", "-c", "sleep 6; echo alive"}, stdout: &out})
	return errors.Join(err, same("stdout", out.Bytes(), []byte("alive\n")))
}

func streamRandomData(p *peer) error {
	data := random(8 << 20)
	var out bytes.Buffer
	err := p.run(context.Background(), command{argv: []string{"cat"}, stdin: bytes.NewReader(data), stdout: &out})
	return errors.Join(err, same("stdout", out.Bytes(), data))
}

func contextCancelled(p *peer) error {
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	go func() {
		io.ReadFull(reader, make([]byte, 6))
		cancel()
	}()
	err := p.run(ctx, command{argv: []string{"sh", "-c", "echo begun; exec sleep 60"}, stdout: writer})
	if !errors.Is(err, context.Canceled) {
		return fmt.Errorf("cancelled: %v", err)
	}
	return nil
}

// stdinUnread ends while most of its input has not been read.
func stdinUnread(p *peer) error {
	var out bytes.Buffer
	began := time.Now()
	err := p.run(context.Background(), command{
		argv: []string{"head", "-c", "5"}, stdin: bytes.NewReader(bytes.Repeat([]byte("x"), 8<<20)), stdout: &out,
	})
	if took := time.Since(began); took > 10*time.Second {
		return fmt.Errorf("took %v", took)
	}
	return errors.Join(err, same("stdout", out.Bytes(), []byte("xxxxx")))
}
