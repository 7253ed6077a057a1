import { assert, assertEquals, assertGreater, assertLess, assertMatch } from "@std/assert";
import { concat } from "../../lib/bytes/mod.ts";
import { type HostPod, serveHost } from "../../lib/server/mod.ts";
import { buildFrame, Opcode } from "../captures/recording.ts";
import { standstill, until } from "../support/until.ts";
import { floods } from "./flood.ts";
import { isAlive } from "./processes.ts";
import { execPath, RawClient } from "./raw_client.ts";

const WEB: HostPod = { name: "web", containers: [{ name: "main", command: ["sleep", "600"], env: { WHERE: "here" } }] };
const SUCCESS = '{"metadata":{},"status":"Success"}';

const startHost = (pods: readonly HostPod[] = [WEB]) => serveHost({ listen: { port: 0 }, pods });

/** Starts a command that tells its process id on a first line, and goes on. */
async function startTelling(host: Awaited<ReturnType<typeof startHost>>, script: string, flags?: string) {
  const client = await RawClient.exec(host, ["sh", "-c", `echo $$; ${script}`], flags);
  const { channels } = await client.until(({ channels }) => channels[1]?.includes("\n") ?? false);
  return { client, pid: Number(channels[1]!.split("\n")[0]) };
}

Deno.test("exec runs in the container's environment and folder", async () => {
  await using host = await startHost([{
    name: "web",
    containers: [{ name: "main", command: ["sleep", "600"], env: { WHERE: "here" }, cwd: "/" }],
  }]);
  using client = await RawClient.exec(host, ["sh", "-c", "echo $WHERE; pwd"]);
  const { channels, firstChannel, order } = await client.finish();
  assertEquals(channels, { 1: "here\n/\n", 3: SUCCESS });
  assertEquals(firstChannel, 1);
  assertEquals(order, ["data", "status", "close"]);
});

Deno.test("the token may come in the subprotocols, and is not chosen", async () => {
  await using host = await startHost();
  const path = execPath(host, ["echo", "hi"]).slice(host.url.pathname.length);
  const bearer = (token: string) =>
    `base64url.bearer.authorization.k8s.io.${
      new TextEncoder().encode(token).toBase64({ alphabet: "base64url", omitPadding: true })
    }`;
  using client = await RawClient.open(host, path, { protocol: `${bearer(host.token!)}, v5.channel.k8s.io` });
  assertEquals((await client.finish()).channels, { 1: "hi\n", 3: SUCCESS });
  assertEquals(client.head.headers.find(([name]) => name === "Sec-WebSocket-Protocol")?.[1], "v5.channel.k8s.io");
  const wrong = ["v5.channel.k8s.io", bearer(host.token!), `${bearer("x")}, v5.channel.k8s.io`];
  wrong.push(`${bearer(host.token!)}, ${bearer(host.token!)}, v5.channel.k8s.io`);
  for (const protocol of wrong) {
    using client = await RawClient.open(host, path, { protocol });
    assertEquals(client.head.startLine, "HTTP/1.1 401 Unauthorized", protocol);
  }
});

Deno.test("exec says what cannot be run", async () => {
  await using host = await startHost();
  const cases: Array<[string[], string]> = [
    [["/no/such"], 'exec: "/no/such": stat /no/such: no such file or directory'],
    [["/etc/passwd"], 'exec: "/etc/passwd": permission denied'],
    [["/etc"], 'exec: "/etc": permission denied'],
    [[""], 'exec: "": executable file not found in $PATH'],
  ];
  // These show only when the system is asked to run them.
  const script = await Deno.makeTempFile();
  await Deno.writeTextFile(script, "#!/no/such\n");
  await Deno.chmod(script, 0o755);
  cases.push([[script], `exec ${script}: no such file or directory`]);
  cases.push([["echo", "a\0b"], "exec echo: nul byte found in provided data"]);
  try {
    for (const [command, text] of cases) {
      using client = await RawClient.exec(host, command);
      const status = JSON.parse((await client.finish()).channels[3]!);
      assertEquals([status.reason, status.code], ["InternalError", 500]);
      assert(status.message.endsWith(text), status.message);
    }
  } finally {
    await Deno.remove(script);
  }
});

