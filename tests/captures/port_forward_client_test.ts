/**
 * The recorded servers of port-forward against our client, over SPDY, through the tunnel and over channels: it must understand
 * them, and say what kubectl said.
 */
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { concat, duplexPair, PodwireError } from "../../lib/bytes/mod.ts";
import { ForwardError, type PodObject, UpgradeError, type Wire } from "../../lib/client/mod.ts";
import { SpdyForwardSession } from "../../lib/client/forward_wire.ts";
import { ForwardedConnection } from "../../lib/client/forwarded_connection.ts";
import type { PodConnection } from "../../lib/client/pod.ts";
import { PortForward } from "../../lib/client/port_forward.ts";
import { SocketTransport } from "../../lib/client/socket_transport.ts";
import { createDialer } from "../../lib/dial/mod.ts";
import { messageDuplex } from "../../lib/websocket/mod.ts";
import { FakeClock } from "../client/fake_clock.ts";
import { withRawServer } from "../client/raw_server.ts";
import { type Exchange, play, type Played, readExchange, refuse } from "./recorded_server.ts";
import {
  type Frame,
  headerSet,
  headerValue,
  loadRecording,
  Opcode,
  parseFrames,
  readConversation,
  type Recording,
  recordingNames,
  type Side,
} from "./recording.ts";
import { forEach, latin1 } from "./replay.ts";
import { parseSpdy, readTalk, type SpdyFrame, type SpdyTalk, SpdyType, tunnelled } from "./spdy_recording.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Recordings whose client said something that podwire does not say, and why. What the server's bytes come to is checked all the same. */
const UNLIKE_KUBECTL: Record<string, string> = {
  "pf-spdy-http-default-k28": "kubectl 1.28 ended a connection with FIN; podwire resets it, as kubectl 1.36",
  "pf-tunnel-abort-default":
    "podwire tells the pod's side of a local reset: RST where kubectl sends FIN (forward_listener_test.ts)",
  "pf-tunnel-abort-mid": "as in the direct row",
};

/** Recordings that cannot be played to podwire, and why. */
const UNPLAYABLE: Record<string, string> = {
  "pf-spdy-badheaders-default": "headers that podwire never sends",
  "pf-spdy-dup-default": "two streams of one kind for one connection",
  ...forEach(
    ["pf-spdy-pairtimeout-default", "pf-spdy-pairtimeout2-default"],
    "podwire always opens both streams; forwarded_connection_test.ts has the text that comes without an end",
  ),
  ...forEach(["raw-pf-none-default", "raw-pf-none-old"], "podwire offers a protocol, and takes none but that"),
  ...forEach(
    ["raw-pf-v4b64-default", "raw-pf-v4b64-mid", "raw-pf-v4b64-old"],
    "podwire never asks for base64",
  ),
  ...forEach(
    ["pf-spdy-idle-default", "pf-tunnel-idle-default", "pf-tunnel-poddeleted-default"],
    "nothing but Pings: below",
  ),
};

/** Connections that the client, or its own client, reset. */
const RESET_BY_US = ["pf-spdy-rst-default", "pf-tunnel-abort-default", "pf-tunnel-abort-mid"];

/** Clients that send data before the server has accepted the stream, which podwire never does. */
const HASTY = [
  "pf-spdy-datafirst-default",
  "pf-spdy-halfclose-default",
  "pf-spdy-ports-default",
  "pf-spdy-rst-default",
];

/** How a recording is carried. */
type Carrier = "spdy" | "tunnel" | "channels";

/** A session, read without podwire's code; what its server said has our numbers for the streams. */
interface Recorded extends Exchange {
  readonly carrier: Carrier;
  /** WebSocket frames of each side. */
  readonly frames: Readonly<Record<Side, readonly Frame[]>>;
  /** SPDY frames of each side. */
  readonly spdy: Readonly<Record<Side, readonly SpdyFrame[]>>;
  /** Our number for each recorded stream. */
  readonly ids: ReadonlyMap<number, number>;
}

/** What tells streams apart: the connection, then the type. */
function streamKey({ headers, id }: SpdyFrame): readonly [request: string, type: string] {
  const type = headers.streamtype ?? "";
  return [headers.requestid ?? String(type === "data" ? id - 2 : id), type];
}

/** podwire opens the error stream and the data stream of a connection one after the other. */
function ourIds(client: readonly SpdyFrame[]): Map<number, number> {
  const opened = client.filter(({ type }) => type === SpdyType.SYN_STREAM);
  const requests = [...new Set(opened.map((frame) => streamKey(frame)[0]))];
  return new Map(opened.map((frame) => {
    const [request, type] = streamKey(frame);
    return [frame.id, 4 * requests.indexOf(request) + (type === "error" ? 1 : 3)];
  }));
}

