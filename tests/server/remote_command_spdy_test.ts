/** exec and attach over SPDY: a scripted client against the host. */
import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { duplexPair } from "../../lib/bytes/mod.ts";
import { type HostPod, type HostServer, serveHost } from "../../lib/server/mod.ts";
import { SpdyServerWire } from "../../lib/server/remote_command_spdy.ts";
import { serveRemoteCommand } from "../../lib/server/remote_command.ts";
import { headerSet } from "../captures/recording.ts";
import { type SpdyTalk, SpdyType } from "../captures/spdy_recording.ts";
import { BytePeer, control, data, fin, goAway, ping, plain, rstStream } from "../spdy/harness.ts";
import { standstill, until } from "../support/until.ts";
import { floods } from "./flood.ts";
import { isAlive } from "./processes.ts";
import { execPath } from "./raw_client.ts";
import { assertRefused, RawSpdyClient } from "./raw_spdy_client.ts";

const WEB: HostPod = { name: "web", containers: [{ name: "main", command: ["cat"], stdin: true }] };
const SUCCESS = '{"metadata":{},"status":"Success"}';
const V4 = "v4.channel.k8s.io";

const startHost = () => serveHost({ listen: { port: 0 }, pods: [WEB] });

/** Opens the streams of `types`, error first, with ids 1, 3, 5 … */
async function start(
  host: HostServer,
  command: readonly string[],
  types: readonly string[],
  protocol = V4,
): Promise<RawSpdyClient> {
  const flags = types.filter((type) => type !== "resize").map((type) => `${type}=true`);
  if (types.includes("resize")) flags.push("tty=true");
  const client = await RawSpdyClient.open(host, execPath(host, command, flags.join("&")), [protocol]);
  assertEquals(client.head.startLine, "HTTP/1.1 101 Switching Protocols");
  await client.send(...["error", ...types].map((streamtype, i) => client.open(2 * i + 1, { streamtype })));
  return client;
}

/** What was said on each stream, by type. */
function byType(talk: SpdyTalk, types: readonly string[]): Record<string, string> {
  return Object.fromEntries(["error", ...types].map((type, i) => [type, talk.streams[2 * i + 1]?.data ?? ""]));
}

Deno.test("exec over SPDY ends its outputs, then tells the status, then goes away", async () => {
  await using host = await startHost();
  using client = await start(host, ["sh", "-c", "echo out; echo err >&2; exit 7"], ["stdout", "stderr"]);
  const talk = await client.finish();
  assertEquals(byType(talk, ["stdout", "stderr"]), {
    stdout: "out\n",
    stderr: "err\n",
    error:
      '{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: error executing command ' +
      '[sh -c echo out; echo err \\u003e\\u00262; exit 7], exit code 7","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode",' +
      '"message":"7"}]}}',
  });
  assertEquals(talk.goAway, [5, 0]);
  const at = (type: number, id: number, fin: boolean) =>
    client.frames.findIndex((frame) => frame.type === type && frame.id === id && frame.fin === fin);
  assert(at(0, 3, true) < at(0, 1, false) && at(0, 5, true) < at(0, 1, false) && at(0, 1, false) < at(0, 1, true));
  assertEquals(client.frames.at(-1)!.type, SpdyType.GOAWAY);
});

Deno.test("exec over SPDY says a failure as text before v4, and success not at all", async () => {
  await using host = await startHost();
  for (const protocol of ["channel.k8s.io", "v2.channel.k8s.io", "v3.channel.k8s.io"]) {
    using failing = await start(host, ["sh", "-c", "exit 7"], ["stdout"], protocol);
    const text = "command terminated with non-zero exit code: error executing command [sh -c exit 7], exit code 7";
    const { streams } = await failing.finish();
    assertEquals(streams[1], { replied: true, data: text, ended: true });
    using succeeding = await start(host, ["echo", "hi"], ["stdout"], protocol);
    assertEquals((await succeeding.finish()).streams, {
      1: { replied: true, data: "", ended: true },
      3: { replied: true, data: "hi\n", ended: true },
    });
  }
});

Deno.test("exec over SPDY takes the client's first protocol that it speaks, from lines and lists", async () => {
  await using host = await startHost();
  const path = execPath(host, ["true"]);
  const cases: ReadonlyArray<readonly [readonly string[], string]> = [
    [["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"], "v4.channel.k8s.io"],
    [["v5.channel.k8s.io, v2.channel.k8s.io", "v4.channel.k8s.io"], "v2.channel.k8s.io"],
  ];
  for (const [offers, chosen] of cases) {
    using client = await RawSpdyClient.open(host, path, offers);
    assertEquals(headerSet(client.head, ["date"]), [
      "connection: Upgrade",
      "upgrade: SPDY/3.1",
      `x-stream-protocol-version: ${chosen}`,
    ]);
  }
});

