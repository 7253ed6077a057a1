// podwire gateway, podwire with and podwire kubectl as a user runs them, in front of the embedded host.
import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { readUntil } from "../support/read_until.ts";
import { Ground, PODWIRE } from "./harness.ts";

/** What a stream says until `pattern` has come, which it has to. */
async function said(stream: ReadableStream<Uint8Array>, pattern: RegExp): Promise<string> {
  const text = await readUntil(stream, (text) => pattern.test(text));
  assertMatch(text, pattern);
  return text;
}

/** A `podwire gateway` that serves. */
class RunningGateway implements AsyncDisposable {
  readonly child: Deno.ChildProcess;
  readonly greeting: string;

  private constructor(child: Deno.ChildProcess, greeting: string) {
    this.child = child;
    this.greeting = greeting;
  }

  static async start(
    ground: Ground,
    args: readonly string[],
    env: Record<string, string> = {},
  ): Promise<RunningGateway> {
    const child = ground.spawn(["gateway", ...args], { env: { KUBECONFIG: `${ground.folder}/kubeconfig`, ...env } });
    return new RunningGateway(child, await said(child.stderr, /End it with Ctrl-C\.\n/));
  }

  /** What it says until `pattern` has come. */
  says(pattern: RegExp): Promise<string> {
    return said(this.child.stderr, pattern);
  }

  /** Ends it with a signal; gives its exit code. */
  async end(): Promise<number> {
    this.child.kill("SIGTERM");
    return (await this.child.status).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.child.status;
    await this.child.stderr.cancel();
    await this.child.stdout.cancel();
  }
}

/** Runs podwire with a kubeconfig alone. */
async function podwire(kubeconfig: string, ...args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...PODWIRE, "--kubeconfig", kubeconfig, ...args],
    env: { NO_COLOR: "1" },
  }).output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

Deno.test("podwire gateway serves on a port, and writes a kubeconfig that leads there", async () => {
  await using ground = await Ground.start();
  const file = `${ground.folder}/gateway.kubeconfig`;
  await Deno.writeTextFile(file, "old", { mode: 0o644 });
  await using gateway = await RunningGateway.start(ground, [
    "--listen=127.0.0.1:0",
    `--write-kubeconfig=${file}`,
    "--access-log",
    "-n",
    "shop",
  ]);
  assertStringIncludes(
    gateway.greeting,
    `Passing requests on to mykubecluster.com. Use it: kubectl --kubeconfig ${file}`,
  );
  assertEquals((await Deno.stat(file)).mode! & 0o777, 0o600);
  const config = JSON.parse(await Deno.readTextFile(file));
  assertEquals(config.contexts[0].context.namespace, "shop");
  assertMatch(await podwire(file, "get", "pod", "one", "-n", "default"), /\none .*Running/);
  const log = await gateway.says(/pods\/one 200 .*\n/);
  assertMatch(log, /^\d{4}-\S+Z 127\.0\.0\.1 GET \/api\/v1\/namespaces\/default\/pods\/one 200 in=0 out=\d+ \d+ms\n$/m);
  assertEquals(log.includes(new URL(config.clusters[0].cluster.server).pathname.slice(1)), false);
  assertEquals(await gateway.end(), 0);
});

Deno.test("podwire gateway serves on a unix socket by default, in the user's runtime folder or one of its own", async () => {
  await using ground = await Ground.start();
  for (const runtime of [ground.folder, ""]) {
    await using gateway = await RunningGateway.start(ground, [], { XDG_RUNTIME_DIR: runtime });
    const [, path = ""] = /--via-unix-socket (\S+) --server podwire-gateway get pods\n/.exec(gateway.greeting) ?? [];
    if (runtime) assertEquals(path, `${runtime}/podwire-gateway.sock`);
    const folder = path.slice(0, path.lastIndexOf("/"));
    assertEquals([(await Deno.stat(path)).mode! & 0o777, (await Deno.stat(folder)).mode! & 0o777], [0o600, 0o700]);
    const none = `${ground.folder}/kubeconfig`;
    const flags = ["--via-unix-socket", path, "--server", "podwire-gateway"];
    assertEquals(await podwire(none, ...flags, "get", "pod", "one", "-o", "name"), "pod/one\n");
    // It has printed a kubeconfig, too.
    const own = `${ground.folder}/own`;
    await Deno.writeTextFile(own, await said(gateway.child.stdout, /\n}\n/));
    assertEquals(await podwire(own, "get", "pod", "one", "-o", "name"), "pod/one\n");
    assertEquals(await gateway.end(), 0);
    await assertRejects(() => Deno.lstat(runtime ? path : folder), Deno.errors.NotFound);
  }
});

