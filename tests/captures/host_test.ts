/** The recorded clients against the embedded host: it must answer as the recorded servers did. */
import { assert, assertEquals } from "@std/assert";
import { concat } from "../../lib/bytes/mod.ts";
import { type HostPod, type HostServer, serveHost } from "../../lib/server/mod.ts";
import { Received } from "./received.ts";
import {
  acceptOf,
  bytesOf,
  type Conversation,
  type Frame,
  headerSet,
  headerValue,
  type HttpHead,
  loadRecording,
  parseFrames,
  parseHead,
  readConversation,
  type RecordedLine,
  recordingNames,
} from "./recording.ts";
import { forEach } from "./replay.ts";
import {
  parseSpdy,
  readTalk,
  type SpdyFrame,
  type SpdyStreamTalk,
  type SpdyTalk,
  SpdyType,
  tunnelled,
} from "./spdy_recording.ts";
import { echo, readAll, withPort, writeAll as writeLocal } from "../server/ports.ts";
import { startGateway } from "../server/stream_ground.ts";

/** What listened in the recorded pods, on other ports. */
interface LocalPorts {
  /** Port 8080 of `web` and `web2`. */
  readonly http: readonly [number, number];
  /** Port 9002 of `bench`, which counts what comes and tells after its end. */
  readonly count: number;
  /** Port 9003 of `bench`. */
  readonly echo: number;
  /** Where nobody listens. */
  readonly refused: number;
}

/** The recorded pods, as far as local processes can play them. */
const recordedPods = ({ http, count, echo, refused }: LocalPorts): readonly HostPod[] => [
  ...["web", "web2"].map((name, i) => ({
    name,
    ports: { 8080: http[i]!, 8081: refused, 9999: refused },
    containers: [
      { name: "main", command: ["sleep", "600"], env: { PS1: "/ # " } },
      { name: "shell", command: ["sh"], env: { PS1: "/ # " }, tty: true, stdin: true },
      { name: "cat", command: ["cat"], stdin: true },
    ],
  })),
  {
    name: "bench",
    ports: { 9002: count, 9003: echo, 9999: refused },
    containers: [{ name: "main", command: ["sleep", "600"] }],
  },
  {
    name: "p",
    namespace: "cap",
    containers: [{ name: "main", command: ["sleep", "600"] }, { name: "done", command: ["true"] }],
  },
];

/** Recordings whose output goes on every 200 ms while the client closes: how much still comes is chance. */
const GOES_ON = ["v5-clientclose-output-default"];

const TOKEN_NEEDED = ["err-bearer-alone-default", "err-bearer-nocert-default"];

/** Recordings that the host does not answer in the same way, and why. `expect` says what it answers instead. */
const DIFFERENT: Record<
  string,
  {
    readonly reason: string;
    readonly expect?: (recorded: Conversation) => Conversation;
    readonly expectTalk?: (recorded: SpdyTalk) => SpdyTalk;
  }
