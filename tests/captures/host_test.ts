/** The recorded clients against the embedded host: it must answer as the recorded servers did. */
import { assert, assertEquals } from "@std/assert";
import { type HostPod, type HostServer, serveHost } from "../../lib/server/mod.ts";
import {
  bytesOf,
  concat,
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

/** The recorded pods, as far as local processes can play them. */
const PODS: readonly HostPod[] = [
  ...["web", "web2"].map((name) => ({
    name,
    containers: [
      { name: "main", command: ["sleep", "600"], env: { PS1: "/ # " } },
      { name: "shell", command: ["sh"], env: { PS1: "/ # " }, tty: true, stdin: true },
      { name: "cat", command: ["cat"], stdin: true },
    ],
  })),
  {
    name: "p",
    namespace: "cap",
    containers: [{ name: "main", command: ["sleep", "600"] }, { name: "done", command: ["true"] }],
  },
];

const TOKEN_NEEDED = ["err-bearer-alone-default", "err-bearer-nocert-default"];

/** Recordings that the host does not answer in the same way, and why. `expect` says what it answers instead. */
const DIFFERENT: Record<
  string,
  { readonly reason: string; readonly expect?: (recorded: Conversation) => Conversation }
> = {
  ...forEach(
    ["err-anonymous-default", "err-baduser-ws-default", "err-creator-ws-default", "err-getter-ws-default"],
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
    reason: "a bad size wedges nothing (protocol.md A.12 b), and costs none of those after it",
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
  ...forEach(["exec-poddeleted-ws-default", "exec-poddeleted-ws-mid"], {
    reason: "pods of the host cannot be deleted; exit code 137 is v5-signal's",
  }),
  ...forEach(["exec-interrupt-ws-mid", "v5-clientfin-mid"], {
    reason: "a client that has ended gets no Close frame, as in the direct row",
    expect: (recorded) => ({ ...recorded, closes: [], order: recorded.order.filter((step) => step !== "close") }),
  }),
  "v5-clientclose-default": {
    reason: "the answer to a Close frame repeats its code (RFC 6455 section 5.5.1)",
    expect: (recorded) => ({ ...recorded, closes: [1001] }),
  },
  "v5-unmasked-default": {
    reason: "one Close frame is enough (RFC 6455 section 5.5.1)",
    expect: (recorded) => ({ ...recorded, closes: [1002] }),
  },
  "v5-fragment-default": {
    reason: "fragments are reassembled (protocol.md I16)",
    expect: (recorded) => ({ ...recorded, channels: { ...recorded.channels, 1: "abcdez" } }),
  },
  ...forEach(["v5-fragment0-default", "v5-fragment0-mid", "v4-fragment-default", "v4-fragment-old"], {
    reason: "fragments are reassembled (I16): the second channel byte is data",
    expect: (recorded) => ({ ...recorded, channels: { ...recorded.channels, 1: "ab\0cd" } }),
  }),
  "v5-resize-notty-default": {
    reason: "a size without a terminal wedges nothing (I17)",
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

function forEach<T>(names: readonly string[], value: T): Record<string, T> {
  return Object.fromEntries(names.map((name) => [name, value]));
}

/** What one side said in a connection: an HTTP answer, or a head and a conversation. */
interface Answer {
  readonly head: HttpHead;
  readonly protocol: string;
  readonly body: string;
  readonly conversation: Conversation;
  readonly frames: readonly Frame[];
}

function readAnswer(bytes: Uint8Array, terminal: boolean): Answer | undefined {
  const parsed = parseHead(bytes);
  if (!parsed) return undefined;
  const { head, rest } = parsed;
  const protocol = headerValue(head, "Sec-WebSocket-Protocol") ?? "";
  const upgraded = head.startLine.includes(" 101 ");
  const frames = upgraded ? parseFrames(rest).frames : [];
  const conversation = readConversation(frames, protocol);
  const channels = { ...conversation.channels };
  if (terminal && channels[1] !== undefined) channels[1] = screen(channels[1]);
  if (channels[3] !== undefined) channels[3] = channels[3].replace(/[0-9a-f]{64}/g, "ID");
  return {
    head,
    protocol,
    frames,
    body: upgraded ? "" : new TextDecoder().decode(rest),
    conversation: { ...conversation, channels },
  };
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

/** Whether `actual` holds as much as `expected`. */
function covers(actual: Answer | undefined, expected: Answer | undefined): boolean {
  if (!expected) return true;
  if (!actual) return false;
  const { channels, pongs, closes } = actual.conversation;
  return actual.body.length >= expected.body.length &&
    Object.entries(expected.conversation.channels).every(([channel, data]) =>
      channels[Number(channel)] !== undefined && channels[Number(channel)]!.length >= data.length
    ) &&
    pongs.length >= expected.conversation.pongs.length && closes.length >= expected.conversation.closes.length;
}

/** Whether `received` is enough to go on, where the recorded client had seen `recorded`, or is at its end. */
type Enough = (received: Uint8Array, recorded: Uint8Array, atEnd: boolean) => boolean;

/** Plays the client of a recorded connection, as fast as the answers come that it had seen. */
async function play(lines: readonly RecordedLine[], connection: Deno.Conn, enough: Enough): Promise<Uint8Array> {
  const received: Uint8Array[] = [];
  let arrived = Promise.withResolvers<void>();
  let ended = false;
  const reading = (async () => {
    const buffer = new Uint8Array(64 * 1024);
    for (;;) {
      const n = await connection.read(buffer).catch(() => null);
      if (n === null) break;
      received.push(buffer.slice(0, n));
      arrived.resolve();
      arrived = Promise.withResolvers();
    }
    ended = true;
    arrived.resolve();
  })();
  const recorded: Uint8Array[] = [];
  const wait = async (atEnd: boolean) => {
    while (!ended && !enough(concat(received), concat(recorded), atEnd)) await arrived.promise;
  };
  const deadline = setTimeout(() => void connection.closeWrite().catch(() => {}), 30_000);
  for (const line of lines) {
    if (line.side === "server") recorded.push(line.bytes);
    else if (line.event === undefined) {
      await wait(false);
      await writeAll(connection, line.bytes);
    } else break;
  }
  await wait(true);
  await connection.closeWrite().catch(() => {}); // The host may have been first.
  await reading;
  clearTimeout(deadline);
  connection.close();
  return concat(received);
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  try {
    for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
  } catch (error) {
    // The recorded client too wrote to servers that had closed.
    if (!(error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionReset)) throw error;
  }
}

async function connect(host: HostServer): Promise<Deno.Conn> {
  const { address } = host;
  assert(address.transport === "tcp");
  const connection = await Deno.connect({ hostname: address.hostname, port: address.port });
  connection.setNoDelay();
  return connection;
}

/** Headers that no two servers have alike. */
const IGNORED = ["date", "audit-id", "content-length", "connection", "cache-control"];

async function checkRecording(name: string, host: HostServer): Promise<void> {
  const recording = await loadRecording(name);
  assertEquals(recording.connections.length, 1, `${name} has more than one connection`);
  const lines = recording.connections[0]!;
  const request = parseHead(bytesOf(lines, "client"))!.head;
  const terminal = request.startLine.includes("tty=true");
  const read = (bytes: Uint8Array) => readAnswer(bytes, terminal);
  const change = (answer: Answer): Answer => {
    const expect = DIFFERENT[name]?.expect;
    return expect ? { ...answer, conversation: expect(answer.conversation) } : answer;
  };
  const expected = change(read(bytesOf(lines, "server"))!);
  const bytes = await play(
    lines,
    await connect(host),
    (received, recorded, atEnd) => covers(read(received), atEnd ? expected : read(recorded)),
  );
  const actual = read(bytes);
  assert(actual, `${name}: no answer`);
  assertEquals(actual.head.startLine, expected.head.startLine, name);
  if (!expected.head.startLine.includes(" 101 ")) {
    assertEquals(headerSet(actual.head, IGNORED), headerSet(expected.head, IGNORED), name);
    assertEquals(actual.body, expected.body, name);
    return;
  }
  const key = headerValue(request, "Sec-WebSocket-Key")!;
  assertEquals(headerValue(actual.head, "Sec-WebSocket-Accept"), await acceptValue(key), name);
  // x/net sends an empty subprotocol where none was offered; browsers take offence.
  const without = expected.protocol === ""
    ? ["sec-websocket-accept", "sec-websocket-protocol"]
    : ["sec-websocket-accept"];
  assertEquals(headerSet(actual.head, without), headerSet(expected.head, without), name);
  assertEquals(actual.conversation, expected.conversation, name);
  const text = expected.protocol.includes("base64");
  for (const { opcode, fin, masked, rsv } of actual.frames) {
    assertEquals({ fin, masked, rsv }, { fin: true, masked: false, rsv: 0 }, name);
    assert(opcode >= 8 || opcode === (text ? 1 : 2), `${name}: opcode ${opcode}`);
  }
}

async function acceptValue(key: string): Promise<string> {
  const text = new TextEncoder().encode(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
  return new Uint8Array(await crypto.subtle.digest("SHA-1", text)).toBase64();
}

/** Runs `work` for each item, a few at a time. */
async function forEachConcurrently<T>(items: readonly T[], limit: number, work: (item: T) => Promise<unknown>) {
  const left = [...items];
  await Promise.all(Array.from({ length: limit }, async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  }));
}

async function startHost(token: string | null): Promise<HostServer> {
  const host = await serveHost({ listen: { port: 0 }, pods: PODS, token });
  const done = `http://127.0.0.1:${host.url.port}/${token === null ? "" : `${token}/`}api/v1/namespaces/cap/pods/p`;
  for (;;) {
    const pod = await (await fetch(done)).json();
    if (pod.status.containerStatuses[1].state.terminated) return host;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

Deno.test("the host answers recorded clients as the recorded servers did", async (test) => {
  const names = (await recordingNames()).filter((name) => !(name in DIFFERENT) || DIFFERENT[name]!.expect);
  await using open = await startHost(null);
  await using closed = await startHost("a-token-nobody-knows");
  await forEachConcurrently(names, 8, (name) =>
    test.step({
      name,
      fn: async () => {
        // What is attached to shares one process with whoever else is.
        await using own = name.startsWith("attach-") ? await startHost(null) : undefined;
        await checkRecording(name, own ?? (TOKEN_NEEDED.includes(name) ? closed : open));
      },
      // Steps side by side cannot be told apart; the test around them is checked.
      sanitizeOps: false,
      sanitizeResources: false,
      sanitizeExit: false,
    }));
});

Deno.test("every recording that the host answers differently exists", async () => {
  const names = await recordingNames();
  assertEquals(Object.keys(DIFFERENT).filter((name) => !names.includes(name)), []);
});
