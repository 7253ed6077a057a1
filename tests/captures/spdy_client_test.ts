/** The recorded servers of exec and attach over SPDY against our client: it must understand them, and say what kubectl said. */
import { assert, assertEquals, assertInstanceOf, assertMatch } from "@std/assert";
import { type RemoteProcess, UpgradeError } from "../../lib/client/mod.ts";
import { withRawServer } from "../client/raw_server.ts";
import { type Exchange, play, type Played, readExchange, refuse } from "./recorded_server.ts";
import { headerSet, headerValue, loadRecording, type Recording, recordingNames, type Side } from "./recording.ts";
import { checkOutcome, forEach, latin1, type Outcome, outcomeOf, readQuery, readSizes, replay } from "./replay.ts";
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

/** A session, read without podwire's code. */
interface Recorded extends Exchange {
  readonly protocol: string;
  readonly client: readonly SpdyFrame[];
  readonly talk: { readonly client: SpdyTalk; readonly server: SpdyTalk };
  /** Stream numbers by type. */
  readonly streams: Readonly<Record<string, number>>;
}

function readRecording(recording: Recording): Recorded {
  const exchange = readExchange(recording);
  const { response, accepted, rest } = exchange;
  const frames = (side: Side) => accepted ? parseSpdy(rest[side]) : [];
  const client = frames("client");
  const opened = client.filter(({ type }) => type === SpdyType.SYN_STREAM);
  return {
    ...exchange,
    protocol: headerValue(response, "x-stream-protocol-version") ?? "",
    client,
    talk: { client: readTalk(client), server: readTalk(frames("server")) },
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

function expectedOutcome(protocol: string, text: string): Outcome {
  // What v1 says of a failure comes on a stream that it has already reset.
  if (protocol === "channel.k8s.io") return { error: "DisconnectedError", message: "without saying how" };
  if (protocol !== "v4.channel.k8s.io") {
    return text === "" ? 0 : { error: "RemoteCommandError", message: `error executing remote command: ${text}` };
  }
  if (text === "") return { error: "DisconnectedError", message: "connection closed before exit status" };
  return outcomeOf(text);
}

/** Fields that are not podwire's, or that no two requests have alike. */
const IGNORED = ["host", "user-agent", "kubectl-command", "kubectl-session"];

async function checkRecording(name: string): Promise<void> {
  const recorded = readRecording(await loadRecording(name));
  const offered = recorded.request.headers.filter(([name]) => name.toLowerCase() === "x-stream-protocol-version")
    .map(([, value]) => value);
  const isLikeUs = !(name in UNLIKE_US);
  let played: Played | undefined;
  let connections = 0;
  await withRawServer(async (connection) => {
    if (connections++ === 0 && recorded.refused) await refuse(connection, recorded.refused);
    else if (recorded.accepted) {
      played = await play(recorded, connection, (received, expected, next) => {
        const read = (bytes: Uint8Array) => readTalk(parseSpdy(bytes));
        return !isLikeUs || next.event !== undefined || covers(read(received), read(expected));
      });
    } else await refuse(connection, recorded.lines);
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
    const speaking = isLikeUs ? speak(process, recorded) : undefined;
    speaking?.catch(() => {}); // Told below.
    const { streams, goAway } = recorded.talk.server;
    if (goAway || streams[1]?.data) {
      const said = (type: string) => streams[recorded.streams[type] ?? 0]?.data ?? "";
      const output = { stdout: said("stdout"), stderr: said("stderr") };
      await checkOutcome(recorded, process, output, expectedOutcome(recorded.protocol, said("error")), true);
    } else { // The client gave up.
      await speaking;
      process.close();
      assertInstanceOf(await process.status.catch((error) => error), Error);
    }
    await speaking;
  });
  assertEquals(connections, recorded.refused ? 2 : 1);
  if (!played || !isLikeUs || !recorded.kubectl) return;
  // What kubectl said, we say; kubectl 1.28 did not offer v5 yet.
  assertEquals(readQuery(played.request), readQuery(recorded.request));
  const without = name.endsWith("-k28") ? [...IGNORED, "x-stream-protocol-version"] : IGNORED;
  assertEquals(headerSet(played.request, without), headerSet(recorded.request, without));
  assertMatch(played.request.startLine, /^POST /);
  const opened = (frames: readonly SpdyFrame[]) =>
    frames.filter(({ type }) => type === SpdyType.SYN_STREAM).map(({ id, headers }) => [id, headers.streamtype]);
  const frames = parseSpdy(played.bytes);
  assertEquals(opened(frames), opened(recorded.client));
  const input = ({ streams }: SpdyTalk, type: string) => streams[recorded.streams[type] ?? 0]?.data;
  const said = readTalk(frames);
  for (const type of ["stdin", "resize"]) assertEquals(input(said, type), input(recorded.talk.client, type), type);
  const ends = (frames: readonly SpdyFrame[]) =>
    frames.filter(({ type, fin }) => type === 0 && fin).map(({ id }) => id);
  assertEquals(ends(frames), ends(recorded.client), "FINs");
}

const NAMES = (await recordingNames()).filter((name) => /spdy|fallback/.test(name) && !name.startsWith("pf-"));

for (const name of NAMES) {
  if (!(name in UNPLAYABLE)) Deno.test(`podwire understands the SPDY server of ${name}`, () => checkRecording(name));
}

Deno.test("every SPDY recording that has a reason here exists", () => {
  assertEquals([...Object.keys(UNLIKE_US), ...Object.keys(UNPLAYABLE)].filter((name) => !NAMES.includes(name)), []);
});