Deno.test("all output comes before the status, however much there is", async () => {
  await using host = await startHost();
  for (let round = 0; round < 10; round++) {
    using client = await RawClient.exec(host, ["sh", "-c", "head -c 1000000 /dev/zero; echo err >&2; exit 3"]);
    const { channels, order } = await client.finish();
    assertEquals(channels[1]!.length, 1_000_000);
    assertEquals(channels[2], "err\n");
    assertMatch(channels[3]!, /"reason":"ExitCode","message":"3"/);
    assertEquals(order, ["data", "status", "close"]);
    assert(client.frames.every((frame) => frame.payload.length <= 32 * 1024 + 1));
  }
});

Deno.test("the host waits for the client's Close before it ends the connection", async () => {
  await using host = await startHost();
  using client = await RawClient.exec(host, ["true"]);
  await client.until(({ closes }) => closes.length > 0);
  const end = client.read().then(() => "ended");
  const soon = new Promise((resolve) => setTimeout(() => resolve("open"), 100));
  assertEquals(await Promise.race([end, soon]), "open");
  await client.control(Opcode.CLOSE, Uint8Array.of(3, 232));
  assertEquals(await end, "ended");
});

Deno.test("Pings are answered while the command does not read its input", async () => {
  await using host = await startHost();
  using client = await RawClient.exec(host, ["sleep", "600"], "stdin=true&stdout=true");
  // More than the pipe holds, less than the host's bound.
  for (let i = 0; i < 64; i++) await client.send(0, new Uint8Array(32 * 1024));
  await client.control(Opcode.PING, new TextEncoder().encode("there?"));
  assertEquals((await client.until(({ pongs }) => pongs.length > 0)).pongs, ["there?"]);
});

Deno.test("a client that sends more than the command reads is held up, and loses nothing", async () => {
  await using host = await startHost();
  const release = await Deno.makeTempFile();
  try {
    const script = `while [ -e ${release} ]; do sleep 0.01; done; wc -c`;
    using client = await RawClient.exec(host, ["sh", "-c", script], "stdin=true&stdout=true");
    const total = 64 * 1024 * 1024;
    const message = buildFrame(Opcode.BINARY, new Uint8Array(32 * 1024 + 1));
    let sent = 0;
    const sending = (async () => {
      for (; sent < total; sent += 32 * 1024) await client.write(message);
      await client.write(buildFrame(Opcode.BINARY, Uint8Array.of(255, 0)));
    })();
    // The host's bound and the socket's buffers fill; then nothing moves any more.
    await until("the host takes 4 MiB", () => sent > 4 * 1024 * 1024);
    assertLess(await standstill(() => sent), 24 * 1024 * 1024);
    await Deno.remove(release);
    await sending;
    assertEquals(Number((await client.finish()).channels[1]), total);
  } finally {
    await Deno.remove(release).catch(() => {}); // The test itself removes it first.
  }
});

Deno.test("a client that does not read holds up the command, and loses nothing", async () => {
  await using host = await startHost();
  const log = await Deno.makeTempFile();
  try {
    using client = await RawClient.exec(host, floods(log), "stdout=true");
    const written = () => Deno.statSync(log).size; // In MiB.
    await until("the command writes 2 MiB", () => written() >= 2);
    assertLess(await standstill(written), 24);
    let received = 0;
    while (client.frames.at(-1)?.opcode !== Opcode.CLOSE) {
      await client.read();
      for (const { payload } of client.frames.splice(0, client.frames.length - 1)) {
        received += payload[0] === 1 ? payload.length - 1 : 0;
      }
    }
    assertEquals([received, written()], [64 * 1024 * 1024, 64]);
  } finally {
    await Deno.remove(log);
  }
});