/** `bytes` with other numbers in their frames: SPDY, or WebSocket frames of a server with SPDY in them. */
function renumber(bytes: Uint8Array, carrier: Carrier, ids: ReadonlyMap<number, number>): Uint8Array {
  const renumbered = bytes.slice();
  const places = carrier === "spdy" ? Array.from(bytes, (_, i) => i) : payloadPlaces(bytes);
  const at = (place: number, length: number) =>
    places.slice(place, place + length).reduce((value, i) => value * 256 + bytes[i]!, 0);
  for (let place = 0; place + 8 <= places.length; place += 8 + at(place + 5, 3)) {
    const isControl = at(place, 1) >= 0x80;
    if (
      isControl &&
      ![SpdyType.SYN_REPLY, SpdyType.RST_STREAM, SpdyType.HEADERS].some((type) => type === at(place + 2, 2))
    ) {
      continue;
    }
    const idPlace = isControl ? place + 8 : place;
    const id = ids.get(at(idPlace, 4)) ?? at(idPlace, 4);
    for (let i = 0; i < 4; i++) renumbered[places[idPlace + i]!] = id >>> (24 - 8 * i);
  }
  return renumbered;
}

/** Where the payloads of unmasked data frames are. */
function payloadPlaces(bytes: Uint8Array): number[] {
  const places: number[] = [];
  for (let at = 0; at < bytes.length;) {
    const { frames: [frame], rest } = firstFrame(bytes.subarray(at));
    if (!frame) break;
    const end = bytes.length - rest.length;
    if (frame.opcode < Opcode.CLOSE) {
      for (let i = end - frame.payload.length; i < end; i++) places.push(i);
    }
    at = end;
  }
  return places;
}

/** The first frame alone. */
function firstFrame(bytes: Uint8Array): ReturnType<typeof parseFrames> {
  const { frames } = parseFrames(bytes);
  const [frame] = frames;
  if (!frame) return { frames: [], rest: bytes };
  const n = frame.payload.length;
  return { frames: [frame], rest: bytes.subarray(2 + n + (n > 0xffff ? 8 : n > 125 ? 2 : 0)) };
}

function readRecording(recording: Recording): Recorded {
  const exchange = readExchange(recording);
  const { request, response, accepted, rest: { client, server: asRecorded } } = exchange;
  const carrier = headerValue(request, "Upgrade") === "SPDY/3.1"
    ? "spdy"
    : headerValue(response, "Sec-WebSocket-Protocol")?.startsWith("SPDY/3.1+")
    ? "tunnel"
    : "channels";
  const frames = (bytes: Uint8Array) => accepted && carrier !== "spdy" ? parseFrames(bytes).frames : [];
  const spdy = (bytes: Uint8Array) => accepted ? spdyFrames(carrier, bytes) : [];
  const ids = ourIds(spdy(client));
  const server = accepted && carrier !== "channels" ? renumber(asRecorded, carrier, ids) : asRecorded;
  return {
    ...exchange,
    carrier,
    rest: { client, server },
    frames: { client: frames(client), server: frames(server) },
    spdy: { client: spdy(client), server: spdy(server) },
    ids,
  };
}

/** The SPDY that was carried. */
function spdyFrames(carrier: Carrier, bytes: Uint8Array): SpdyFrame[] {
  if (carrier === "channels") return [];
  return parseSpdy(carrier === "spdy" ? bytes : tunnelled(parseFrames(bytes).frames));
}

/** What a client said on its streams, or on its channels. */
function readSaid(recorded: Recorded, bytes: Uint8Array): SpdyTalk {
  if (recorded.carrier === "channels") {
    const { channels } = readConversation(parseFrames(bytes).frames, "v4.channel.k8s.io");
    return { streams: { 3: { replied: false, data: channels[0] ?? "", ended: false } }, pings: [], goAway: undefined };
  }
  return readTalk(spdyFrames(recorded.carrier, bytes));
}

/** What the recorded client had said so far that ours has to say before the server goes on, with our numbers for the streams. */
function readExpected(recorded: Recorded, bytes: Uint8Array): SpdyTalk {
  if (recorded.carrier === "channels") return readSaid(recorded, bytes);
  const frames = spdyFrames(recorded.carrier, bytes);
  // A reset only answers the server's end; ours comes a little later, when the server has said all it has to say.
  const patient = frames.filter(({ type }) => type !== SpdyType.RST_STREAM);
  return readTalk(patient.map((frame) => ({ ...frame, id: recorded.ids.get(frame.id) ?? frame.id })));
}

