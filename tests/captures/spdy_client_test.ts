/** The recorded servers of exec and attach over SPDY against our client: it must understand them, and say what kubectl said. */
import { assert, assertEquals, assertInstanceOf, assertMatch, assertStringIncludes } from "@std/assert";
import { DisconnectedError } from "../../lib/channels/mod.ts";
import { type RemoteProcess, UpgradeError } from "../../lib/client/mod.ts";
import { type RawConnection, withRawServer } from "../client/raw_server.ts";
import {
  bytesOf,
  concat,
  headerSet,
  headerValue,
  type HttpHead,
  loadRecording,
  parseHead,
  type RecordedLine,
  type Recording,
  recordingNames,
} from "./recording.ts";
import { forEach, headLength, isTrue, latin1, readQuery, readSizes, replay } from "./replay.ts";
import { parseSpdy, readTalk, type SpdyFrame, type SpdyTalk, SpdyType } from "./spdy_recording.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Recordings whose client said what podwire never says, and why; as in client_test.ts. */
const UNLIKE_US: Record<string, string> = {
  "exec-interrupt-spdy-default": "kubectl was killed; here the test ends the session",
  ...forEach(
    ["spdy-early-default", "spdy-v1-default", "spdy-v2-default", "spdy-v3-default", "spdy-v4-default"],
    "input before the server has accepted its stream",
  ),
  "spdy-extra-default": "more streams than were announced",
  "spdy-goaway-default": "the client gave up; podwire drops the connection then",
  "spdy-headers-default": "a HEADERS frame",
};

/** Recordings that cannot be played to podwire, and why. */
const UNPLAYABLE: Record<string, string> = {
  "spdy-evenid-default": "its streams have even numbers, and podwire's odd ones",
  ...forEach(
    ["err-noupgrade-spdy-default", "err-pf-version-spdy-default"],
    "no request for exec over SPDY",
  ),
};

interface Recorded {
  readonly name: string;
  readonly kubectl: boolean;
  readonly info: Recording["info"];
  readonly lines: readonly RecordedLine[];
  /** Of a fallback: what came before. */
  readonly refused: readonly RecordedLine[] | undefined;
  readonly request: HttpHead;
  readonly response: HttpHead;
  readonly accepted: boolean;
  /** Of a refusal. */
  readonly body: string;
  readonly protocol: string;
  readonly client: readonly SpdyFrame[];
  readonly talk: { readonly client: SpdyTalk; readonly server: SpdyTalk };
  /** Stream numbers by type. */
  readonly streams: Readonly<Record<string, number>>;
}

function readRecording({ name, info, connections }: Recording): Recorded {
  const lines = connections.at(-1)!;
  const client = parseHead(bytesOf(lines, "client"));
  const server = parseHead(bytesOf(lines, "server"));
  assert(client && server, `${name} has no whole heads`);
  const accepted = server.head.startLine.includes(" 101 ");
  const frames = (rest: Uint8Array) => accepted ? parseSpdy(rest) : [];
  const opened = frames(client.rest).filter(({ type }) => type === SpdyType.SYN_STREAM);
  return {
    name,
    kubectl: info.client.startsWith("kubectl"),
    info,
    lines,
    refused: connections.length > 1 ? connections[0] : undefined,
    request: client.head,
    response: server.head,
    accepted,
    body: accepted ? "" : new TextDecoder().decode(server.rest),
    protocol: headerValue(server.head, "x-stream-protocol-version") ?? "",
    client: frames(client.rest),
    talk: { client: readTalk(frames(client.rest)), server: readTalk(frames(server.rest)) },
    streams: Object.fromEntries(opened.toReversed().map(({ id, headers }) => [headers.streamtype, id])),
  };
}

/** Whether one side has said as much as another: streams, bytes and ends. */
function covers(actual: SpdyTalk, expected: SpdyTalk): boolean {
  return Object.entries(expected.streams).every(([id, { data, ended }]) => {
    const said = actual.streams[Number(id)];
    return said !== undefined && said.data.length >= data.length && (said.ended || !ended);
  });
}

