package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/moby/spdystream/spdy"
)

// meaning is what the library reads from a connection. Ended is false if a frame was refused.
type meaning struct {
	Frames []any  `json:"frames"`
	Ended  bool   `json:"ended"`
	Error  string `json:"error"`
}

func frames() error {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 64<<20)
	output := json.NewEncoder(os.Stdout)
	for input.Scan() {
		data, err := hex.DecodeString(input.Text())
		if err != nil {
			return err
		}
		if err := output.Encode(read(data)); err != nil {
			return err
		}
	}
	return input.Err()
}

func read(data []byte) meaning {
	result := meaning{Frames: []any{}}
	framer, err := spdy.NewFramer(io.Discard, bytes.NewReader(data))
	if err != nil {
		return meaning{Error: err.Error()}
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			// In front of, or in the middle of, a frame.
			result.Ended = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
			result.Error = err.Error()
			return result
		}
		result.Frames = append(result.Frames, describe(frame))
	}
}

func describe(frame spdy.Frame) any {
	switch f := frame.(type) {
	case *spdy.SynStreamFrame:
		return []any{"syn_stream", f.StreamId, f.CFHeader.Flags & 3, joined(f.Headers)}
	case *spdy.SynReplyFrame:
		return []any{"syn_reply", f.StreamId, f.CFHeader.Flags & 1, joined(f.Headers)}
	case *spdy.HeadersFrame:
		return []any{"headers", f.StreamId, f.CFHeader.Flags & 1, joined(f.Headers)}
	case *spdy.RstStreamFrame:
		return []any{"rst_stream", f.StreamId, f.Status}
	case *spdy.SettingsFrame:
		return []any{"settings", len(f.FlagIdValues)}
	case *spdy.PingFrame:
		return []any{"ping", f.Id}
	case *spdy.GoAwayFrame:
		return []any{"goaway", f.LastGoodStreamId, f.Status}
	case *spdy.WindowUpdateFrame:
		return []any{"window_update", f.StreamId, f.DeltaWindowSize & 0x7fffffff} // without the reserved bit
	case *spdy.DataFrame:
		return []any{"data", f.StreamId, f.Flags & 1, hex.EncodeToString(f.Data)}
	}
	return nil
}

// joined is the header as it is on the wire.
func joined(header http.Header) map[string]string {
	fields := map[string]string{}
	for name, values := range header {
		fields[strings.ToLower(name)] = strings.Join(values, "\x00")
	}
	return fields
}