/**
 * Whether our client has said as much as the recorded one. It ends its error stream later, after both replies, and says nothing
 * on its data stream before them.
 */
function covers(actual: SpdyTalk, expected: SpdyTalk, hasty: boolean): boolean {
  if (expected.goAway && !actual.goAway) return false;
  return Object.entries(expected.streams).every(([id, { data, ended }]) => {
    const said = actual.streams[Number(id)];
    return said !== undefined &&
      (hasty || said.data.length >= data.length && (said.ended || !ended || Number(id) % 4 === 1));
  });
}

/** A way to `server` for streams alone: nothing else is asked of it, and no pod ever changes. */
function streamsOnly(server: string, wire: Wire): PodConnection {
  const transport = new SocketTransport(new URL(server), createDialer());
  const headers: [string, string][] = [["User-Agent", "podwire"]];
  return {
    wire,
    get: () => Promise.reject(new PodwireError("the pod is known")),
    request: (_path, { signal }) =>
      Promise.resolve(
        new Response(
          new ReadableStream({
            start: (controller) => signal?.addEventListener("abort", () => controller.error(signal.reason)),
          }),
        ),
      ),
    openWebSocket: (path, { signal, ...options }) =>
      transport.openWebSocket({ path, headers, ...options, ...(signal && { signal }) }),
    openSpdy: (path, { signal, ...options }) =>
      transport.openSpdy({ path, headers, ...options, ...(signal && { signal }) }),
  };
}

interface Client {
  connect(port: number): Promise<ForwardedConnection>;
  close(): Promise<void>;
}

/** Opens what was recorded. More than one connection is put on one session here, as kubectl does; `PortForward` would take two. */
async function openClient(recorded: Recorded, server: string): Promise<Client> {
  const { pathname } = new URL(recorded.request.startLine.split(" ")[1]!, "http://x");
  const [, namespace = "", name = ""] = /\/namespaces\/(.+)\/pods\/(.+)\/portforward$/.exec(pathname) ?? [];
  const connections = new Set(recorded.spdy.client.map(({ headers }) => headers.requestid).filter(Boolean)).size;
  if (connections < 2) {
    const wire = recorded.refused ? "auto" : recorded.carrier === "channels" ? "websocket" : recorded.carrier;
    const pod: PodObject = { metadata: { name, namespace, uid: "1" }, status: { phase: "Running" } };
    const forward = await PortForward.open({
      resolve: () => Promise.resolve(pod),
      byName: true,
      connection: streamsOnly(server, wire),
    }, { finDelay: 0 });
    return {
      connect: (port) => forward.connect(port),
      close: async () => {
        forward.close();
        await forward.finished;
      },
    };
  }
  const connection = streamsOnly(server, "auto");
  const resource = "pods/portforward";
  const duplex = recorded.carrier === "tunnel"
    ? messageDuplex(await connection.openWebSocket(pathname, { resource, protocols: ["SPDY/3.1+portforward.k8s.io"] }))
    : (await connection.openSpdy(pathname, { resource, protocols: ["portforward.k8s.io"] })).duplex;
  const session = new SpdyForwardSession(duplex);
  return {
    connect: (port) => Promise.resolve(new ForwardedConnection(session.open(port), { port, finDelay: 0 })),
    close: async () => {
      session.close(new PodwireError("the test is over"));
      await session.closed;
    },
  };
}

/** What a connection came to. */
interface Outcome {
  readonly text: string;
  /** How it ended: `end`, a failure's text, or `open` if the server did not end it. */
  readonly end: string;
}

/** What the server's bytes say of a connection. */
function expectedOutcome(recorded: Recorded, index: number): Outcome {
  if (recorded.carrier === "channels") {
    const { channels, closes } = readConversation(recorded.frames.server, "v4.channel.k8s.io");
    // The first message of each channel is the port's number.
    const [text = "", verdict = ""] = [channels[0]?.slice(2), channels[1]?.slice(2)];
    return { text, end: verdict !== "" ? verdict.trim() : closes.length > 0 ? "end" : "open" };
  }
  const { streams } = readTalk(recorded.spdy.server);
  const [error, data] = [streams[4 * index + 1], streams[4 * index + 3]];
  const text = data?.data ?? "";
  if (error?.data) return { text, end: error.data.trim() };
  return { text, end: data?.ended && error?.ended ? "end" : "open" };
}

