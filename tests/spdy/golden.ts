/**
 * Frames as moby/spdystream, kubectl 1.28 and 1.36 and containerd 2.2.1 put them on the wire.
 *
 * @module
 */
import { hex } from "./harness.ts";

/** A recorded frame and what it says. */
export interface Golden {
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** As `FrameDecoder` gives it. */
  readonly frame: Readonly<Record<string, unknown>>;
}

const SYN_STREAM = (streamId: number, headers: Record<string, string>) => ({
  type: "syn_stream",
  streamId,
  headers,
  fin: false,
  unidirectional: false,
});

const SYN_REPLY = (streamId: number) => ({ type: "syn_reply", streamId, headers: {}, fin: false });

/** What the client sent, in order; the header blocks are one deflate stream. */
export const CLIENT: readonly Golden[] = [
  {
    name: "SYN_STREAM 1 {streamtype: error}",
    bytes: hex(
      "80030001 00000029 00000001 00000000 0000" +
        "78f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a6800000000ffff",
    ),
    frame: SYN_STREAM(1, { streamtype: "error" }),
  },
  {
    name: "SYN_STREAM 3 {streamtype: stdin}",
    bytes: hex("80030001 00000017 00000003 00000000 0000 c22e555c92929907000000ffff"),
    frame: SYN_STREAM(3, { streamtype: "stdin" }),
  },
  {
    name: "SYN_STREAM 5 {streamtype: stdout}",
    bytes: hex("80030001 00000019 00000005 00000000 0000 c22ac5565c92925f5a02000000ffff"),
    frame: SYN_STREAM(5, { streamtype: "stdout" }),
  },
  {
    name: "SYN_STREAM 7 {streamtype: stderr}",
    bytes: hex("80030001 00000015 00000007 00000000 0000 c229975a5404000000ffff"),
    frame: SYN_STREAM(7, { streamtype: "stderr" }),
  },
  {
    name: "SYN_STREAM 9 {streamtype: resize}",
    bytes: hex("80030001 00000018 00000009 00000000 0000 c22e57945a9c59950a000000ffff"),
    frame: SYN_STREAM(9, { streamtype: "resize" }),
  },
  {
    name: "DATA 3 hello",
    bytes: hex("00000003 00000005 68656c6c6f"),
    frame: { type: "data", streamId: 3, data: hex("68656c6c6f"), fin: false },
  },
  {
    name: "FIN 3",
    bytes: hex("00000003 01000000"),
    frame: { type: "data", streamId: 3, data: hex(""), fin: true },
  },
  { name: "PING 1", bytes: hex("80030006 00000004 00000001"), frame: { type: "ping", id: 1 } },
  {
    name: "RST_STREAM 5 CANCEL",
    bytes: hex("80030003 00000008 00000005 00000005"),
    frame: { type: "rst_stream", streamId: 5, status: 5 },
  },
  {
    name: "SYN_STREAM 11 {streamtype: data, port: 80, requestid: 0}",
    bytes: hex(
      "80030001 0000002e 0000000b 00000000 0000" +
        "02257f0c3950a19608a91f8a407989c9c280818181b308929a3241b98cd100000000ffff",
    ),
    frame: SYN_STREAM(11, { streamtype: "data", port: "80", requestid: "0" }),
  },
];

/** What the server sent, in order. */
export const SERVER: readonly Golden[] = [
  {
    name: "SYN_REPLY 1",
    bytes: hex("80030002 00000014 00000001 78f9e3c6a7c26260606000000000ffff"),
    frame: SYN_REPLY(1),
  },
  { name: "SYN_REPLY 3", bytes: hex("80030002 0000000c 00000003 026100000000ffff"), frame: SYN_REPLY(3) },
  { name: "SYN_REPLY 5", bytes: hex("80030002 0000000c 00000005 026100000000ffff"), frame: SYN_REPLY(5) },
  { name: "PING 1", bytes: hex("80030006 00000004 00000001"), frame: { type: "ping", id: 1 } },
  {
    name: "GOAWAY 11",
    bytes: hex("80030007 00000008 0000000b 00000000"),
    frame: { type: "goaway", lastStreamId: 11, status: 0 },
  },
];