/** Plays the server: holds back what came after bytes of the client until it has said as much. */
async function play(
  recorded: Recorded,
  connection: RawConnection,
): Promise<{ request: HttpHead; frames: SpdyFrame[] }> {
  const { lines } = recorded;
  const patient = !(recorded.name in UNLIKE_US);
  const request = await connection.head();
  const received: Uint8Array[] = [];
  let arrived = Promise.withResolvers<void>();
  let ended = false;
  const reading = (async () => {
    for (let bytes; (bytes = await connection.read().catch(() => undefined));) {
      received.push(bytes);
      arrived.resolve();
      arrived = Promise.withResolvers();
    }
    ended = true;
    arrived.resolve();
  })();
  const deadline = setTimeout(() => connection.close(), 10_000); // Where our client does not say what was recorded.
  const head = { client: headLength(lines, "client"), server: 0 };
  const said: Uint8Array[] = [];
  for (const line of lines) {
    const bytes = line.bytes.subarray(Math.min(head[line.side], line.bytes.length));
    head[line.side] -= line.bytes.length - bytes.length;
    if (line.side === "client") said.push(bytes);
    else if (bytes.length > 0) {
      const expected = readTalk(parseSpdy(concat(said)));
      while (patient && !ended && !covers(readTalk(parseSpdy(concat(received))), expected)) await arrived.promise;
      if (!ended) await connection.write(bytes).catch(() => {}); // The client may have gone meanwhile.
    }
  }
  if (lines.some((line) => line.side === "server" && line.event)) await connection.closeWrite().catch(() => {});
  await reading;
  clearTimeout(deadline);
  return { request, frames: parseSpdy(concat(received)) };
}

/** Says what the recorded client said, in its order. */
async function speak(process: RemoteProcess, { client, streams }: Recorded): Promise<void> {
  let writer: WritableStreamDefaultWriter<Uint8Array> | undefined;
  let isFirst = true;
  for (const { type, id, fin, data } of client) {
    if (type !== 0) continue;
    for (const size of id === streams.resize ? readSizes(latin1(data)) : []) {
      if (!isFirst) await process.resize(size); // The first one was sent by itself.
      isFirst = false;
    }
    if (id !== streams.stdin) continue;
    writer ??= process.stdin.getWriter();
    if (data.length > 0) await writer.write(data);
    if (fin) await writer.close();
  }
}

/** What the session came to, as far as the server's bytes tell. */
async function checkOutcome(recorded: Recorded, process: RemoteProcess): Promise<void> {
  const { streams, talk, info } = recorded;
  const query = new URL(recorded.request.startLine.split(" ")[1] ?? "", "http://x").searchParams;
  const text = (stream: "stdout" | "stderr") =>
    isTrue(query.get(stream)) ? new Response(process[stream]).bytes().then(latin1) : "";
  const [stdout, stderr, status] = await Promise.allSettled([text("stdout"), text("stderr"), process.status]);
  const outcome = status.status === "fulfilled" ? status.value.code : status.reason;
  const said = (type: string) => talk.server.streams[streams[type] ?? 0]?.data ?? "";
  const expected = expectedOutcome(recorded.protocol, said("error"));
  if (typeof expected === "number") assertEquals(outcome, expected);
  else {
    assertEquals(outcome.name, expected.error);
    assertStringIncludes(outcome.message, expected.message);
  }
  if (outcome instanceof DisconnectedError) {
    return assertEquals(outcome.bytesReceived, said("stdout").length + said("stderr").length);
  }
  assertEquals([stdout, stderr], [
    { status: "fulfilled", value: said("stdout") },
    { status: "fulfilled", value: said("stderr") },
  ]);
  // In a terminal a script drove kubectl: exit code and output are the script's.
  if (recorded.kubectl && !isTrue(query.get("tty"))) {
    assertEquals(typeof outcome === "number" ? outcome : 1, info.exit, "kubectl's exit code");
    assertEquals(said("stdout"), info.stdout, "kubectl's output");
  }
}

function expectedOutcome(
  protocol: string,
  text: string,
): number | { readonly error: string; readonly message: string } {
  // What v1 says of a failure comes on a stream that it has already reset.
  if (protocol === "channel.k8s.io") return { error: "DisconnectedError", message: "without saying how" };
  if (protocol !== "v4.channel.k8s.io") {
    return text === "" ? 0 : { error: "RemoteCommandError", message: `error executing remote command: ${text}` };
  }
  if (text === "") return { error: "DisconnectedError", message: "connection closed before exit status" };
  const status = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (c) => c.charCodeAt(0))));
  if (status.status === "Success") return 0;
  if (status.reason === "NonZeroExitCode") return Number(status.details.causes[0].message);
  return { error: "RemoteCommandError", message: status.message };
}