/** Reads a connection to its end, or as far as the server goes. */
async function readOutcome(connection: ForwardedConnection, expected: Outcome): Promise<Outcome> {
  const buffer = new Uint8Array(4096);
  let text = "";
  try {
    while (expected.end !== "open" || text.length < expected.text.length) {
      const n = await connection.read(buffer);
      if (n === null) return { text, end: "end" };
      text += latin1(buffer.subarray(0, n));
    }
  } catch (error) {
    assertInstanceOf(error, ForwardError, `${error}`);
    assertEquals(error.code, "ECONNREFUSED");
    return { text, end: error.message };
  }
  return { text, end: "open" };
}

/** Says what the recorded client said, in its order; gives what its connections came to. */
async function speak(client: Client, recorded: Recorded): Promise<Outcome[]> {
  if (recorded.carrier === "channels") return [await speakOnChannels(client, recorded)];
  const connecting: Promise<ForwardedConnection>[] = [];
  const outcomes: Promise<Outcome>[] = [];
  for (const { type, id, headers, data, fin } of recorded.spdy.client) {
    const index = Math.floor((recorded.ids.get(id) ?? 0) / 4);
    if (type === SpdyType.SYN_STREAM && !connecting[index]) {
      // Of two ports it is the data stream's that counts.
      const port = recorded.spdy.client.find(({ headers: { streamtype, requestid } }) =>
        streamtype === "data" && requestid === headers.requestid
      )!.headers.port;
      connecting[index] = client.connect(Number(port));
      connecting[index].catch(() => {}); // Told below.
    }
    if (recorded.ids.get(id)! % 4 !== 3) continue;
    if (type === SpdyType.SYN_STREAM) {
      outcomes[index] = connecting[index]!.then((connection) =>
        readOutcome(connection, expectedOutcome(recorded, index))
      );
      outcomes[index].catch(() => {}); // Told below.
    }
    if ((fin || type === SpdyType.RST_STREAM) && RESET_BY_US.includes(recorded.name)) {
      await outcomes[index];
      (await connecting[index]!).close();
      continue;
    }
    if (type !== 0) continue;
    const connection = await connecting[index]!;
    if (data.length > 0) await say(() => connection.write(data));
    if (fin && recorded.name !== "pf-spdy-http-default-k28") await say(() => connection.closeWrite());
  }
  return await Promise.all(outcomes);
}

/** Does what the server may have made impossible by then. */
async function say(what: () => Promise<void>): Promise<void> {
  try {
    await what();
  } catch (error) {
    assertInstanceOf(error, ForwardError, `${error}`);
  }
}

async function speakOnChannels(client: Client, recorded: Recorded): Promise<Outcome> {
  const query = new URL(recorded.request.startLine.split(" ")[1]!, "http://x").searchParams;
  const connection = await client.connect(Number(query.get("ports")));
  for (const { opcode, payload } of recorded.frames.client) {
    if (opcode === Opcode.BINARY) await say(() => connection.write(payload.subarray(1)));
  }
  return await readOutcome(connection, expectedOutcome(recorded, 0));
}

/** What was said on each stream, and how it was ended; last the GOAWAYs. */
function summary(
  frames: readonly SpdyFrame[],
  { spdy }: Recorded,
  ids: ReadonlyMap<number, number> = new Map(),
): unknown[] {
  const resetThere = (id: number) => spdy.server.some((frame) => frame.type === SpdyType.RST_STREAM && frame.id === id);
  const streams: Record<number, { headers: readonly string[]; data: string; fin: boolean; reset: boolean }> = {};
  const goAways: number[][] = [];
  for (const { type, id: recordedId, status, headers, data, fin } of frames) {
    const id = ids.get(recordedId) ?? recordedId;
    const stream = streams[id] ?? { headers: [], data: "", fin: resetThere(id), reset: false };
    if (type === SpdyType.GOAWAY) goAways.push([recordedId, status]);
    if (type === SpdyType.SYN_STREAM) {
      streams[id] = { ...stream, headers: Object.entries(headers).map((field) => field.join("=")).sort() };
    } else if (type === SpdyType.RST_STREAM) {
      streams[id] = { ...stream, reset: true };
    } else if (type === 0) {
      // Of one that the server resets: there may have been no time for a FIN.
      streams[id] = { ...stream, data: stream.data + latin1(data), fin: stream.fin || fin };
    }
  }
  return [streams, goAways];
}

/** Fields that are not podwire's, or that no two requests have alike. */
const IGNORED = ["host", "user-agent", "kubectl-command", "kubectl-session", "sec-websocket-key"];

