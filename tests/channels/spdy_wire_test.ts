/** Exec over SPDY/3.1 against a scripted server: what it says is what containerd and moby/spdystream say. */
import { assert, assertEquals, assertInstanceOf, assertLess, assertRejects, assertStringIncludes } from "@std/assert";
import { concat, type Duplex, duplexPair } from "../../lib/bytes/mod.ts";
import {
  ChannelProtocolError,
  DisconnectedError,
  openSpdyWire,
  RemoteCommandError,
  RemoteCommandSession,
  type RequestedStreams,
  StdinClosedError,
} from "../../lib/channels/mod.ts";
import { SpdyType } from "../captures/spdy_recording.ts";
import { dataFrame, goAwayFrame, type PeerTransport, pingFrame, resetFrame, SpdyPeer } from "./spdy_peer.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const SUCCESS = '{"metadata":{},"status":"Success"}';
const EXIT_7 =
  '{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: error executing ' +
  'command [sh -c exit 7], exit code 7","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}';
const OUTPUTS: RequestedStreams = { stdin: false, stdout: true, stderr: true, tty: false };
const ALL: RequestedStreams = { ...OUTPUTS, stdin: true };
const TERMINAL: RequestedStreams = { stdin: true, stdout: true, stderr: false, tty: true };
/** Ids of {@linkcode OUTPUTS}. */
const [ERROR, STDOUT, STDERR] = [1, 3, 5];

/** The far end of a pair as a transport, which ends when the client does. */
function transportOf(duplex: Duplex): PeerTransport {
  return {
    read: async () => {
      const buffer = new Uint8Array(64 * 1024);
      const n = await duplex.read(buffer).catch(() => null); // Closed by the client is an end too.
      if (n === null) await duplex.closeWrite();
      return n === null ? undefined : buffer.subarray(0, n);
    },
    write: (data) => duplex.write(data),
  };
}

interface Started {
  readonly session: RemoteCommandSession;
  readonly peer: SpdyPeer;
  readonly far: Duplex;
}

async function start(
  streams = OUTPUTS,
  options: { protocol?: string; closeTimeout?: number } = {},
): Promise<Started> {
  const [near, far] = duplexPair();
  const wire = await openSpdyWire(near, options.protocol ?? "v4.channel.k8s.io", streams);
  const { closeTimeout } = options;
  const session = new RemoteCommandSession(wire, { tty: streams.tty, ...(closeTimeout && { closeTimeout }) });
  return { session, far, peer: new SpdyPeer(transportOf(far)) };
}

const read = (session: RemoteCommandSession, name: "stdout" | "stderr" = "stdout") =>
  new Response(session[name].readable()).text();

Deno.test("SpdyWire opens its streams in Kubernetes' order, without waiting for answers", async () => {
  const cases: Array<[RequestedStreams, string, string[]]> = [
    [OUTPUTS, "v4.channel.k8s.io", ["error", "stdout", "stderr"]],
    [ALL, "v4.channel.k8s.io", ["error", "stdin", "stdout", "stderr"]],
    [ALL, "v5.channel.k8s.io", ["error", "stdin", "stdout", "stderr"]],
    [TERMINAL, "v4.channel.k8s.io", ["error", "stdin", "stdout", "resize"]],
    [{ ...TERMINAL, stderr: true }, "v3.channel.k8s.io", ["error", "stdin", "stdout", "resize"]],
    [TERMINAL, "v2.channel.k8s.io", ["error", "stdin", "stdout"]],
    [TERMINAL, "channel.k8s.io", ["error", "stdin", "stdout"]],
    [TERMINAL, "", ["error", "stdin", "stdout"]],
    [{ ...OUTPUTS, stdout: false }, "v4.channel.k8s.io", ["error", "stderr"]],
  ];
  for (const [streams, protocol, expected] of cases) {
    const { session, peer } = await start(streams, { protocol });
    const ids = await peer.opened(expected.length);
    session.abort(new Error("enough"));
    assertEquals(Object.entries(ids), expected.map((type, i) => [type, 2 * i + 1]));
    assertEquals((await peer.until(() => false)).length, expected.length, "nothing else is sent");
  }
});

Deno.test("openSpdyWire() refuses a protocol that is none of exec, and drops the connection", async () => {
  const [near, far] = duplexPair();
  await assertRejects(() => openSpdyWire(near, "portforward.k8s.io", OUTPUTS), ChannelProtocolError, "portforward");
  assertEquals(await far.read(new Uint8Array(1)), null);
});

