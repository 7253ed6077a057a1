/** The recorded servers against our client: it must understand them, and say what the recorded clients said. */
import { assert, assertEquals, assertInstanceOf, assertMatch, assertStringIncludes } from "@std/assert";
import { DisconnectedError } from "../../lib/channels/mod.ts";
import { type RemoteProcess, UpgradeError } from "../../lib/client/mod.ts";
import { type RawConnection, withRawServer } from "../client/raw_server.ts";
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
  type Recording,
  recordingNames,
} from "./recording.ts";
import { forEach, headLength, isTrue, latin1, readQuery, readSizes, replay } from "./replay.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/**
 * Recordings whose client said what podwire never says, and why. The server's side is played all the same, without
 * waiting for that; what it leads to is checked.
 */
const UNLIKE_US: Record<string, string> = {
  ...forEach(
    ["exec-interrupt-ws-default", "exec-interrupt-ws-mid"],
    "kubectl was killed; here the test ends the session",
  ),
  ...forEach(
    ["v5-clientfin-default", "v5-clientfin-mid", "v5-clientclose-default", "v5-clientclose-output-default"],
    "the client gave up; podwire drops the connection then",
  ),
  ...forEach(["v4-clientclose-default", "v4-clientclose-old", "exec-stdin-clientnode-old"], "v4 cannot end stdin"),
  ...forEach(["v4-ff00-default", "v4-ff00-old"], "v4 has no close signal"),
  ...forEach(["v5-ff-default", "v5-ff0000-default", "v5-ff01-default", "v5-ff05-default"], "a malformed close signal"),
  ...forEach(
    ["v5-fragment-default", "v5-fragment0-default", "v5-fragment0-mid", "v4-fragment-default", "v4-fragment-old"],
    "podwire never sends fragments",
  ),
  "v5-close-default": "input after its end",
  "v5-nostdin-default": "input that was not asked for",
  "v5-odd-default": "messages on channels that are not the client's",
  "v5-text-default": "a text frame",
  "v5-unmasked-default": "an unmasked frame",
  "v5-ping-default": "Pings of another time and payload",
  ...forEach(
    ["v5-resize-notty-default", "v4-resize-notty-default", "v4-resize-notty-old"],
    "no sizes without a terminal",
  ),
  ...forEach(["v5-badresize-default", "v5-badresize1-mid"], "a size that is none"),
  "v5-lowresize-default": "sizes in lower case, split in two",
  "v5-onlystdin-default": "podwire asks for an output always, so that a server accepts it",
};

/** Recordings of protocols that say nothing on success: without an answer podwire takes nothing for success. */
const SILENT = ["raw-exec-ok-v1-default", "raw-exec-ok-v1-old", "raw-exec-ok-b64-default", "raw-exec-ok-b64-old"];

/** What a session's server said, read without podwire's code. */
interface Recorded {
  readonly request: HttpHead;
  readonly response: HttpHead;
  /** Of a refusal. */
  readonly body: string;
  readonly protocol: string;
  readonly client: readonly Frame[];
  readonly server: Conversation;
}

function readRecording(recording: Recording): Recorded {
  const [lines = []] = recording.connections;
  const client = parseHead(bytesOf(lines, "client"));
  const server = parseHead(bytesOf(lines, "server"));
  assert(client && server, `${recording.name} has no whole heads`);
  const accepted = server.head.startLine.includes(" 101 ");
  const protocol = headerValue(server.head, "sec-websocket-protocol") ?? "";
  return {
    request: client.head,
    response: server.head,
    body: accepted ? "" : new TextDecoder().decode(server.rest),
    protocol,
    client: accepted ? parseFrames(client.rest).frames : [],
    server: readConversation(accepted ? parseFrames(server.rest).frames : [], protocol),
  };
}