Deno.test("exec over SPDY is refused without a protocol, or without a known one, or for another upgrade", async () => {
  await using host = await startHost();
  const path = execPath(host, ["true"]);
  for (const offers of [[], [""], [" , "]]) {
    using client = await RawSpdyClient.open(host, path, offers);
    await assertRefused(client, "400 Bad Request", "unable to upgrade: X-Stream-Protocol-Version is required\n");
  }
  using unknown = await RawSpdyClient.open(host, path, ["v5.channel.k8s.io", "v9.channel.k8s.io"]);
  const line =
    "unable to upgrade: unable to negotiate protocol: client supports [v5.channel.k8s.io v9.channel.k8s.io], " +
    "server accepts [v4.channel.k8s.io v3.channel.k8s.io v2.channel.k8s.io channel.k8s.io]\n";
  assertEquals(
    headerSet(unknown.head, ["date", "content-length"]).filter((line) => line.startsWith("x-")),
    [
      "x-accepted-stream-protocol-versions: channel.k8s.io",
      "x-accepted-stream-protocol-versions: v2.channel.k8s.io",
      "x-accepted-stream-protocol-versions: v3.channel.k8s.io",
      "x-accepted-stream-protocol-versions: v4.channel.k8s.io",
      "x-content-type-options: nosniff",
    ],
  );
  await assertRefused(unknown, "403 Forbidden", line + line);
  using other = await RawSpdyClient.request(host, `POST ${path}`, ["Upgrade: h2c"]);
  const text = 'unable to upgrade: missing upgrade headers in request: Upgrade: "h2c"\n';
  await assertRefused(other, "400 Bad Request", text);
});

Deno.test("a body in front of SPDY is no frame, and frames may follow the request at once", async () => {
  await using host = await startHost();
  const path = execPath(host, ["cat"], "stdin=true&stdout=true");
  const blocks = new BytePeer(duplexPair()[0]).blocks;
  const open = (id: number, type: string) =>
    control(1, new Uint8Array([0, 0, 0, id, 0, 0, 0, 0, 0, 0, ...blocks.of(["streamtype", type])]));
  const frames = [open(1, "error"), open(3, "stdin"), open(5, "stdout"), data(3, "early"), fin(3)].flatMap((frame) => [
    ...frame,
  ]);
  const lines = ["Upgrade: SPDY/3.1", `X-Stream-Protocol-Version: ${V4}`, "Content-Length: 4"];
  const behind = Uint8Array.of(...new TextEncoder().encode("body"), ...frames);
  using client = await RawSpdyClient.request(host, `POST ${path}`, lines, behind);
  assertEquals(byType(await client.finish(), ["stdin", "stdout"]), { error: SUCCESS, stdin: "", stdout: "early" });
});

Deno.test("a terminal over SPDY has its size from the resize stream, whole or in parts", async () => {
  await using host = await startHost();
  using client = await start(host, ["sh"], ["stdin", "stdout", "resize"]);
  await client.send(data(7, '{"Width":80,"Hei'));
  await client.send(data(7, 'ght":24}\n{"Width":77,"Height":21}'));
  const shows = (text: string) => (talk: SpdyTalk) => talk.streams[5]?.data.includes(text) ?? false;
  // What is typed before the size is there sees the one before: ask until it is.
  while (!shows("21 77")(client.talk)) {
    await client.send(data(3, "stty size\n"));
    await client.read();
  }
  await client.send(data(3, "exit 3\n"));
  assert((await client.finish()).streams[1]!.data.includes('"reason":"ExitCode","message":"3"'));
});

Deno.test("a stream too many, a second one and an unknown one are refused, and wedge nothing", async () => {
  await using host = await startHost();
  using client = await start(host, ["cat"], ["stdin", "stdout"]);
  await client.send(
    client.open(7, { streamtype: "stdout" }),
    client.open(9, { streamtype: "stderr" }),
    client.open(11, { streamtype: "what" }),
    client.open(13, {}),
    client.open(15, { streamtype: "stdout" }, 2), // Unidirectional: nobody could answer it.
    control(8, new Uint8Array([0, 0, 0, 3, ...client.blocks.raw(plain([["x", "y"]]))])),
    ping(1),
    data(3, "abc"),
    fin(3),
  );
  const talk = await client.finish();
  assertEquals(byType(talk, ["stdin", "stdout"]), { error: SUCCESS, stdin: "", stdout: "abc" });
  assertEquals(talk.pings, [1]);
  for (const id of [7, 9, 11, 13]) assertEquals(talk.streams[id], { replied: false, data: "", ended: true });
});