Deno.test("SpdyWire: outputs, status, resets and GOAWAY, as containerd sends them, in pieces of any size", async () => {
  for (const size of [1, 3, 7, 64, 10_000]) {
    const { session, peer } = await start(ALL);
    await peer.opened(4);
    const bytes = concat([
      ...[5, 1, 7, 3].map((id) => peer.reply(id)),
      dataFrame(5, "out"),
      dataFrame(7, "err"),
      dataFrame(5, "put"),
      dataFrame(7, "", true),
      dataFrame(5, "", true),
      dataFrame(1, EXIT_7),
      resetFrame(1),
      resetFrame(3),
      goAwayFrame(7),
    ]);
    for (let at = 0; at < bytes.length; at += size) await peer.write(bytes.subarray(at, at + size));
    // The connection stays open: GOAWAY is the end.
    assertEquals([await read(session), await read(session, "stderr"), await session.exitCode], ["output", "err", 7]);
    await peer.until(() => false);
  }
});

Deno.test("SpdyWire reads every protocol's answers", async () => {
  const text = "command terminated with non-zero exit code: error executing command [sh], exit code 7";
  const cases: Array<[protocol: string, status: string, expected: unknown]> = [
    ["v4.channel.k8s.io", SUCCESS, 0],
    ["v4.channel.k8s.io", EXIT_7, 7],
    ["v4.channel.k8s.io", "", "DisconnectedError"],
    ["v4.channel.k8s.io", "{", "ChannelProtocolError"],
    ["v3.channel.k8s.io", "", 0],
    ["v3.channel.k8s.io", text, `error executing remote command: ${text}`],
    ["v2.channel.k8s.io", "", 0],
    ["v2.channel.k8s.io", text, `error executing remote command: ${text}`],
  ];
  for (const [protocol, status, expected] of cases) {
    const { session, peer } = await start(OUTPUTS, { protocol });
    await peer.accept(3);
    await peer.write(
      dataFrame(STDOUT, "out", true),
      dataFrame(STDERR, "", true),
      ...(status ? [dataFrame(ERROR, status)] : []),
      resetFrame(ERROR),
      goAwayFrame(5),
    );
    const outcome = await session.exitCode.catch((error) =>
      error instanceof RemoteCommandError ? error.message : error.name
    );
    assertEquals(outcome, expected, `${protocol} ${status}`);
    await peer.until(() => false);
  }
});

Deno.test("SpdyWire: v1 cannot say how a command ended, so nothing is taken for success", async () => {
  for (const text of ["", "command terminated with non-zero exit code"]) {
    const { session, peer } = await start(ALL, { protocol: "channel.k8s.io" });
    await peer.accept(4);
    // As recorded: right after the set-up the server resets the stream of the status and ends its half of stdin.
    await peer.write(dataFrame(3, "", true), resetFrame(1));
    await session.writeStdin(new TextEncoder().encode("line\n"));
    await peer.until((frames) => frames.some(({ data }) => data.length === 5));
    await peer.write(
      dataFrame(7, "", true),
      dataFrame(5, "line\n", true),
      ...(text ? [dataFrame(1, text)] : []),
      goAwayFrame(7),
    );
    await assertRejects(() => session.exitCode, DisconnectedError, "5 bytes received, 5 bytes sent");
    await peer.until(() => false);
  }
});

Deno.test("SpdyWire never takes an end without a status for success", async () => {
  const fins = [dataFrame(STDOUT, "half", true), dataFrame(STDERR, "", true)];
  const half = dataFrame(STDOUT, "half");
  const cases: Array<[what: string, protocol: string, frames: Uint8Array[], end: boolean, words: string]> = [
    ["GOAWAY", "v4.channel.k8s.io", [half, goAwayFrame(5)], false, "the peer ended the session"],
    ["the end of the connection", "v4.channel.k8s.io", [half], true, "ended"],
    ["the end after FINs", "v4.channel.k8s.io", fins, true, "ended"],
    ["FINs and a reset", "v4.channel.k8s.io", [...fins, resetFrame(ERROR), goAwayFrame(5)], false, "FIN"],
    ["half a frame", "v4.channel.k8s.io", [half.subarray(0, -1)], true, "within a frame"],
    ["half a status", "v4.channel.k8s.io", [...fins, dataFrame(ERROR, SUCCESS.slice(0, 20))], true, "ended"],
    ["a GOAWAY with an error", "v4.channel.k8s.io", [half, goAwayFrame(5, 2)], false, "status 2"],
    ["a frame that is none", "v4.channel.k8s.io", [half, Uint8Array.of(0x80, 3, 0, 5, 0, 0, 0, 0)], false, "type 5"],
    // What a server's idle timer does: resets for all. Before v4 nothing else tells it from success.
    ["resets", "v2.channel.k8s.io", [half, ...[1, 3, 5].map((id) => resetFrame(id)), goAwayFrame(5)], false, "RST"],
    ["the end", "v2.channel.k8s.io", fins, true, "ended"],
    ["GOAWAY", "v3.channel.k8s.io", [...fins, goAwayFrame(5)], false, "the peer ended the session"],
  ];
  for (const [what, protocol, frames, end, words] of cases) {
    const { session, peer, far } = await start(OUTPUTS, { protocol });
    await peer.accept(3);
    await peer.write(...frames);
    if (end) await far.closeWrite();
    const error = await session.exitCode.catch((error) => error);
    assertInstanceOf(error, DisconnectedError, `${protocol}: ${what} gave ${error}`);
    assertStringIncludes(error.message, words, what);
    await assertRejects(() => read(session), DisconnectedError);
    await peer.until(() => false);
  }
});