/** Plays the server of a recording: holds back what came after bytes of the client until it has as much. */
async function play(
  recording: Recording,
  recorded: Recorded,
  connection: RawConnection,
): Promise<{ request: HttpHead; frames: Frame[] }> {
  const [lines = []] = recording.connections;
  const patient = !(recording.name in UNLIKE_US);
  const request = await connection.head();
  const frames: Frame[] = [];
  let arrived = Promise.withResolvers<void>();
  let ended = false;
  const reading = (async () => {
    for (let frame; (frame = await connection.frame().catch(() => undefined));) {
      frames.push(frame);
      arrived.resolve();
      arrived = Promise.withResolvers();
    }
    ended = true;
    arrived.resolve();
  })();

  const deadline = setTimeout(() => connection.close(), 10_000); // Where our client does not say what was recorded.
  await connection.write(await answerHead(recorded.response, request));
  const headSize = { client: headLength(lines, "client"), server: headLength(lines, "server") };
  const said: Uint8Array[] = [];
  for (const line of lines) {
    const bytes = line.bytes.subarray(Math.min(headSize[line.side], line.bytes.length));
    headSize[line.side] -= line.bytes.length - bytes.length;
    if (line.side === "client") said.push(bytes);
    else if (bytes.length > 0) {
      const expected = readConversation(parseFrames(concat(said)).frames, recorded.protocol);
      while (patient && !ended && !covers(readConversation(frames, recorded.protocol), expected)) await arrived.promise;
      if (!ended) await connection.write(bytes).catch(() => {}); // The client may have gone meanwhile.
    }
  }
  if (lines.some((line) => line.side === "server" && line.event)) await connection.closeWrite().catch(() => {});
  await reading;
  clearTimeout(deadline);
  return { request, frames };
}

/** The recorded head, with the Accept that belongs to our key. */
async function answerHead(head: HttpHead, request: HttpHead): Promise<string> {
  const key = headerValue(request, "sec-websocket-key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const accept = new Uint8Array(await crypto.subtle.digest("SHA-1", new TextEncoder().encode(key))).toBase64();
  const lines = head.headers.map(([name, value]) =>
    `${name}: ${name.toLowerCase() === "sec-websocket-accept" ? accept : value}`
  );
  return [head.startLine, ...lines, "", ""].join("\r\n");
}

function covers(actual: Conversation, expected: Conversation): boolean {
  return [0, 4].every((channel) =>
    (actual.channels[channel] ?? "").length >= (expected.channels[channel] ?? "").length
  ) &&
    actual.closedChannels.length >= expected.closedChannels.length;
}

/** The sizes that a recorded client sent, each in a message of its own. */
function sizes(recorded: Recorded): ReturnType<typeof readSizes> {
  return recorded.client.filter(({ opcode, payload }) => opcode === 2 && payload[0] === 4)
    .flatMap(({ payload }) => readSizes(latin1(payload.subarray(1))));
}

/** Says what the recorded client said, in its order. */
async function speak(process: RemoteProcess, recorded: Recorded): Promise<void> {
  const [, ...later] = sizes(recorded);
  let writer: WritableStreamDefaultWriter<Uint8Array> | undefined;
  let first = true;
  for (const { opcode, payload } of recorded.client) {
    if (opcode === 1) { // A base64 subprotocol; its channels are digits.
      writer ??= process.stdin.getWriter();
      await writer.write(Uint8Array.fromBase64(latin1(payload.subarray(1))));
    }
    if (opcode !== 2) continue;
    if (payload[0] === 4) {
      const size = first ? undefined : later.shift();
      first = false;
      if (size) await process.resize(size);
      continue;
    }
    writer ??= process.stdin.getWriter();
    await (payload[0] === 255 ? writer.close() : writer.write(payload.subarray(1)));
  }
}

/** What the session came to, as far as the server's bytes tell. */
async function checkOutcome(recording: Recording, recorded: Recorded, process: RemoteProcess): Promise<void> {
  const query = new URL(recorded.request.startLine.split(" ")[1] ?? "", "http://x").searchParams;
  const text = (stream: "stdout" | "stderr") =>
    isTrue(query.get(stream)) ? new Response(process[stream]).bytes().then(latin1) : "";
  const [stdout, stderr, status] = await Promise.allSettled([text("stdout"), text("stderr"), process.status]);
  const { channels } = recorded.server;
  const outcome = status.status === "fulfilled" ? status.value.code : status.reason;
  const expected = expectedOutcome(recorded);
  if (typeof expected === "number") {
    assertEquals(outcome, expected);
  } else {
    assertEquals(outcome.name, expected.error);
    assertStringIncludes(outcome.message, expected.message);
  }
  if (!(outcome instanceof DisconnectedError)) {
    assertEquals([stdout, stderr], [
      { status: "fulfilled", value: channels[1] ?? "" },
      { status: "fulfilled", value: channels[2] ?? "" },
    ]);
  } else {
    assertEquals(outcome.bytesReceived, (channels[1] ?? "").length + (channels[2] ?? "").length);
  }
  // In a terminal a script drove kubectl: exit code and output are the script's.
  if (recording.info.client.startsWith("kubectl") && !isTrue(query.get("tty")) && !(recording.name in UNLIKE_US)) {
    assertEquals(typeof outcome === "number" ? outcome : 1, recording.info.exit, "kubectl's exit code");
    assertEquals(channels[1] ?? "", recording.info.stdout, "kubectl's output");
  }
}

function expectedOutcome(
  { protocol, server }: Recorded,
): number | { error: "DisconnectedError" | "RemoteCommandError"; message: string } {
  const text = server.channels[3] ?? "";
  if (text === "") return { error: "DisconnectedError", message: "connection closed before exit status" };
  if (protocol !== "v5.channel.k8s.io" && !protocol.startsWith("v4.")) {
    return { error: "RemoteCommandError", message: `Error executing remote command: ${text}` };
  }
  const status = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (c) => c.charCodeAt(0))));
  if (status.status === "Success") return 0;
  if (status.reason === "NonZeroExitCode") return Number(status.details.causes[0].message);
  return { error: "RemoteCommandError", message: status.message };
}