async function checkRecording(name: string): Promise<void> {
  const recorded = readRecording(await loadRecording(name));
  let played: Played | undefined;
  let connections = 0;
  await withRawServer(async (connection) => {
    if (connections++ === 0 && recorded.refused) await refuse(connection, recorded.refused);
    else if (recorded.accepted) {
      played = await play(recorded, connection, (received, expected, next) => {
        const actual = readSaid(recorded, received);
        // Whoever recorded it may have ended without a word, which podwire does not.
        const hasEnded = !next.event || recorded.carrier === "channels" || actual.goAway !== undefined;
        return hasEnded && covers(actual, readExpected(recorded, expected), HASTY.includes(name));
      });
    } else await refuse(connection, recorded.lines);
  }, async (server) => {
    const client = await openClient(recorded, server);
    try {
      if (!recorded.accepted) {
        const error = await assertRejects(() => client.connect(8080), UpgradeError);
        return assertEquals(error.code, Number(recorded.response.startLine.split(" ")[1]));
      }
      const outcomes = await speak(client, recorded);
      assertEquals(outcomes, outcomes.map((_, i) => expectedOutcome(recorded, i)));
    } finally {
      await client.close();
    }
  });
  assertEquals(connections, recorded.refused ? 2 : 1);
  if (!played) return;
  if (recorded.carrier === "channels") {
    assertEquals(played.request.startLine, recorded.request.startLine);
    return;
  }
  const ours = spdyFrames(recorded.carrier, played.bytes);
  for (const { type, id } of ours) assert(type !== SpdyType.PING || id % 2 === 1, "odd numbers for Pings of ours");
  if (RESET_BY_US.includes(name)) {
    const resets = ours.filter(({ type }) => type === SpdyType.RST_STREAM).map(({ id }) => id);
    assert(resets.includes(3));
  }
  if (!recorded.kubectl || name in UNLIKE_KUBECTL) return;
  // What kubectl said, we say.
  assertEquals(played.request.startLine, recorded.request.startLine);
  assertEquals(headerSet(played.request, IGNORED), headerSet(recorded.request, IGNORED));
  assertEquals(summary(ours, recorded), summary(recorded.spdy.client, recorded, recorded.ids));
  if (recorded.carrier === "spdy") return;
  const { closes } = readConversation(parseFrames(played.bytes).frames, "");
  assertEquals(closes, [1000]);
  for (const { opcode, fin, masked, rsv } of parseFrames(played.bytes).frames) {
    assertEquals({ fin, masked, rsv }, { fin: true, masked: true, rsv: 0 });
    assert(opcode >= 8 || opcode === Opcode.BINARY, "a tunnel takes binary messages only");
  }
}

const NAMES = (await recordingNames()).filter((name) => /^(raw-)?pf-/.test(name));

for (const name of NAMES) {
  if (!(name in UNPLAYABLE)) {
    Deno.test(`podwire forwards ports through the server of ${name}`, () => checkRecording(name));
  }
}

/** The Pings of a client that was idle for so long, in milliseconds. */
async function pingsWithin(milliseconds: number): Promise<number[]> {
  using clock = new FakeClock();
  const [near, far] = duplexPair();
  const session = new SpdyForwardSession(near);
  const received: Uint8Array[] = [];
  const reading = (async () => {
    const buffer = new Uint8Array(4096);
    for (let n = await far.read(buffer); n !== null; n = await far.read(buffer)) {
      received.push(buffer.slice(0, n));
      await far.write(buffer.slice(0, n)); // A Ping is answered with itself.
    }
  })();
  await clock.pass(milliseconds);
  await far.closeWrite();
  await session.closed;
  await reading;
  const frames = parseSpdy(concat(received));
  assertEquals(frames.filter(({ type }) => type !== SpdyType.PING), []);
  return frames.map(({ id }) => id);
}

for (
  const [name, why] of [["pf-tunnel-idle-default", "as kubectl"], [
    "pf-spdy-idle-default",
    "kubectl: every five",
  ]] as const
) {
  Deno.test(`an idle podwire sends a Ping every ten seconds in ${name} (${why})`, async () => {
    const recorded = readRecording(await loadRecording(name));
    const last = recorded.lines.at(-1)!.ms;
    const theirs = recorded.spdy.client.filter(({ type }) => type === SpdyType.PING).map(({ id }) => id);
    const ours = await pingsWithin(last);
    assertEquals(ours, name.includes("tunnel") ? theirs : theirs.slice(0, Math.floor(last / 10_000)));
  });
}

Deno.test("every recording that has a reason here exists", () => {
  const reasons = [...Object.keys(UNLIKE_KUBECTL), ...Object.keys(UNPLAYABLE), ...RESET_BY_US, ...HASTY];
  assertEquals(reasons.filter((name) => !NAMES.includes(name)), []);
});