/** Answers with what was recorded, which is no 101, and waits for the client to go. */
async function refuse(connection: RawConnection, lines: readonly RecordedLine[]): Promise<void> {
  await connection.head();
  await connection.write(bytesOf(lines, "server"));
  await connection.closeWrite();
  await connection.gone();
}

/** Fields that are not podwire's, or that no two requests have alike. */
const IGNORED = ["host", "user-agent", "kubectl-command", "kubectl-session"];

async function checkRecording(name: string): Promise<void> {
  const recorded = readRecording(await loadRecording(name));
  const offered = recorded.request.headers.filter(([name]) => name.toLowerCase() === "x-stream-protocol-version")
    .map(([, value]) => value);
  let played: { request: HttpHead; frames: SpdyFrame[] } | undefined;
  let connections = 0;
  await withRawServer(async (connection) => {
    if (connections++ === 0 && recorded.refused) await refuse(connection, recorded.refused);
    else if (recorded.accepted) played = await play(recorded, connection);
    else await refuse(connection, recorded.lines);
  }, async (server) => {
    let process: RemoteProcess;
    try {
      const sizeData = recorded.client.find(({ type, id }) => type === 0 && id === recorded.streams.resize)?.data;
      process = await replay(recorded.request, server, {
        wire: recorded.refused ? "auto" : "spdy",
        size: sizeData && readSizes(latin1(sizeData))[0],
        ...(!recorded.kubectl && { offered }), // Of its own accord podwire offers what kubectl 1.36 offers.
      });
    } catch (error) {
      assertInstanceOf(error, UpgradeError, `${error}`);
      assertEquals(error.code, Number(recorded.response.startLine.split(" ")[1]));
      const message = recorded.body.startsWith("{") ? JSON.parse(recorded.body).message : recorded.body.trim();
      return assertEquals(error.message, `unable to upgrade connection: ${message}`);
    }
    await using _ = process;
    assert(recorded.accepted);
    assertEquals([process.wire, process.protocol], ["spdy", recorded.protocol]);
    assertEquals(process.refused?.code, recorded.refused && 403);
    const speaking = name in UNLIKE_US ? undefined : speak(process, recorded);
    speaking?.catch(() => {}); // Told below.
    const { streams, goAway } = recorded.talk.server;
    if (goAway || streams[1]?.data) await checkOutcome(recorded, process);
    else { // The client gave up.
      await speaking;
      process.close();
      assertInstanceOf(await process.status.catch((error) => error), Error);
    }
    await speaking;
  });
  assertEquals(connections, recorded.refused ? 2 : 1);
  if (!played || name in UNLIKE_US || !recorded.kubectl) return;
  // What kubectl said, we say; kubectl 1.28 did not offer v5 yet.
  assertEquals(readQuery(played.request), readQuery(recorded.request));
  const without = name.endsWith("-k28") ? [...IGNORED, "x-stream-protocol-version"] : IGNORED;
  assertEquals(headerSet(played.request, without), headerSet(recorded.request, without));
  assertMatch(played.request.startLine, /^POST /);
  const opened = (frames: readonly SpdyFrame[]) =>
    frames.filter(({ type }) => type === SpdyType.SYN_STREAM).map(({ id, headers }) => [id, headers.streamtype]);
  assertEquals(opened(played.frames), opened(recorded.client));
  const input = ({ streams }: SpdyTalk, type: string) => streams[recorded.streams[type] ?? 0]?.data;
  const said = readTalk(played.frames);
  for (const type of ["stdin", "resize"]) assertEquals(input(said, type), input(recorded.talk.client, type), type);
  const ends = (frames: readonly SpdyFrame[]) =>
    frames.filter(({ type, fin }) => type === 0 && fin).map(({ id }) => id);
  assertEquals(ends(played.frames), ends(recorded.client), "FINs");
}

const NAMES = (await recordingNames()).filter((name) => /spdy|fallback/.test(name) && !name.startsWith("pf-"));

for (const name of NAMES) {
  if (!(name in UNPLAYABLE)) Deno.test(`podwire understands the SPDY server of ${name}`, () => checkRecording(name));
}

Deno.test("every SPDY recording that has a reason here exists", () => {
  assertEquals([...Object.keys(UNLIKE_US), ...Object.keys(UNPLAYABLE)].filter((name) => !NAMES.includes(name)), []);
});