Deno.test("SpdyWire takes a whole status for an answer, however the session ends then", async () => {
  const ends: Array<[Uint8Array[], boolean]> = [
    [[resetFrame(ERROR), resetFrame(STDOUT), resetFrame(STDERR)], false], // A runtime that sends no FIN.
    [[goAwayFrame(5)], false],
    [[], true],
    [[dataFrame(STDERR, "", true), dataFrame(STDOUT, "", true), dataFrame(ERROR, "", true)], false],
  ];
  for (const [frames, end] of ends) {
    const { session, peer, far } = await start();
    await peer.accept(3);
    await peer.write(dataFrame(STDOUT, "out"), dataFrame(ERROR, SUCCESS), ...frames);
    if (end) await far.closeWrite();
    assertEquals([await read(session), await session.exitCode], ["out", 0]);
    await peer.until(() => false);
  }
});

Deno.test("SpdyWire gives up a server that does not end after the status, but no slow reader", async () => {
  const { session, peer } = await start(OUTPUTS, { closeTimeout: 20 });
  await peer.accept(3);
  const written = peer.write(
    dataFrame(STDOUT, new Uint8Array(300_000)),
    dataFrame(ERROR, SUCCESS),
    dataFrame(STDOUT, new Uint8Array(700_000)),
  );
  await new Promise((resolve) => setTimeout(resolve, 100)); // Five times as long as the server may take.
  const body = await new Response(session.stdout.readable()).bytes();
  assertEquals([body.length, await session.exitCode], [1_000_000, 0]);
  await written;
  await peer.until(() => false);
});

Deno.test("SpdyWire sends input when the server has accepted its stream, in frames of 32 KiB, and then FIN", async () => {
  const { session, peer } = await start(ALL);
  await peer.opened(4);
  const input = new Uint8Array(100_000).map((_, i) => i);
  const sent = session.writeStdin(input).then(() => session.closeStdin());
  await peer.write(pingFrame(2)); // Its answer leaves after whatever was sent before.
  const early = await peer.until((frames) => frames.some(({ type }) => type === SpdyType.PING));
  assertEquals(early.filter(({ type }) => type === 0), [], "nothing before the reply");
  await peer.write(...[1, 3, 5, 7].map((id) => peer.reply(id)));
  const frames = await peer.until((frames) => frames.some(({ fin }) => fin));
  await sent;
  const data = frames.filter(({ type }) => type === 0);
  assert(data.every(({ id, data }) => id === 3 && data.length <= 32 * 1024));
  assertEquals(concat(data.map(({ data }) => data)), input);
  assertEquals(data.map(({ fin }) => fin).indexOf(true), data.length - 1);
  assertEquals([session.bytesSent, session.inputStalledFor < 1000], [100_000, true]);
  await session.closeStdin(); // Again: nothing.
  await peer.write(dataFrame(5, "", true), dataFrame(7, "", true), dataFrame(1, SUCCESS), goAwayFrame(7));
  assertEquals(await session.exitCode, 0);
  await peer.until(() => false);
});

Deno.test("SpdyWire: a command that ends before its input ends the writing", async () => {
  const { session, peer } = await start(ALL);
  await peer.accept(4);
  await peer.write(
    dataFrame(5, "", true),
    dataFrame(7, "", true),
    dataFrame(1, SUCCESS),
    resetFrame(1),
    resetFrame(3),
    goAwayFrame(7),
  );
  assertEquals(await session.exitCode, 0);
  await assertRejects(() => session.writeStdin(new Uint8Array(10)), StdinClosedError);
  await peer.until(() => false);
});

Deno.test("SpdyWire: a server can end the input alone, and the session goes on", async () => {
  const { session, peer } = await start(ALL);
  const ids = await peer.accept(4);
  await peer.write(resetFrame(ids.stdin!), dataFrame(5, "still here"));
  const reader = session.stdout.readable().getReader();
  assertEquals(new TextDecoder().decode((await reader.read()).value), "still here");
  await assertRejects(() => session.writeStdin(new Uint8Array(10)), StdinClosedError);
  await session.closeStdin();
  await peer.write(dataFrame(5, "", true), dataFrame(7, "", true), dataFrame(1, EXIT_7), goAwayFrame(7));
  assertEquals([(await reader.read()).done, await session.exitCode], [true, 7]);
  await peer.until(() => false);
});