Deno.test("the command is ended when its client goes, with its children", async () => {
  await using host = await startHost();
  for (const leave of ["drop", "close", "malformed"] as const) {
    const { client, pid } = await startTelling(host, "sleep 600 & echo $!; wait");
    const { channels } = await client.until(({ channels }) => channels[1]!.split("\n").length > 2);
    const child = Number(channels[1]!.split("\n")[1]);
    assert(isAlive(pid) && isAlive(child));
    if (leave === "close") await client.control(Opcode.CLOSE, Uint8Array.of(3, 232));
    if (leave === "malformed") await client.send(255);
    if (leave === "drop") client[Symbol.dispose]();
    await until("its processes have ended", () => !isAlive(pid) && !isAlive(child));
    if (leave !== "drop") client[Symbol.dispose]();
  }
});

Deno.test("a command that does not want to end is killed", async () => {
  await using host = await startHost();
  const { client, pid } = await startTelling(host, "trap '' HUP TERM; echo trapped; while :; do sleep 0.05; done");
  await client.until(({ channels }) => channels[1]!.includes("trapped"));
  client[Symbol.dispose]();
  await until("its processes have ended", () => !isAlive(pid));
});

Deno.test("a session ends with its command, whatever that left in the background", async () => {
  await using host = await startHost();
  const { client, pid } = await startTelling(host, "sleep 600 & echo $!");
  using _ = client;
  const { channels } = await client.finish();
  assertEquals(channels[3], SUCCESS);
  assertEquals(
    channels[2],
    "podwire host: the command has ended, but something that it left running holds its output open: " +
      "ended after 5 s of silence\n",
  );
  const child = Number(channels[1]!.split("\n")[1]);
  assertGreater(child, pid);
  await until("its processes have ended", () => !isAlive(child));
});

Deno.test("what is cut off is no success where no stderr is asked for", async () => {
  await using host = await startHost();
  const statuses = await Promise.all([0, 3].map(async (code) => {
    using client = await RawClient.exec(host, ["sh", "-c", `sleep 600 & exit ${code}`], "stdout=true");
    return JSON.parse((await client.finish()).channels[3]!);
  }));
  const [{ status, reason, message }, failed] = statuses;
  assertEquals([status, reason], ["Failure", "InternalError"]);
  assertMatch(
    message,
    /^Internal error occurred: error executing command in container: .* holds its output open: ended after 5 s of silence$/,
  );
  assertEquals(failed.details.causes, [{ reason: "ExitCode", message: "3" }]);
});

Deno.test("fragments are joined and Pings between them answered", async () => {
  await using host = await startHost();
  using client = await RawClient.exec(host, ["cat"], "stdin=true&stdout=true");
  await client.write(concat([
    buildFrame(Opcode.BINARY, Uint8Array.of(0, 97), { fin: false }),
    buildFrame(Opcode.PING, Uint8Array.of(120)),
    buildFrame(Opcode.CONTINUATION, Uint8Array.of(98, 99), { fin: false }),
    buildFrame(Opcode.CONTINUATION, Uint8Array.of(10)),
    buildFrame(Opcode.BINARY, Uint8Array.of(255, 0)),
  ]));
  const { channels, pongs } = await client.finish();
  assertEquals(channels, { 1: "abc\n", 3: SUCCESS });
  assertEquals(pongs, ["x"]);
});

Deno.test("a terminal is real: name, size, resize, Ctrl-C, Ctrl-D, one output", async () => {
  const container = { name: "main", command: ["sleep", "600"], env: { PS1: "> " } };
  await using host = await startHost([{ name: "web", containers: [container] }]);
  using client = await RawClient.exec(host, ["sh"], "stdin=true&stdout=true&stderr=true&tty=true");
  /** Types, then waits for an answer and (what is typed earlier may get lost) the next prompt. */
  const say = async (line: string, answer: RegExp, prompt = "> ") => {
    const before = client.conversation.channels[1]?.length ?? 0;
    await client.send(0, line);
    await client.until(({ channels }) => {
      const text = (channels[1] ?? "").slice(before);
      return answer.test(text) && text.endsWith(prompt);
    });
  };
  await client.until(({ channels }) => channels[1]?.endsWith("> ") ?? false);
  await client.send(4, '{"Width":80,"Height":24}\n');
  await say("stty size\n", /^24 80\r$/m);
  await client.send(4, '{"width":77');
  await client.send(4, ',"height":21}');
  await say("stty size\n", /^21 77\r$/m);
  await say("tty; echo term $TERM\n", /^\/dev\/pts\/\d+\r\n(.*\r\n)*term xterm\r$/m);
  await say("echo out; echo err >&2; echo $((20+3))\n", /^out\r\nerr\r\n23\r$/m);
  // A command that has settled: a shell in the middle of a fork may miss a Ctrl-C, on any terminal.
  await say("cat\n", /^cat\r\n/m, "");
  await say("x\n", /^x\r\nx\r\n/m, "");
  await say("\x03", /\^C/);
  await say("echo code $?\n", /^code 130\r$/m);
  await client.send(0, "\x04");
  const { channels } = await client.finish();
  assertEquals(channels[2], undefined);
  assertEquals(channels[3], SUCCESS);
});