Deno.test("a client that does not open its streams is sent away", async () => {
  const [left, right] = duplexPair();
  const request = { action: "exec", command: ["true"], stdin: false, stdout: true, stderr: false, tty: false } as const;
  let started = false;
  const serving = serveRemoteCommand(new SpdyServerWire(left, V4, request, 50), request, () => {
    started = true;
    return Promise.reject(new Error("nobody should start it"));
  });
  const peer = new BytePeer(right);
  await peer.send(
    control(1, new Uint8Array([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...peer.blocks.of(["streamtype", "error"])])),
  );
  assertEquals((await peer.frame()).type, SpdyType.SYN_REPLY);
  assertEquals([(await peer.frame()).type, (await peer.frame()).type], [SpdyType.RST_STREAM, SpdyType.GOAWAY]);
  assertEquals(await peer.rest(), new Uint8Array(0));
  right.close();
  await serving;
  assertEquals(started, false);
});

Deno.test("a client that has reset an output hears of the rest", async () => {
  await using host = await startHost();
  const types = ["stdin", "stdout", "stderr"];
  using client = await start(host, ["sh", "-c", "read x; head -c 100000 /dev/zero; echo err >&2"], types);
  await client.until(({ streams }) => streams[7]?.replied ?? false);
  await client.send(rstStream(5), data(3, "go\n"));
  assertEquals(byType(await client.finish(), types), { error: SUCCESS, stdin: "", stdout: "", stderr: "err\n" });
});

Deno.test("a reset of stdin is its end", async () => {
  await using host = await startHost();
  using client = await start(host, ["wc", "-c"], ["stdin", "stdout"]);
  await client.until(({ streams }) => streams[5]?.replied ?? false);
  await client.send(data(3, "abc"), rstStream(3));
  assertEquals(byType(await client.finish(), ["stdin", "stdout"]), { error: SUCCESS, stdin: "", stdout: "3\n" });
});

Deno.test("the command is ended when its client goes away, in order or not", async () => {
  await using host = await startHost();
  for (const leave of ["goaway", "drop", "nonsense"] as const) {
    using client = await start(host, ["sh", "-c", "echo $$; sleep 600 & wait"], ["stdin", "stdout"]);
    const { streams } = await client.until(({ streams }) => streams[5]?.data.includes("\n") ?? false);
    const pid = Number(streams[5]!.data);
    assertGreater(pid, 1);
    // More input than anybody takes: its client's end must be seen all the same.
    if (leave === "drop") await client.send(data(3, new Uint8Array(1_000_000)));
    if (leave === "goaway") await client.send(goAway(0));
    else if (leave === "nonsense") await client.send(control(5, new Uint8Array(4)));
    else client[Symbol.dispose]();
    await until("the command has ended", () => !isAlive(pid));
  }
});

Deno.test("a SPDY client that sends more than the command reads is held up, and loses nothing", async () => {
  await using host = await startHost();
  const release = await Deno.makeTempFile();
  try {
    const script = `while [ -e ${release} ]; do sleep 0.01; done; wc -c`;
    using client = await start(host, ["sh", "-c", script], ["stdin", "stdout"]);
    const total = 64 * 1024 * 1024;
    const frame = data(3, new Uint8Array(32 * 1024));
    let sent = 0;
    const sending = (async () => {
      for (; sent < total; sent += 32 * 1024) await client.send(frame);
      await client.send(fin(3));
    })();
    await until("the host takes 4 MiB", () => sent > 4 * 1024 * 1024);
    assertLess(await standstill(() => sent), 24 * 1024 * 1024);
    await Deno.remove(release);
    await sending;
    assertEquals(Number((await client.finish()).streams[5]!.data), total);
  } finally {
    await Deno.remove(release).catch(() => {}); // The test itself removes it first.
  }
});

Deno.test("a SPDY client that does not read holds up the command, and loses nothing", async () => {
  await using host = await startHost();
  const log = await Deno.makeTempFile();
  try {
    using client = await start(host, floods(log), ["stdout"]);
    const written = () => Deno.statSync(log).size; // In MiB.
    await until("the command writes 2 MiB", () => written() >= 2);
    assertLess(await standstill(written), 24);
    const { streams, goAway } = await client.finish();
    assertEquals([streams[3]!.data.length, streams[1]!.data, goAway], [64 * 1024 * 1024, SUCCESS, [3, 0]]);
  } finally {
    await Deno.remove(log);
  }
});

Deno.test("attach over SPDY takes input and gives output", async () => {
  await using host = await startHost();
  const path = execPath(host, [], "stdin=true&stdout=true").replace("/exec?", "/attach?");
  using client = await RawSpdyClient.open(host, path, [V4]);
  await client.send(...["error", "stdin", "stdout"].map((streamtype, i) => client.open(2 * i + 1, { streamtype })));
  await client.send(data(3, "a line\n"));
  await client.until(({ streams }) => streams[5]?.data === "a line\n");
  await client.send(fin(3));
  assertEquals((await client.finish()).streams[1]!.data, SUCCESS);
});
