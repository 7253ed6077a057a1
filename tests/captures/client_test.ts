/** The recorded servers against our client: it must understand them, and say what the recorded clients said. */
import { assert, assertEquals, assertInstanceOf, assertMatch, assertStringIncludes } from "@std/assert";
import { type RemoteProcess, UpgradeError } from "../../lib/client/mod.ts";
import { withRawServer } from "../client/raw_server.ts";
import { answerHead, type Exchange, play, type Played, readExchange } from "./recorded_server.ts";
import {
  type Conversation,
  type Frame,
  headerSet,
  headerValue,
  loadRecording,
  parseFrames,
  readConversation,
  type Recording,
  recordingNames,
  type Side,
} from "./recording.ts";
import { checkOutcome, forEach, latin1, type Outcome, outcomeOf, readQuery, readSizes, replay } from "./replay.ts";

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

/** A session, read without podwire's code. */
interface Recorded extends Exchange {
  readonly protocol: string;
  readonly client: readonly Frame[];
  readonly server: Conversation;
}

function readRecording(recording: Recording): Recorded {
  const exchange = readExchange(recording);
  const { response, accepted, rest } = exchange;
  const protocol = headerValue(response, "sec-websocket-protocol") ?? "";
  const frames = (side: Side) => accepted ? parseFrames(rest[side]).frames : [];
  return { ...exchange, protocol, client: frames("client"), server: readConversation(frames("server"), protocol) };
}

/** Whether our client has said as much as the recorded one. */
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

function expectedOutcome({ protocol, server }: Recorded): Outcome {
  const text = server.channels[3] ?? "";
  if (text === "") return { error: "DisconnectedError", message: "connection closed before exit status" };
  if (protocol !== "v5.channel.k8s.io" && !protocol.startsWith("v4.")) {
    return { error: "RemoteCommandError", message: `Error executing remote command: ${text}` };
  }
  return outcomeOf(text);
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
  const recorded = readRecording(await loadRecording(name));
  const { kubectl, protocol, server: { channels, closes } } = recorded;
  const isLikeUs = !(name in UNLIKE_US);
  let played: Played | undefined;
  await withRawServer(async (connection) => {
    if (!recorded.accepted) {
      const request = await connection.head();
      await connection.write(await answerHead(recorded.response, request) + recorded.body);
      if (headerValue(recorded.response, "content-length") === undefined) await connection.closeWrite();
      return await connection.gone();
    }
    played = await play(recorded, connection, (received, expected, next) => {
      const read = (bytes: Uint8Array) => readConversation(parseFrames(bytes).frames, protocol);
      return !isLikeUs || next.event !== undefined || covers(read(received), read(expected));
    });
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
    assert(recorded.accepted);
    const speaking = isLikeUs ? speak(process, recorded) : undefined;
    const gaveUp = !isLikeUs && closes.length === 0 && channels[3] === undefined;
    if (gaveUp) {
      process.close();
      assertInstanceOf(await process.status.catch((error) => error), Error);
    } else {
      const said = { stdout: channels[1] ?? "", stderr: channels[2] ?? "" };
      await checkOutcome(recorded, process, said, expectedOutcome(recorded), isLikeUs);
    }
    await speaking;
  });
  if (!played || !isLikeUs || !kubectl) return;
  // What kubectl said, we say.
  assertEquals(readQuery(played.request), readQuery(recorded.request));
  assertEquals(headerSet(played.request, IGNORED), headerSet(recorded.request, IGNORED));
  assertMatch(headerValue(played.request, "sec-websocket-protocol") ?? "", /^v5\.channel\.k8s\.io\b/);
  const { frames } = parseFrames(played.bytes);
  const said = readConversation(frames, protocol);
  const expected = readConversation(recorded.client, protocol);
  assertEquals(
    [said.channels, said.closedChannels, said.closes],
    [expected.channels, expected.closedChannels, expected.closes],
  );
  for (const { opcode, fin, masked, rsv } of frames) {
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