Deno.test("a terminal's command hears of its client's end", async () => {
  await using host = await startHost();
  using client = await RawClient.exec(host, ["sh"], "stdin=true&stdout=true&tty=true");
  await client.send(0, "echo pid $$\n");
  const { channels } = await client.until(({ channels }) => /pid \d+\r\n/.test(channels[1] ?? ""));
  const pid = Number(/pid (\d+)\r\n/.exec(channels[1]!)![1]);
  client[Symbol.dispose]();
  await until("its processes have ended", () => !isAlive(pid));
});

Deno.test("attach gives everybody the output, takes input, and leaves the container running", async () => {
  await using host = await startHost([{ name: "web", containers: [{ name: "main", command: ["cat"], stdin: true }] }]);
  const path = execPath(host, [], "stdin=true&stdout=true&stderr=true").replace("/exec?", "/attach?");
  using first = await RawClient.open(host, path);
  using second = await RawClient.open(host, path);
  for (const client of [first, second]) await client.until(({ firstChannel }) => firstChannel !== undefined);
  await first.send(0, "one\n");
  for (const client of [first, second]) await client.until(({ channels }) => channels[1] === "one\n");
  await first.send(255, "\0");
  assertEquals((await first.finish()).channels, { 1: "one\n", 3: SUCCESS });
  await second.send(0, "two\n");
  await second.until(({ channels }) => channels[1] === "one\ntwo\n");
  using third = await RawClient.open(host, path.replace("stdin=true&", ""));
  await third.until(({ firstChannel }) => firstChannel !== undefined);
  await second.send(0, "three\n");
  await third.until(({ channels }) => channels[1] === "three\n");
});

Deno.test("attach ends with success when the container does", async () => {
  await using host = await startHost([{
    name: "web",
    containers: [{ name: "main", command: ["sh", "-c", "read line; echo got $line; exit 7"], stdin: true }],
  }]);
  const path = execPath(host, [], "stdin=true&stdout=true").replace("/exec?", "/attach?");
  using client = await RawClient.open(host, path);
  await client.until(({ firstChannel }) => firstChannel !== undefined);
  await client.send(0, "it\n");
  assertEquals((await client.finish()).channels, { 1: "got it\n", 3: SUCCESS });
  using late = await RawClient.open(host, path);
  assertEquals(late.head.startLine, "HTTP/1.1 500 Internal Server Error");
  assertEquals(await late.body(), "container main not found in pod web_default");
});

Deno.test("close() ends every session and every process", async () => {
  const host = await startHost([{ ...WEB, containers: [{ name: "main", command: ["sh", "-c", "sleep 600; :"] }] }]);
  const { client, pid } = await startTelling(host, "sleep 600; :");
  await host.close();
  await host.finished;
  assert(!isAlive(pid));
  await client.read();
  assert(client.ended);
  client[Symbol.dispose]();
});

Deno.test("many sessions at once and in a row", async () => {
  await using host = await startHost();
  const run = async (word: string) => {
    using client = await RawClient.exec(host, ["cat"], "stdin=true&stdout=true");
    await client.send(0, word);
    await client.send(255, "\0");
    assertEquals((await client.finish()).channels, { 1: word, 3: SUCCESS });
  };
  await Promise.all(Array.from({ length: 50 }, (_, i) => run(`at once ${i}`)));
  for (let i = 0; i < 50; i++) await run(`in a row ${i}`);
});