> = {
  ...forEach(
    [
      "err-anonymous-default",
      "err-baduser-spdy-default",
      "err-baduser-ws-default",
      "err-creator-ws-default",
      "err-getter-pf-default",
      "err-getter-ws-default",
    ],
    { reason: "the host has no users and no RBAC: a token, or none" },
  ),
  ...forEach(["err-done-ws-mid", "err-attachdone-ws-mid", "err-nostreams-ws-mid"], {
    reason:
      "the translated row accepts first and refuses in the status; the host refuses before the 101, as the direct row",
  }),
  ...forEach(["raw-exec-v5-old"], {
    reason: "the old row does not speak v5; the host does",
  }),
  "v5-badresize-default": {
    reason: "a bad size wedges nothing, and costs none of those after it",
    expect: (recorded) => ({
      ...recorded,
      channels: { 1: "stty size\n21 77", 3: SUCCESS },
      closes: [1000],
      order: ["data", "status", "close"],
    }),
  },
  ...forEach(["raw-exec-v4v5-old", "raw-exec-v5v4-old"], {
    reason: "of several offers the old row takes v4, the host the first",
  }),
  ...forEach(["exec-echo-clientnode-old", "exec-stdin-clientnode-old"], {
    reason: "client-node offers v5 first: the old row takes v4, the host v5",
  }),
  ...forEach(
    [
      "exec-poddeleted-ws-default",
      "exec-poddeleted-ws-mid",
      "pf-tunnel-poddeleted-default",
      "pf-v4-poddeleted-default",
    ],
    { reason: "pods of the host cannot be deleted; exit code 137 is v5-signal's" },
  ),
  ...forEach(["pf-spdy-pairtimeout-default", "pf-spdy-pairtimeout2-default"], {
    reason: "they take half a minute; tests/server/port_forward_test.ts has them with a shorter limit",
  }),
  "pf-spdy-dup-default": {
    reason: "the second of two error streams is reset, not left open",
    expectTalk: (recorded) => withStream(recorded, 3, { ended: true }),
  },
  "pf-spdy-halfclose-default": {
    reason: "a half-close is passed on, so that the answer after it arrives",
    expectTalk: (recorded) => withStream(recorded, 3, { data: "3 bytes" }),
  },
  "spdy-extra-default": {
    reason: "a stream too many is refused",
    expectTalk: (recorded) => withStream(recorded, 9, { ended: true }),
  },
  "spdy-headers-default": {
    reason: "a HEADERS frame wedges nothing",
    expectTalk: (recorded) => ({
      ...recorded,
      streams: {
        1: { replied: true, data: SUCCESS, ended: true },
        3: { replied: true, data: "", ended: true },
        5: { replied: true, data: "abc", ended: true },
        7: { replied: true, data: "", ended: true },
      },
      goAway: [7, 0],
    }),
  },
  ...forEach(["exec-interrupt-ws-mid", "v5-clientfin-mid", "err-tunnelboth-mid"], {
    reason: "a client that has ended gets no Close frame, as in the direct row",
    expect: (recorded) => ({ ...recorded, closes: [], order: recorded.order.filter((step) => step !== "close") }),
  }),
  "v5-clientclose-default": {
    reason: "the answer to a Close frame repeats its code (RFC 6455 section 5.5.1)",
    expect: (recorded) => ({ ...recorded, closes: [1001] }),
  },
  ...forEach(["pf-v4-echo-clientnode-default", "pf-v4-echo-clientnode-old"], {
    reason: "the answer to a Close frame repeats its code, or that there was none (RFC 6455 section 5.5.1)",
    expect: (recorded) => ({ ...recorded, closes: [1005] }),
  }),
  "attach-shell-spdy-default-k28": {
    reason: "what Ctrl-P does is the shell's business: kubectl 1.28 knows no detach keys and sends it on",
  },
  "v5-unmasked-default": {
    reason: "one Close frame is enough (RFC 6455 section 5.5.1)",
    expect: (recorded) => ({ ...recorded, closes: [1002] }),
  },
  "v5-fragment-default": {
    reason: "fragments are reassembled",
    expect: (recorded) => ({ ...recorded, channels: { ...recorded.channels, 1: "abcdez" } }),
  },
  ...forEach(["v5-fragment0-default", "v5-fragment0-mid", "v4-fragment-default", "v4-fragment-old"], {
    reason: "fragments are reassembled: the second channel byte is data",
    expect: (recorded) => ({ ...recorded, channels: { ...recorded.channels, 1: "ab\0cd" } }),
  }),
  "v5-resize-notty-default": {
    reason: "a size without a terminal wedges nothing",
    expect: (recorded) => ({
      ...recorded,
      channels: { 1: "ab", 3: SUCCESS },
      pongs: ["1", "2", "3"],
      closes: [1000],
      order: ["data", "status", "close"],
    }),
  },
};

const SUCCESS = '{"metadata":{},"status":"Success"}';

/** `talk` with another `change` of one stream. */
function withStream(talk: SpdyTalk, id: number, change: Partial<SpdyStreamTalk>): SpdyTalk {
  const before = talk.streams[id] ?? { replied: false, data: "", ended: false };
  return { ...talk, streams: { ...talk.streams, [id]: { ...before, ...change } } };
}