Deno.test("podwire gateway speaks TLS with a certificate, and asks a policy", async () => {
  await using ground = await Ground.start();
  const testdata = new URL("../dial/testdata/", import.meta.url).pathname;
  const chain = `${ground.folder}/chain.pem`;
  const parts = [`${testdata}server.crt`, `${testdata}ca.crt`].map((file) => Deno.readTextFile(file));
  await Deno.writeTextFile(chain, (await Promise.all(parts)).join(""));
  const policy = `${ground.folder}/policy.yaml`;
  await Deno.writeTextFile(
    policy,
    'rules:\n- verbs: [get]\n  apiGroups: [""]\n  resources: [pods]\n' +
      "- verbs: [get]\n  nonResourceURLs: [/api, /apis, /api/*]\n",
  );
  const file = `${ground.folder}/gateway.kubeconfig`;
  await using gateway = await RunningGateway.start(ground, [
    "--listen=127.0.0.1:0",
    `--write-kubeconfig=${file}`,
    `--tls-cert-file=${chain}`,
    `--tls-private-key-file=${testdata}server.key`,
    `--authorize=${policy}`,
  ]);
  assertMatch(JSON.parse(await Deno.readTextFile(file)).clusters[0].cluster.server, /^https:\/\/127\.0\.0\.1:\d+\/$/);
  assertEquals(await podwire(file, "get", "pod", "one", "-o", "name"), "pod/one\n");
  assertMatch(await podwire(file, "get", "pods"), /^Error from server \(Forbidden\): pods is forbidden: .*cannot list/);
  assertEquals(await gateway.end(), 0);
});