/** Fields that are not podwire's, or that no two requests have alike. */
const IGNORED = [
  "host",
  "user-agent",
  "kubectl-command",
  "kubectl-session",
  "sec-websocket-key",
  "sec-websocket-protocol",
];

async function checkRecording(name: string): Promise<void> {
  const recording = await loadRecording(name);
  const recorded = readRecording(recording);
  const kubectl = recording.info.client.startsWith("kubectl");
  let played: { request: HttpHead; frames: Frame[] } | undefined;
  await withRawServer(async (connection) => {
    if (!recorded.response.startLine.includes(" 101 ")) {
      const request = await connection.head();
      await connection.write(await answerHead(recorded.response, request) + recorded.body);
      if (headerValue(recorded.response, "content-length") === undefined) await connection.closeWrite();
      return await connection.gone();
    }
    played = await play(recording, recorded, connection);
  }, async (server) => {
    let process: RemoteProcess;
    try {
      const offered = recorded.request.headers.filter(([name]) => name.toLowerCase() === "sec-websocket-protocol")
        .flatMap(([, value]) => value.split(",").map((name) => name.trim()));
      process = await replay(recorded.request, server, {
        wire: "websocket",
        size: sizes(recorded)[0],
        ...(!kubectl && offered.length > 0 && { offered }), // Of its own accord podwire offers v5 and v4 only.
      });
    } catch (error) {
      assertInstanceOf(error, UpgradeError, `${error}`);
      const [, code] = recorded.response.startLine.split(" ");
      assertEquals(error.code, Number(code));
      if (code === "101") return assertMatch(error.message, /invalid protocol, expected one of .*, got ""/);
      const message = recorded.body.startsWith("{") ? JSON.parse(recorded.body).message : recorded.body;
      return assertStringIncludes(error.message, message || "403 Forbidden without a body");
    }
    await using _ = process;
    assertMatch(recorded.response.startLine, / 101 /);
    const speaking = name in UNLIKE_US ? undefined : speak(process, recorded);
    const gaveUp = name in UNLIKE_US && recorded.server.closes.length === 0 &&
      recorded.server.channels[3] === undefined;
    if (gaveUp) {
      process.close();
      assertInstanceOf(await process.status.catch((error) => error), Error);
    } else await checkOutcome(recording, recorded, process);
    await speaking;
  });
  if (!played || name in UNLIKE_US || !kubectl) return;
  // What kubectl said, we say.
  assertEquals(readQuery(played.request), readQuery(recorded.request));
  assertEquals(headerSet(played.request, IGNORED), headerSet(recorded.request, IGNORED));
  assertMatch(headerValue(played.request, "sec-websocket-protocol") ?? "", /^v5\.channel\.k8s\.io\b/);
  const said = readConversation(played.frames, recorded.protocol);
  const expected = readConversation(recorded.client, recorded.protocol);
  assertEquals(
    [said.channels, said.closedChannels, said.closes],
    [expected.channels, expected.closedChannels, expected.closes],
  );
  for (const { opcode, fin, masked, rsv } of played.frames) {
    assertEquals({ fin, masked, rsv }, { fin: true, masked: true, rsv: 0 });
    assert(opcode >= 8 || opcode === 2, "client-go takes binary messages only");
  }
}

/** Recordings of exec and attach over WebSockets. */
const played = (await recordingNames()).filter((name) => !/spdy|pf|tunnel|fallback/.test(name));

for (const name of played) {
  Deno.test(`podwire understands the server of ${name}`, () => checkRecording(name));
}

Deno.test("every recording that has a reason here exists", async () => {
  const names = await recordingNames();
  assertEquals([...Object.keys(UNLIKE_US), ...SILENT].filter((name) => !names.includes(name)), []);
  for (const name of SILENT) {
    const outcome = expectedOutcome(readRecording(await loadRecording(name)));
    assertEquals(typeof outcome === "object" && outcome.error, "DisconnectedError");
  }
});
