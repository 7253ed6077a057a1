/** Expected bytes are those of Kubernetes' own servers and of recordings. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  Channel,
  ChannelCodec,
  ChannelProtocolError,
  encodeResize,
  exitCodeOf,
  exitCodeStatus,
  internalErrorStatus,
  parseStatus,
  RemoteCommandError,
  ResizeDecoder,
  SUCCESS,
} from "../../lib/channels/mod.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);
const flat = (parts: readonly (Uint8Array | string)[]) =>
  parts.map((part) => typeof part === "string" ? part : [...part]).flat();

Deno.test("ChannelCodec puts the channel id in front of raw bytes", () => {
  for (const protocol of ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"] as const) {
    const codec = new ChannelCodec(protocol);
    assertEquals(flat(codec.encode(Channel.STDIN, utf8("hi"))), [0, 104, 105]);
    assertEquals(codec.decode(new Uint8Array([2, 104])), { type: "data", channel: 2, data: utf8("h") });
    assertEquals(codec.decode("\u0001h"), { type: "data", channel: 1, data: utf8("h") });
    assertEquals(codec.decode(new Uint8Array()), undefined);
    assertEquals(codec.decode(new Uint8Array([1])), { type: "data", channel: 1, data: new Uint8Array() });
  }
});

Deno.test("ChannelCodec writes a digit and base64 on base64 subprotocols", () => {
  for (const protocol of ["v4.base64.channel.k8s.io", "base64.channel.k8s.io"] as const) {
    const codec = new ChannelCodec(protocol);
    assertEquals(codec.encode(Channel.STDOUT, new Uint8Array([0x90, 0x1f])), ["1kB8="]);
    assertEquals(codec.decode("1kB8="), { type: "data", channel: 1, data: new Uint8Array([0x90, 0x1f]) });
    assertEquals(codec.decode("1"), { type: "data", channel: 1, data: new Uint8Array() });
    assertThrows(() => codec.decode("x"), ChannelProtocolError, "channel digit");
    assertThrows(() => codec.decode("1*"), ChannelProtocolError, "not base64");
  }
});

Deno.test("ChannelCodec ends a channel with FF nn on v5, and cannot before", () => {
  const v5 = new ChannelCodec("v5.channel.k8s.io");
  assertEquals(flat(v5.encodeClose(Channel.STDIN)), [0xff, 0]);
  assertEquals(v5.decode(new Uint8Array([0xff, 1])), { type: "close", channel: 1 });
  for (const bad of [[0xff], [0xff, 0, 0], [0xff, 5]]) {
    assertThrows(() => v5.decode(new Uint8Array(bad)), ChannelProtocolError, "close signal");
  }
  const v4 = new ChannelCodec("v4.channel.k8s.io");
  assertThrows(() => v4.encodeClose(Channel.STDIN), ChannelProtocolError, "v4.channel.k8s.io");
  assertEquals(v4.decode(new Uint8Array([0xff, 0]))?.channel, 255);
});

Deno.test("exitCodeOf() reads what servers send", () => {
  const code = (raw: string) => exitCodeOf(parseStatus(raw));
  assertEquals(code('{"metadata":{},"status":"Success"}'), 0);
  assertEquals(
    code(
      '{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: command terminated with exit code 7","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}',
    ),
    7,
  );
  assertThrows(
    () =>
      code(
        '{"status":"Failure","message":"Internal error occurred: x","reason":"InternalError","details":{},"code":500}',
      ),
    RemoteCommandError,
    "Internal error occurred: x",
  );
});

Deno.test("exitCodeOf() and parseStatus() name what makes no sense, in client-go's words", () => {
  const cases: Array<[raw: string, text: string]> = [
    ["", "error stream protocol error: "],
    ["nonsense", "error stream protocol error: "],
    ['"x"', "error stream protocol error: "],
    ["{}", "unknown error"],
    ['{"status":"Maybe"}', "unknown error"],
    ['{"status":"Failure","reason":"NonZeroExitCode"}', "details must be set"],
    ['{"status":"Failure","reason":"NonZeroExitCode","details":{}}', "no ExitCode cause given"],
  ];
  for (const value of ["0", "256", "-1", "1.5", "x", ""]) {
    cases.push([
      JSON.stringify({
        status: "Failure",
        reason: "NonZeroExitCode",
        details: { causes: [{ reason: "ExitCode", message: value }] },
      }),
      `invalid exit code value "${value}"`,
    ]);
  }
  for (const [raw, text] of cases) {
    assertThrows(() => exitCodeOf(parseStatus(raw)), ChannelProtocolError, text, raw);
  }
});

Deno.test("statuses are written as Kubernetes' translator writes them", () => {
  assertEquals(JSON.stringify(SUCCESS), '{"metadata":{},"status":"Success"}');
  assertEquals(
    JSON.stringify(exitCodeStatus(7)),
    '{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: command terminated with exit code 7","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}',
  );
  assertEquals(
    JSON.stringify(internalErrorStatus("boom")),
    '{"metadata":{},"status":"Failure","message":"Internal error occurred: boom","reason":"InternalError","details":{"causes":[{"message":"boom"}]},"code":500}',
  );
});

Deno.test("encodeResize() writes client-go's JSON and a line feed", () => {
  assertEquals(new TextDecoder().decode(encodeResize({ columns: 80, rows: 24 })), '{"Width":80,"Height":24}\n');
});

Deno.test("ResizeDecoder reads split, joined and lower-case sizes and survives bad ones", () => {
  const decoder = new ResizeDecoder();
  assertEquals(decoder.decode(utf8('{"Width":80,"Hei')), []);
  assertEquals(decoder.decode(utf8('ght":24}\n{"width":1,"height":2}')), [{ columns: 80, rows: 24 }, {
    columns: 1,
    rows: 2,
  }]);
  assertEquals(decoder.decode(utf8('{"Width":-1,"Height":2}{"Width":"x"}{]}')), []);
  assertEquals(decoder.decode(utf8('xx{"Width":5,"Height":6}')), [{ columns: 5, rows: 6 }]);
  assertEquals(decoder.decode(utf8("x".repeat(5000))), []);
  assertEquals(decoder.decode(utf8('{"Width":3,"Height":4}')), [{ columns: 3, rows: 4 }]);
});
