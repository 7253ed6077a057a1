package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/moby/spdystream"
)

// How long anything may take; the tests have shorter limits where it matters.
const patience = 30 * time.Second

var scenarios = map[string]func(*spdystream.Connection) error{
	"echo":       func(conn *spdystream.Connection) error { return echo(conn, 64<<20) },
	"many":       many,
	"half-close": halfClose,
	"reset":      reset,
	"was-reset":  wasReset,
	"refused":    refused,
	"pings":      pings,
	"headers":    bigHeaders,
	"goaway":     goAway,
	"gone":       gone,
}

func dial(port, name string) error {
	scenario, ok := scenarios[name]
	if !ok {
		return fmt.Errorf("no scenario %q", name)
	}
	socket, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	defer socket.Close()
	conn, err := spdystream.NewConnection(socket, false)
	if err != nil {
		return err
	}
	go conn.Serve(spdystream.NoOpStreamHandler)
	if err := scenario(conn); err != nil {
		return err
	}
	// In order: an exit could cut the answer to a Ping in two. The other end may have gone, so errors say nothing.
	conn.Close()
	conn.Wait(patience)
	return nil
}

func open(conn *spdystream.Connection, mode string) (*spdystream.Stream, error) {
	stream, err := conn.CreateStream(http.Header{"mode": {mode}}, nil, false)
	if err != nil {
		return nil, err
	}
	return stream, stream.WaitTimeout(patience)
}

// echo sends random bytes, ends its direction, and compares what comes back.
func echo(conn *spdystream.Connection, size int64) error {
	stream, err := open(conn, "echo")
	if err != nil {
		return err
	}
	sent, received := sha256.New(), sha256.New()
	written := make(chan error, 1)
	go func() {
		_, err := io.CopyN(stream, io.TeeReader(rand.Reader, sent), size)
		written <- errors.Join(err, stream.Close())
	}()
	n, err := io.Copy(received, stream)
	if err := errors.Join(err, <-written); err != nil {
		return err
	}
	if n != size || !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		return fmt.Errorf("%d of %d bytes came back, or not the same", n, size)
	}
	return nil
}

func many(conn *spdystream.Connection) error {
	errs := make([]error, 200)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() { errs[i] = echo(conn, 100<<10) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// halfClose reads to the end first, and is heard afterwards.
func halfClose(conn *spdystream.Connection) error {
	stream, err := open(conn, "speak-first")
	if err != nil {
		return err
	}
	greeting, err := io.ReadAll(stream)
	if err != nil || string(greeting) != "hello" {
		return fmt.Errorf("read %q, %v", greeting, err)
	}
	if _, err := io.WriteString(stream, "after your end"); err != nil {
		return err
	}
	if err := stream.Close(); err != nil {
		return err
	}
	return expect(conn, "after your end")
}

// expect asks in a new stream for what the other end remembers.
func expect(conn *spdystream.Connection, remembered string) error {
	stream, err := open(conn, "remembered")
	if err != nil {
		return err
	}
	text, err := io.ReadAll(stream)
	if err != nil || string(text) != remembered {
		return fmt.Errorf("remembered %q instead of %q, %v", text, remembered, err)
	}
	return stream.Close()
}

func reset(conn *spdystream.Connection) error {
	stream, err := open(conn, "remember-end")
	if err != nil {
		return err
	}
	if _, err := stream.Write(make([]byte, 100_000)); err != nil {
		return err
	}
	if err := stream.Reset(); err != nil {
		return err
	}
	return errors.Join(expect(conn, "100000 StreamResetError 5"), echo(conn, 1<<20))
}

func wasReset(conn *spdystream.Connection) error {
	stream, err := open(conn, "reset")
	if err != nil {
		return err
	}
	// What came before a reset may be lost with it: the library's queue is dropped.
	if text, err := io.ReadAll(stream); err != nil || !strings.HasPrefix("half", string(text)) {
		return fmt.Errorf("read %q, %v", text, err)
	}
	if err := stream.Close(); err == nil {
		return errors.New("closing a stream that was reset is an error of the library")
	}
	return echo(conn, 1<<20)
}

func refused(conn *spdystream.Connection) error {
	for range 10 {
		if _, err := open(conn, "refuse"); !errors.Is(err, spdystream.ErrReset) {
			return fmt.Errorf("not refused: %v", err)
		}
	}
	return echo(conn, 1<<20)
}

func pings(conn *spdystream.Connection) error {
	for range 100 {
		if _, err := conn.Ping(); err != nil {
			return err
		}
	}
	return nil
}

// bigHeaders wants back, in the reply's stream, how long the values were.
func bigHeaders(conn *spdystream.Connection) error {
	for _, size := range []int{0, 1, 511, 512, 513, 100_000, 1 << 20} {
		value := make([]byte, size/2)
		rand.Read(value) // hardly compressible
		headers := http.Header{"mode": {"headers"}, "big": {fmt.Sprintf("%x", value)}, "two": {"a", "b"}}
		stream, err := conn.CreateStream(headers, nil, false)
		if err != nil {
			return err
		}
		if err := stream.WaitTimeout(patience); err != nil {
			return err
		}
		sum, err := io.ReadAll(stream)
		if want := fmt.Sprintf("%x a,b", sha256.Sum256([]byte(headers["big"][0]))); err != nil || string(sum) != want {
			return fmt.Errorf("%d bytes: %q instead of %q, %v", size, sum, want, err)
		}
		if err := stream.Close(); err != nil {
			return err
		}
	}
	return nil
}

// goAway ends the connection from here, with a stream open.
func goAway(conn *spdystream.Connection) error {
	stream, err := open(conn, "remember-end")
	if err != nil {
		return err
	}
	if _, err := io.WriteString(stream, "x"); err != nil {
		return err
	}
	if err := stream.Reset(); err != nil {
		return err
	}
	return conn.CloseWait()
}

// gone is left by the other end.
func gone(conn *spdystream.Connection) error {
	stream, err := open(conn, "goaway")
	if err != nil {
		return err
	}
	if text, err := io.ReadAll(stream); err != nil || len(text) > 0 {
		return fmt.Errorf("read %q, %v", text, err)
	}
	select {
	case <-conn.CloseChan():
		return nil
	case <-time.After(patience):
		return errors.New("the other end did not say that it goes")
	}
}