Deno.test("podwire gateway waits for what is under way, until it is told again", async () => {
  await using ground = await Ground.start();
  const file = `${ground.folder}/gateway.kubeconfig`;
  await using gateway = await RunningGateway.start(ground, ["--listen=0", `--write-kubeconfig=${file}`, "--drain=1h"]);
  const session = new Deno.Command(Deno.execPath(), {
    args: [...PODWIRE, "--kubeconfig", file, "exec", "-i", "one", "--", "cat"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = session.stdin.getWriter();
  await writer.write(new TextEncoder().encode("before\n"));
  await said(session.stdout, /before\n/);
  gateway.child.kill("SIGTERM");
  await gateway.says(/Ending when what is under way is over, in 3600 s at the latest\.\n/);
  await writer.write(new TextEncoder().encode("meanwhile\n"));
  await said(session.stdout, /meanwhile\n/);
  gateway.child.kill("SIGINT");
  assertEquals((await gateway.child.status).code, 0);
  assertEquals((await session.status).code, 1);
  await writer.close().catch(() => {}); // The session is over.
  await session.stdout.cancel();
  await session.stderr.cancel();
});

Deno.test("podwire gateway says what is wrong with its flags", async () => {
  await using ground = await Ground.start();
  const cert = new URL("../dial/testdata/server.crt", import.meta.url).pathname;
  const key = new URL("../dial/testdata/server.key", import.meta.url).pathname;
  const locked = new URL("../dial/testdata/client-encrypted.key", import.meta.url).pathname;
  const none = `${ground.folder}/none`;
  const rows: Array<[args: string[], text: string]> = [
    [["extra"], "extra arguments: [extra]"],
    [["--listen=unix:"], "--listen unix: needs a path"],
    [["--listen=0.0.0.0:0"], "it is not an address of this machine's loopback"],
    [["--tls-cert-file=x"], "--tls-cert-file and --tls-private-key-file go together"],
    [[`--tls-cert-file=${cert}`, `--tls-private-key-file=${key}`], "--tls-cert-file needs --listen HOST:PORT"],
    [["--listen=0", `--tls-cert-file=${none}`, "--tls-private-key-file=x"], `--tls-cert-file ${none}: no such file`],
    [[`--authorize=${none}`], `error: ${none}: no such file or directory\n`],
    [[`--write-kubeconfig=${none}/x`], `error: ${none}/x: no such file or directory\n`],
    [
      ["--listen=0", `--tls-cert-file=${cert}`, "--tls-private-key-file=/dev/null"],
      "/dev/null: there is no PEM block of a private key in it",
    ],
    [
      ["--listen=0", `--tls-cert-file=${key}`, `--tls-private-key-file=${cert}`],
      `--tls-cert-file ${key}: there is no PEM`,
    ],
    [["--listen=0", `--tls-cert-file=${cert}`, `--tls-private-key-file=${locked}`], `${locked}: it is encrypted`],
    [["--listen=0", "--allow-origin=*"], '"*" is no origin of a page'],
    [["--drain=-1s"], "--drain must not be less than 0"],
    [["--wire=tunnel"], "--wire of a gateway is auto, websocket or spdy"],
  ];
  for (const [args, text] of rows) {
    const { code, stderr } = await ground.run(["gateway", ...args]);
    assertEquals(code, 1, args.join(" "));
    assertStringIncludes(stderr, text);
  }
});

Deno.test("podwire with runs a program with a kubeconfig of its own, and ends as it ends", async () => {
  await using ground = await Ground.start();
  const script = 'stat -c %a "$KUBECONFIG" "$(dirname "$KUBECONFIG")"; echo "$KUBECONFIG" >&2; cat; exit 7';
  const { code, stdout, stderr } = await ground.run(["-n", "shop", "with", "--", "sh", "-c", script], "input");
  assertEquals([code, stdout], [7, "600\n700\ninput"]);
  await assertRejects(() => Deno.lstat(stderr.trim().replace(/\/[^/]*$/, "")), Deno.errors.NotFound);

  const get = ["-n", "default", "with", "--", Deno.execPath(), ...PODWIRE, "get", "pod", "one", "-o", "name"];
  assertEquals(await ground.run(get), { code: 0, stdout: "pod/one\n", stderr: "" });
});

Deno.test("podwire with passes signals on, and says so by its exit code", async () => {
  await using ground = await Ground.start();
  const script = 'trap "echo got HUP" HUP; echo "$KUBECONFIG"; while :; do sleep 0.1; done';
  const child = ground.spawn(["with", "--", "sh", "-c", script]);
  const file = (await said(child.stdout, /\n/)).trim();
  child.kill("SIGHUP");
  await said(child.stdout, /got HUP\n/);
  child.kill("SIGTERM");
  assertEquals((await child.status).code, 143);
  await child.stdout.cancel();
  await child.stderr.cancel();
  await assertRejects(() => Deno.lstat(file), Deno.errors.NotFound);
});

Deno.test("podwire with says what it cannot run", async () => {
  await using ground = await Ground.start();
  const missing = "error: cannot run nosuchprogram: there is no such program; is it installed, and in PATH?\n";
  assertEquals(await ground.run(["with", "--", "nosuchprogram"]), { code: 127, stdout: "", stderr: missing });
  const plain = await ground.run(["with", "--", `${ground.folder}/kubeconfig`]);
  assertEquals(plain.code, 126);
  assertMatch(plain.stderr, /^error: cannot run .*kubeconfig: /);
  for (const args of [["with"], ["with", "--"], ["with", "kubectl", "get"], ["with", "x", "--", "true"]]) {
    const { code, stderr } = await ground.run(args);
    assertEquals(code, 1);
    assertStringIncludes(stderr, "with needs a command after --");
  }
});

Deno.test("podwire kubectl leaves to kubectl what comes behind that word", async () => {
  await using ground = await Ground.start();
  const program = `${ground.folder}/kubectl`;
  await Deno.writeTextFile(program, '#!/bin/sh\nprintf "%s\\n" "$@"\n', { mode: 0o755 });
  const env = { KUBECONFIG: `${ground.folder}/kubeconfig`, PATH: `${ground.folder}:/usr/bin:/bin` };
  const words = ["--context", "x", "get", "pods", "-n", "ns", "--help", "-v=9", "--", "-x", "kubectl"];
  const child = ground.spawn(["-n", "shop", "kubectl", ...words], { env });
  const { code, stdout, stderr } = await child.output();
  assertEquals(new TextDecoder().decode(stderr), "");
  assertEquals([code, new TextDecoder().decode(stdout)], [0, words.map((word) => `${word}\n`).join("")]);
});