/** What a server said in a connection: an HTTP answer, or a head and a conversation. */
interface Answer {
  readonly head: HttpHead;
  readonly protocol: string;
  readonly body: string;
  readonly conversation: Conversation;
  readonly frames: readonly Frame[];
  /** Over SPDY, plain or in a tunnel. */
  readonly talk: SpdyTalk;
}

/**
 * A text without the words by which a kubelet and a container runtime tell the same end of a command: a gateway that translates passes
 * the upstream's on.
 */
function anyWording(text: string): string {
  return text.replaceAll("Internal error occurred: ", "")
    .replace(/(command terminated with non-zero exit code: )[^"]*/g, "$1…");
}

/** Reads what a server said; `terminals` are the SPDY streams or the channels that show a screen. */
function readAnswer(
  bytes: Uint8Array,
  terminals: readonly number[],
  words: (text: string) => string = (text) => text,
): Answer | undefined {
  const parsed = parseHead(bytes);
  if (!parsed) return undefined;
  const { head, rest } = parsed;
  const protocol = headerValue(head, "Sec-WebSocket-Protocol") ?? "";
  const upgraded = head.startLine.includes(" 101 ");
  const frames = upgraded && !isSpdy(head) ? parseFrames(rest).frames : [];
  const spdy = upgraded ? spdyFrames(head, rest) : [];
  const conversation = readConversation(frames, isTunnel(protocol) ? "" : protocol);
  const talk = readTalk(spdy);
  const normalize = (id: number, text: string) => plain(words(terminals.includes(id) ? screen(text) : text));
  return {
    head,
    protocol,
    frames,
    body: upgraded ? "" : new TextDecoder().decode(rest),
    conversation: {
      ...conversation,
      channels: isTunnel(protocol) ? {} : mapValues(conversation.channels, normalize),
      ...(isTunnel(protocol) && { firstChannel: undefined, order: [] }),
    },
    talk: {
      ...talk,
      streams: mapValues(talk.streams, (id, stream) => ({ ...stream, data: normalize(id, stream.data) })),
    },
  };
}

function isSpdy(head: HttpHead): boolean {
  return headerValue(head, "Upgrade") === "SPDY/3.1";
}

/** The SPDY among the bytes behind a head. */
function spdyFrames(head: HttpHead, rest: Uint8Array): SpdyFrame[] {
  if (isSpdy(head)) return parseSpdy(rest);
  return isTunnel(headerValue(head, "Sec-WebSocket-Protocol") ?? "")
    ? parseSpdy(tunnelled(parseFrames(rest).frames))
    : [];
}

function isTunnel(protocol: string): boolean {
  return protocol.startsWith("SPDY/3.1+");
}

function mapValues<T>(values: Readonly<Record<number, T>>, change: (id: number, value: T) => T): Record<number, T> {
  return Object.fromEntries(Object.entries(values).map(([id, value]) => [id, change(Number(id), value)]));
}

/** A text without what no two servers have alike: ids, an HTTP answer's head, how a dial failed in detail. */
function plain(text: string): string {
  return text.replace(/[0-9a-f]{64}/g, "ID")
    .replace(/HTTP\/1\.1 200 OK\r\n(?:.+\r\n)*\r\n/, "HTTP 200\n")
    .replace(/^(.*error forwarding port \d+) to pod [^]*connection refused[^]*$/, "$1: connection refused");
}

/** What shells of different make show alike: the lines without prompt, escape sequences, banner and `exit`. */
function screen(text: string): string {
  // deno-lint-ignore no-control-regex -- terminals' escape sequences start with ESC
  return text.replace(/\x1b\[[?0-9;]*[A-Za-z]/g, "").split("\r\n").map((line) => line.split("\r").at(-1)!)
    .map((line) => line.replace(/^(\/ # )+/, ""))
    .filter((line) => line !== "" && line !== "exit" && !/^BusyBox |^Enter 'help' |^\/dev\/pts\/\d+$/.test(line)).join(
      "\n",
    );
}

/** Whether `actual` holds as much as `expected`; the streams in `alive` need not have ended. */
function covers(actual: Answer | undefined, expected: Answer | undefined, alive: readonly number[] = []): boolean {
  if (!expected) return true;
  if (!actual) return false;
  const { channels, pongs, closes } = actual.conversation;
  const { streams, pings, goAway } = actual.talk;
  return actual.body.length >= expected.body.length &&
    Object.entries(expected.conversation.channels).every(([channel, data]) =>
      channels[Number(channel)] !== undefined && channels[Number(channel)]!.length >= data.length
    ) &&
    pongs.length >= expected.conversation.pongs.length && closes.length >= expected.conversation.closes.length &&
    pings.length >= expected.talk.pings.length && (goAway !== undefined || expected.talk.goAway === undefined) &&
    Object.entries(expected.talk.streams).every(([id, { replied, data, ended }]) => {
      const stream = streams[Number(id)];
      return stream !== undefined && (stream.replied || !replied) &&
        (stream.ended || !ended || alive.includes(Number(id))) &&
        stream.data.length >= data.length;
    });
}

/** The type of the SPDY frame that a recorded client goes on with, or begins, after it has `said` so much. */
function nextType(lines: readonly RecordedLine[], said: Uint8Array): number | undefined {
  const frames = (bytes: Uint8Array) => {
    const parsed = parseHead(bytes);
    return parsed ? spdyFrames(parsed.head, parsed.rest) : [];
  };
  return frames(bytesOf(lines, "client"))[frames(said).length]?.type;
}

/** `actual` without the ends that `expected` lacks. */
function withEnds(actual: SpdyTalk, expected: SpdyTalk): SpdyTalk {
  return {
    ...actual,
    goAway: expected.goAway && actual.goAway,
    streams: mapValues(actual.streams, (id, stream) => ({
      ...stream,
      ended: stream.ended && (expected.streams[id]?.ended ?? true),
    })),
  };
}

/**
 * Whether `received` is enough to go on, where the recorded client had said `said` and seen `recorded`, or is at its end.
 */
type Enough = (received: Uint8Array, recorded: Uint8Array, said: Uint8Array, atEnd: boolean) => boolean;

/** Plays the client of a recorded connection, as fast as the answers come that it had seen. */
async function play(lines: readonly RecordedLine[], connection: Deno.Conn, enough: Enough): Promise<Uint8Array> {
  const buffer = new Uint8Array(64 * 1024);
  const received = new Received(async () => {
    const n = await connection.read(buffer);
    return n === null ? undefined : buffer.slice(0, n);
  });
  const recorded: Uint8Array[] = [];
  const said: Uint8Array[] = [];
  const wait = (atEnd: boolean) => received.until((bytes) => enough(bytes, concat(recorded), concat(said), atEnd));
  const deadline = setTimeout(() => void connection.closeWrite().catch(() => {}), 30_000);
  for (const line of lines) {
    if (line.side === "server") recorded.push(line.bytes);
    else if (line.event === undefined) {
      await wait(false);
      await writeAll(connection, line.bytes);
      said.push(line.bytes);
    } else break;
  }
  await wait(true);
  await connection.closeWrite().catch(() => {}); // The host may have been first.
  const bytes = await received.whole;
  clearTimeout(deadline);
  connection.close();
  return bytes;
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  try {
    for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
  } catch (error) {
    // The recorded client too wrote to servers that had closed.
    if (!(error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionReset)) throw error;
  }
}

async function connect(host: Pick<HostServer, "address">): Promise<Deno.Conn> {
  const { address } = host;
  assert(address.transport === "tcp");
  const connection = await Deno.connect({ hostname: address.hostname, port: address.port });
  connection.setNoDelay();
  return connection;
}

/** Headers that no two servers have alike. */
const IGNORED = ["date", "audit-id", "content-length", "connection", "cache-control"];

async function checkRecording(
  name: string,
  host: Pick<HostServer, "address">,
  words?: (text: string) => string,
): Promise<void> {
  const recording = await loadRecording(name);
  // With a fallback, the old row has refused the first connection, which the host would not.
  const fallback = name.includes("-fallback-");
  assertEquals(recording.connections.length, fallback ? 2 : 1, name);
  const lines = recording.connections.at(-1)!;
  const { head: request, rest: clientBytes } = parseHead(bytesOf(lines, "client"))!;
  const terminals = !request.startLine.includes("tty=true")
    ? []
    : isSpdy(request)
    ? streamsOf(request, clientBytes, "stdout")
    : [1];
  const read = (bytes: Uint8Array) => readAnswer(bytes, terminals, words);
  const change = (answer: Answer): Answer => {
    const { expect, expectTalk } = DIFFERENT[name] ?? {};
    return {
      ...answer,
      ...(expect && { conversation: expect(answer.conversation) }),
      ...(expectTalk && { talk: expectTalk(answer.talk) }),
    };
  };
  const expected = change(read(bytesOf(lines, "server"))!);
  const bytes = await play(
    lines,
    await connect(host),
    (received, recorded, said, atEnd) => {
      if (atEnd) return covers(read(received), expected);
      // A client that has seen the data's end resets the stream; the error stream's end may come after that.
      const alive = nextType(lines, said) === SpdyType.RST_STREAM ? streamsOf(request, clientBytes, "error") : [];
      return covers(read(received), read(recorded), alive);
    },
  );
  const actual = read(bytes);
  assert(actual, `${name}: no answer`);
  assertEquals(actual.head.startLine, expected.head.startLine, name);
  if (!expected.head.startLine.includes(" 101 ")) {
    assertEquals(headerSet(actual.head, IGNORED), headerSet(expected.head, IGNORED), name);
    assertEquals(actual.body, expected.body, name);
    return;
  }
  // kubectl does not wait for the end: how much of it was still recorded is chance.
  const chance = recording.info.client.startsWith("kubectl") && (isTunnel(actual.protocol) || isSpdy(actual.head));
  assertEquals(chance ? withEnds(actual.talk, expected.talk) : actual.talk, expected.talk, name);
  if (isSpdy(actual.head)) {
    assertEquals(headerSet(actual.head, ["date"]), headerSet(expected.head, ["date"]), name);
    return;
  }
  const key = headerValue(request, "Sec-WebSocket-Key")!;
  assertEquals(headerValue(actual.head, "Sec-WebSocket-Accept"), await acceptOf(key), name);
  // x/net sends an empty subprotocol where none was offered; browsers take offence.
  const without = expected.protocol === ""
    ? ["sec-websocket-accept", "sec-websocket-protocol"]
    : ["sec-websocket-accept"];
  assertEquals(headerSet(actual.head, without), headerSet(expected.head, without), name);
  const closes = chance && expected.conversation.closes.length === 0 ? [] : actual.conversation.closes;
  const { channels } = GOES_ON.includes(name) ? cut(actual.conversation, expected.conversation) : actual.conversation;
  assertEquals({ ...actual.conversation, channels, closes }, expected.conversation, name);
  const text = expected.protocol.includes("base64");
  for (const { opcode, fin, masked, rsv } of actual.frames) {
    assertEquals({ fin, masked, rsv }, { fin: true, masked: false, rsv: 0 }, name);
    assert(opcode >= 8 || opcode === (text ? 1 : 2), `${name}: opcode ${opcode}`);
  }
}

/** `actual` with no more of each channel than `expected` has. */
function cut(actual: Conversation, expected: Conversation): Conversation {
  const channels = mapValues(actual.channels, (id, data) => data.slice(0, expected.channels[id]?.length ?? 0));
  return { ...actual, channels };
}

/** The streams of a type that a client opened. */
function streamsOf(request: HttpHead, bytes: Uint8Array, streamtype: string): number[] {
  return spdyFrames(request, bytes).filter(({ type, headers }) =>
    type === SpdyType.SYN_STREAM && headers.streamtype === streamtype
  ).map(({ id }) => id);
}

/** Runs `work` for each item, a few at a time. */
async function forEachConcurrently<T>(items: readonly T[], limit: number, work: (item: T) => Promise<unknown>) {
  const left = [...items];
  await Promise.all(Array.from({ length: limit }, async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  }));
}

/** Listens as the recorded pods did. */
async function withLocalPorts(work: (ports: LocalPorts) => Promise<void>): Promise<void> {
  const http = (body: string) => async (connection: Deno.Conn) => {
    await connection.read(new Uint8Array(1000));
    await writeLocal(connection, text(`HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${body}`));
  };
  const count = async (connection: Deno.Conn) => {
    const { length } = await readAll(connection);
    await writeLocal(connection, text(`${length} bytes`));
  };
  await withPort(
    http("hello-from-pod\n"),
    (web, refused) =>
      withPort(
        http("hello-from-pod2\n"),
        (web2) =>
          withPort(count, (count) => withPort(echo, (echo) => work({ http: [web, web2], count, echo, refused }))),
      ),
  );
}

const text = (value: string) => new TextEncoder().encode(value);

async function startHost(ports: LocalPorts, token: string | null): Promise<HostServer> {
  const host = await serveHost({ listen: { port: 0 }, pods: recordedPods(ports), token });
  const done = `http://127.0.0.1:${host.url.port}/${token === null ? "" : `${token}/`}api/v1/namespaces/cap/pods/p`;
  for (;;) {
    const pod = await (await fetch(done)).json();
    if (pod.status.containerStatuses[1].state.terminated) return host;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

Deno.test("the host answers recorded clients as the recorded servers did", async (test) => {
  const names = (await recordingNames()).filter((name) => {
    const different = DIFFERENT[name];
    return !different || different.expect || different.expectTalk;
  });
  await withLocalPorts(async (ports) => {
    await using open = await startHost(ports, null);
    await using closed = await startHost(ports, "a-token-nobody-knows");
    await forEachConcurrently(names, 8, (name) =>
      test.step({
        name,
        fn: async () => {
          // What is attached to shares one process with whoever else is.
          await using own = name.startsWith("attach-") ? await startHost(ports, null) : undefined;
          await checkRecording(name, own ?? (TOKEN_NEEDED.includes(name) ? closed : open));
        },
        // Steps side by side cannot be told apart; the test around them is checked.
        sanitizeOps: false,
        sanitizeResources: false,
        sanitizeExit: false,
      }));
  });
});

/** What a recorded client asked to upgrade to, in lower case. */
async function upgradeOf(name: string): Promise<string | undefined> {
  const { connections } = await loadRecording(name);
  return headerValue(parseHead(bytesOf(connections.at(-1)!, "client"))!.head, "Upgrade")?.toLowerCase();
}

for (
  const { how, wire, from } of [
    { how: "passes all through", wire: "auto", from: undefined },
    { how: "translates WebSockets to SPDY", wire: "spdy", from: "websocket" },
    { how: "translates SPDY to WebSockets", wire: "websocket", from: "spdy/3.1" },
  ] as const
) {
  Deno.test(`recorded clients hear what the host says through a gateway that ${how}`, async (test) => {
    const names: string[] = [];
    for (const name of await recordingNames()) {
      const different = DIFFERENT[name];
      if (TOKEN_NEEDED.includes(name) || (different && !different.expect && !different.expectTalk)) continue;
      if (from === undefined || await upgradeOf(name) === from) names.push(name);
    }
    await withLocalPorts(async (ports) => {
      await using open = await startHost(ports, null);
      await using gateway = await startGateway(open.url, { wire });
      await forEachConcurrently(names, 16, (name) =>
        test.step({
          name,
          fn: async () => {
            await using own = name.startsWith("attach-") ? await startHost(ports, null) : undefined;
            await using ownGateway = own && await startGateway(own.url, { wire });
            await checkRecording(name, ownGateway ?? gateway, wire === "auto" ? undefined : anyWording);
          },
          // As above.
          sanitizeOps: false,
          sanitizeResources: false,
          sanitizeExit: false,
        }));
    });
  });
}

Deno.test("every recording that the host answers differently exists", async () => {
  const names = await recordingNames();
  assertEquals(Object.keys(DIFFERENT).filter((name) => !names.includes(name)), []);
});