Deno.test("SpdyWire sends sizes to a terminal only, and only where there is a stream for them", async () => {
  for (
    const [streams, protocol] of [[TERMINAL, "v4.channel.k8s.io"], [TERMINAL, "v2.channel.k8s.io"], [ALL, ""]] as const
  ) {
    const { session, peer } = await start(streams, { protocol });
    const ids = await peer.accept(protocol === "v2.channel.k8s.io" ? 3 : 4);
    await session.resize({ columns: 80, rows: 24 });
    await session.closeStdin();
    const frames = await peer.until((frames) => frames.some(({ fin }) => fin));
    const sizes = frames.filter(({ type, fin }) => type === 0 && !fin);
    if ("resize" in ids) {
      assertEquals(sizes.map(({ id }) => id), [ids.resize!]);
      assertEquals(new TextDecoder().decode(sizes[0]!.data), '{"Width":80,"Height":24}\n');
    } else assertEquals(sizes, []);
    session.abort(new Error("enough"));
    await assertRejects(() => session.exitCode, Error, "enough");
  }
});

Deno.test("SpdyWire stops reading while the reader of an output does", async () => {
  const { session, peer } = await start();
  await peer.accept(3);
  let taken = 0;
  const total = 20 * 1024 * 1024;
  const writing = (async () => {
    for (; taken < total; taken += 32 * 1024) await peer.write(dataFrame(STDOUT, new Uint8Array(32 * 1024)));
    await peer.write(
      dataFrame(STDOUT, "", true),
      dataFrame(STDERR, "", true),
      dataFrame(ERROR, SUCCESS),
      goAwayFrame(5),
    );
  })();
  // It has stopped when nothing has moved for a while.
  for (let before = -1; before !== taken;) {
    before = taken;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assertLess(taken, 1.5 * 1024 * 1024);
  let received = 0;
  for await (const chunk of session.stdout.readable()) received += chunk.length;
  assertEquals([received, await session.exitCode], [total, 0]);
  await writing;
  await peer.until(() => false);
});

Deno.test("SpdyWire fails when the server refuses one of its streams", async () => {
  const { session, peer } = await start();
  await peer.opened(3);
  await peer.write(peer.reply(ERROR), resetFrame(STDOUT, 3), peer.reply(STDERR));
  await assertRejects(() => session.exitCode, DisconnectedError, "was refused by the server (status 3)");
  await peer.until(() => false);
});

Deno.test("SpdyWire is not led astray by a server that says what it should not", async () => {
  const { session, peer } = await start(ALL);
  const ids = await peer.accept(4);
  const noise = new Uint8Array(1024 * 1024);
  const block = Uint8Array.fromHex("026100000000ffff");
  const synStream = concat([Uint8Array.fromHex("80030001000000120000000200000000" + "0000"), block]);
  await peer.write(
    dataFrame(ids.stdin!, noise), // Output on the input.
    dataFrame(99, noise), // A stream that nobody opened.
    resetFrame(97),
    synStream, // A stream of the server's.
    peer.reply(ids.stdout!), // A second reply.
    dataFrame(ids.stdout!, "out", true),
    dataFrame(ids.stdout!, "behind its end"),
    dataFrame(ids.stderr!, "", true),
    dataFrame(ids.error!, SUCCESS),
  );
  const frames = await peer.until((frames) => frames.some(({ type }) => type === SpdyType.RST_STREAM));
  const refused = frames.find(({ type }) => type === SpdyType.RST_STREAM);
  assertEquals([refused?.id, refused?.status], [2, 3]);
  await peer.write(goAwayFrame(7));
  assertEquals([await read(session), await session.exitCode], ["out", 0]);
  await peer.until(() => false);
});

Deno.test("SpdyWire refuses a status without end", async () => {
  const { session, peer } = await start();
  await peer.accept(3);
  const writing = peer.write(dataFrame(ERROR, new Uint8Array(2 * 1024 * 1024).fill(0x20))).catch(() => {});
  await assertRejects(() => session.exitCode, ChannelProtocolError, "bytes of status");
  await writing;
});

Deno.test("RemoteCommandSession.abort() over SPDY rejects with its reason and drops the connection", async () => {
  const { session, peer, far } = await start(ALL);
  await peer.accept(4);
  const reason = new Error("enough");
  const writing = assertRejects(() => session.writeStdin(new Uint8Array(2_000_000)), Error, "enough");
  session.abort(reason);
  assertEquals(await session.exitCode.catch((error) => error), reason);
  await assertRejects(() => read(session), Error, "enough");
  await writing;
  await peer.until(() => false);
  assertEquals(await far.read(new Uint8Array(1)), null);
});
