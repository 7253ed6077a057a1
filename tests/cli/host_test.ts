// The commands as a user runs them: cli.ts as a process, against the embedded host.
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { Cluster, VERSION } from "../../lib/client/mod.ts";
import { serveHost } from "../../lib/server/mod.ts";
import { Ground, PODWIRE } from "./harness.ts";
import { readUntil } from "../support/read_until.ts";

const sh = (pod: string, script: string, ...flags: string[]) => ["exec", ...flags, pod, "--", "sh", "-c", script];

Deno.test("podwire exec prints what the command prints, and ends as it ends", async () => {
  await using ground = await Ground.start();
  const rows: Array<[args: string[], code: number, stdout: string, stderr: string]> = [
    [["exec", "one", "--", "true"], 0, "", ""],
    [
      ["exec", "one", "--", "printf", "%s|", "two words", "", "ünï", "a;b&c=d+e%f"],
      0,
      "two words||ünï|a;b&c=d+e%f|",
      "",
    ],
    [sh("one", "echo out; echo err >&2; exit 3"), 3, "out\n", "err\ncommand terminated with exit code 3\n"],
    [sh("one", "exit 255"), 255, "", "command terminated with exit code 255\n"],
    [["exec", "pod/one", "--", "echo", "x"], 0, "x\n", ""],
    [["exec", "one", "-c", "main", "--", "echo", "x"], 0, "x\n", ""],
    [sh("two", "echo $WHO"), 0, "\n", 'Defaulted container "main" out of: main, side\n'],
    [sh("two", "echo $WHO", "-q"), 0, "\n", ""],
    [sh("two", "echo $WHO", "-cside"), 0, "side\n", ""],
    [sh("marked", "echo $WHO"), 0, "side\n", ""],
  ];
  for (const [args, code, stdout, stderr] of rows) {
    assertEquals(await ground.run(args), { code, stdout, stderr }, args.join(" "));
  }
});

Deno.test("podwire exec passes input on if it is told to", async () => {
  await using ground = await Ground.start();
  assertEquals((await ground.run(["exec", "-i", "one", "--", "cat"], "from stdin\n")).stdout, "from stdin\n");
  assertEquals((await ground.run(["exec", "-i", "one", "--", "cat"], "")).stdout, "");
  assertEquals((await ground.run(["exec", "one", "--", "cat"], "not sent")).stdout, "");
  assertEquals((await ground.run(["exec", "--stdin=false", "one", "--", "cat"], "not sent")).stdout, "");
  const megabyte = new Uint8Array(1 << 20).fill(7);
  assertMatch((await ground.run(["exec", "-i", "one", "--", "wc", "-c"], megabyte)).stdout, /^\s*1048576\n$/);
});

Deno.test("podwire exec delivers every byte of a large output", async () => {
  await using ground = await Ground.start();
  const child = ground.spawn(sh("one", "head -c 20000000 /dev/zero; printf end"));
  const { code, stdout } = await child.output();
  assertEquals([code, stdout.length, new TextDecoder().decode(stdout.subarray(-3))], [0, 20_000_003, "end"]);
});

Deno.test("podwire exec says how much input was left", async () => {
  await using ground = await Ground.start();
  const input = new Uint8Array(64 << 20);
  const { code, stdout, stderr } = await ground.run(sh("one", "head -c 5 | wc -c", "-i"), input);
  assertEquals([code, stdout.trim()], [0, "5"]);
  assertMatch(stderr, /^note: the command ended before its input did: \d+ bytes were sent, at least \d+ were left\n$/);
  assertEquals((await ground.run(sh("one", "head -c 5 | wc -c", "-iq"), input)).stderr, "");
});

Deno.test("podwire exec says why it cannot, in kubectl's words", async () => {
  await using ground = await Ground.start();
  const usage = "See 'podwire exec -h' for help and examples\n";
  const rows: Array<[args: string[], stderr: string]> = [
    [["exec"], "error: pod, type/name or --filename must be specified\n"],
    [["exec", "--", "true"], "error: pod, type/name or --filename must be specified\n"],
    [["exec", "one"], "error: you must specify at least one command for the container\n"],
    [["exec", "one", "--"], "error: you must specify at least one command for the container\n"],
    [
      ["exec", "one", "true"],
      `error: exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead\n${usage}`,
    ],
    [
      ["exec", "--pod-running-timeout=0s", "one", "--", "true"],
      `error: --pod-running-timeout must be higher than zero\n${usage}`,
    ],
    [["exec", "--foo", "one"], "error: unknown flag: --foo\nSee 'podwire exec --help' for usage.\n"],
    [["exec", "nopod", "--", "true"], 'Error from server (NotFound): pods "nopod" not found\n'],
    [["exec", "two", "-c", "x", "--", "true"], "error: container x is not valid for pod two out of: main, side\n"],
    [
      ["exec", "ended", "--", "true"],
      "error: cannot exec into a container in a completed pod; current phase is Succeeded\n",
    ],
    [
      ["exec", "--request-timeout=soon", "one", "--", "true"],
      "error: Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a " +
      "corresponding time unit (e.g. 1s | 2m | 3h): --request-timeout=soon\n",
    ],
    [["nosuch"], 'error: unknown command "nosuch" for "podwire"\n'],
    [["exce"], 'error: unknown command "exce" for "podwire"\n\nDid you mean this?\n\texec\n'],
  ];
  for (const [args, stderr] of rows) {
    assertEquals(await ground.run(args), { code: 1, stdout: "", stderr }, args.join(" "));
  }
});

Deno.test("podwire exec -it without a terminal goes on without one, and says so", async () => {
  await using ground = await Ground.start();
  const warning = "Unable to use a TTY - input is not a terminal or the right kind of file\n";
  assertEquals(await ground.run(["exec", "-it", "one", "--", "cat"], "x"), { code: 0, stdout: "x", stderr: warning });
  assertEquals(await ground.run(["exec", "-itq", "one", "--", "cat"], "x"), { code: 0, stdout: "x", stderr: "" });
  assertEquals(await ground.run(["exec", "-t", "one", "--", "echo", "x"]), { code: 0, stdout: "x\n", stderr: "" });
});

Deno.test("podwire ends quietly when nobody reads its output", async () => {
  await using ground = await Ground.start();
  const child = ground.spawn(sh("one", "while :; do echo line; done"));
  const reader = child.stdout.getReader();
  assertEquals(new TextDecoder().decode((await reader.read()).value?.subarray(0, 5)), "line\n");
  await reader.cancel();
  const stderr = await new Response(child.stderr).text();
  assertEquals([(await child.status).code, stderr], [141, ""]);
});

Deno.test("podwire exec prints what came before the session broke, and fails", async () => {
  await using ground = await Ground.start();
  const child = ground.spawn(sh("one", "echo before; sleep 1000"));
  const reader = child.stdout.getReader();
  assertEquals(new TextDecoder().decode((await reader.read()).value), "before\n");
  await ground.host.close();
  assertEquals((await reader.read()).done, true);
  const stderr = await new Response(child.stderr).text();
  assertEquals((await child.status).code === 0, false);
  assertMatch(
    stderr,
    /^(error: connection closed before exit status \(7 bytes received|command terminated with exit code)/,
  );
});

Deno.test("podwire exec finds its target in a file", async () => {
  await using ground = await Ground.start();
  await Deno.writeTextFile(`${ground.folder}/pod.yaml`, "kind: Pod\nmetadata:\n  name: one\n");
  const { stdout } = await ground.run(["exec", "-f", `${ground.folder}/pod.yaml`, "--", "echo", "found"]);
  assertEquals(stdout, "found\n");
});

Deno.test("podwire ends at once while input is open", async () => {
  await using ground = await Ground.start();
  const child = ground.spawn(["exec", "-i", "one", "--", "true"], { stdin: "piped" });
  const { code } = await child.output(); // stdin stays open
  assertEquals(code, 0);
});

Deno.test("podwire attach shows a container's output and gives it input", async () => {
  await using ground = await Ground.start();
  const greeting = "All commands and output from this session will be recorded in container logs, including " +
    "credentials and sensitive information passed through the command prompt.\n" +
    "If you don't see a command prompt, try pressing enter.\n";
  const child = ground.spawn(["attach", "-i", "cat"], { stdin: "piped" });
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("to the main process\n"));
  const reader = child.stdout.getReader();
  assertEquals(new TextDecoder().decode((await reader.read()).value), "to the main process\n");
  await writer.close();
  reader.releaseLock();
  const { code, stderr } = await child.output();
  assertEquals([code, new TextDecoder().decode(stderr)], [0, greeting]);
});

Deno.test("podwire attach knows no detach keys in input that is piped", async () => {
  await using ground = await Ground.start();
  const child = ground.spawn(["attach", "-i", "cat"], { stdin: "piped" });
  const writer = child.stdin.getWriter();
  const input = "hello\x10\x11world\x10";
  await writer.write(new TextEncoder().encode(input));
  // An attach ends with its input, whatever the process would still have said.
  assertEquals(await readUntil(child.stdout, (text) => text.length >= input.length), input);
  await writer.close();
  await Promise.all([child.stdout.cancel(), child.stderr.cancel()]);
  assertEquals((await child.status).code, 0);
});

Deno.test({
  name: "podwire attach shows the terminal of a container, and types into it, without one here",
  ignore: Deno.build.os !== "linux", // The host serves terminals on Linux only.
  async fn() {
    await using ground = await Ground.start();
    const watcher = ground.spawn(["attach", "shell", "-v=6"]);
    const log = await readUntil(watcher.stderr, (text) => /^attach "shell": .*\n/m.test(text));
    assertStringIncludes(log, "/attach?container=main&stdout=true&tty=true "); // containerd refuses it with stderr.
    const typist = await ground.run(["attach", "-i", "-q", "shell"], "echo $((6 * 7))\n");
    assertEquals([typist.code, typist.stderr], [0, ""]);
    await readUntil(watcher.stdout, (text) => /^42\r\n/m.test(text));
    watcher.kill();
    await Promise.all([watcher.stdout.cancel(), watcher.stderr.cancel(), watcher.status]);
  },
});

Deno.test({
  name: "podwire exec ends as its command does when nothing can be written to stderr",
  ignore: Deno.build.os !== "linux", // It has /dev/full.
  async fn() {
    await using ground = await Ground.start();
    const child = ground.spawn(sh("one", "exit 3"));
    await child.stderr.cancel();
    await child.stdout.cancel();
    assertEquals((await child.status).code, 3, "closed");
    for (const [script, expected] of [["exit 3", 3], ["exit 0", 0]] as const) {
      const podwire = [Deno.execPath(), ...PODWIRE, ...ground.flags, ...sh("one", script, "-i")];
      const { code } = await new Deno.Command("sh", {
        args: ["-c", 'head -c 1000000 /dev/zero | "$@" 2>/dev/full', "sh", ...podwire],
        env: { KUBECONFIG: `${ground.folder}/kubeconfig` },
      }).output();
      assertEquals(code, expected, "full");
    }
  },
});

Deno.test({
  name: "podwire says which of its streams cannot be written",
  ignore: Deno.build.os !== "linux", // It has /dev/full.
  async fn() {
    await using ground = await Ground.start();
    for (const args of [["exec", "one", "--", "echo", "x"], ["version", "--client"]]) {
      const { code, stderr } = await new Deno.Command("sh", {
        args: ["-c", '"$@" >/dev/full', "sh", Deno.execPath(), ...PODWIRE, ...ground.flags, ...args],
        env: { KUBECONFIG: `${ground.folder}/kubeconfig` },
      }).output();
      const text = "error: cannot write standard output: no space left on device\n";
      assertEquals([code, new TextDecoder().decode(stderr)], [1, text], args.join(" "));
    }
  },
});

Deno.test("podwire attach says why it cannot, in kubectl's words", async () => {
  await using ground = await Ground.start();
  const rows: Array<[args: string[], stderr: string]> = [
    [["attach"], "error: at least 1 argument is required for attach\n"],
    [
      ["attach", "a", "b", "c"],
      "error: expected POD, TYPE/NAME, or TYPE NAME, (at most 2 arguments) saw 3: [a b c]\n",
    ],
    [["attach", "ended"], "error: cannot attach a container in a completed pod; current phase is Succeeded\n"],
    [
      ["attach", "two", "-c", "x"],
      "error: cannot attach to the container: container x is not valid for pod two out of: main, side\n",
    ],
    [["attach", "pod", "nopod"], 'Error from server (NotFound): pods "nopod" not found\n'],
  ];
  for (const [args, stderr] of rows) {
    assertEquals(await ground.run(args), { code: 1, stdout: "", stderr }, args.join(" "));
  }
});

Deno.test("podwire get prints tables as the server makes them", async () => {
  await using ground = await Ground.start();
  const { code, stdout, stderr } = await ground.run(["get", "pods"]);
  assertEquals([code, stderr], [0, ""]);
  const [header, ...rows] = stdout.trimEnd().split("\n");
  assertEquals(header, "NAME     READY   STATUS      RESTARTS   AGE");
  assertEquals(rows.length, 6);
  assertStringIncludes((await ground.run(["get", "po", "one", "-o", "wide"])).stdout, "NODE");
  assertMatch((await ground.run(["get", "pods", "-A"])).stdout, /^NAMESPACE {3}NAME .*\ndefault {5}/);
  assertMatch((await ground.run(["get", "pod/one", "--show-labels"])).stdout, /LABELS\none .* app=web,tier=a\n$/);
  assertMatch((await ground.run(["get", "pod", "one", "two", "--no-headers"])).stdout, /^one .*\ntwo .*\n$/);
  assertEquals((await ground.run(["get", "pods", "-l", "app=web", "-o", "name"])).stdout.split("\n").sort(), [
    "",
    "pod/one",
    "pod/two",
  ]);
});

Deno.test("podwire get prints objects as JSON and YAML, one alone and several in a list", async () => {
  await using ground = await Ground.start();
  const one = JSON.parse((await ground.run(["get", "pod", "one", "-o", "json"])).stdout);
  assertEquals([one.apiVersion, one.kind, one.metadata.name], ["v1", "Pod", "one"]);
  const list = JSON.parse((await ground.run(["get", "pods", "-l", "app=web", "-o", "json"])).stdout);
  assertEquals([list.kind, list.metadata, list.items.length], ["List", { resourceVersion: "" }, 2]);
  assertEquals(list.items.map((item: { kind: string }) => item.kind), ["Pod", "Pod"]);
  const yaml = (await ground.run(["get", "pods", "one", "-o", "yaml"])).stdout;
  assertMatch(yaml, /^apiVersion: v1\nkind: Pod\nmetadata:\n/);
  const version = JSON.parse((await ground.run(["get", "--raw", "/version"])).stdout);
  assert(version.gitVersion);
});

Deno.test("podwire get says what is missing, and shows the rest", async () => {
  await using ground = await Ground.start();
  const missing = 'Error from server (NotFound): pods "nopod" not found\n';
  assertEquals(await ground.run(["get", "pods", "nopod"]), { code: 1, stdout: "", stderr: missing });
  assertEquals(await ground.run(["get", "pods", "one", "nopod", "-o", "name"]), {
    code: 1,
    stdout: "pod/one\n",
    stderr: missing,
  });
  assertEquals(await ground.run(["get", "pods", "nopod", "--ignore-not-found"]), { code: 0, stdout: "", stderr: "" });
  assertEquals((await ground.run(["get", "pods", "-n", "empty"])).stderr, "No resources found in empty namespace.\n");
  assertEquals(
    (await ground.run(["get", "nosuchtype"])).stderr,
    'error: the server doesn\'t have a resource type "nosuchtype"\n',
  );
  assertEquals(
    (await ground.run(["get", "--raw", "/nope"])).stderr,
    "Error from server (NotFound): the server could not find the requested resource\n",
  );
});

Deno.test("podwire version knows both sides, and says its own even without a server", async () => {
  await using ground = await Ground.start();
  const { code, stdout } = await ground.run(["version"]);
  assertEquals(code, 0);
  assertMatch(stdout, new RegExp(`^Client Version: v${VERSION}\nServer Version: v\\S+\n$`));
  const { clientVersion, serverVersion } = JSON.parse((await ground.run(["version", "-o", "json"])).stdout);
  assertEquals([clientVersion.gitVersion, typeof serverVersion.gitVersion], [`v${VERSION}`, "string"]);
  await ground.host.close();
  const alone = await ground.run(["version"]);
  assertEquals([alone.code, alone.stdout], [1, `Client Version: v${VERSION}\n`]);
  assertMatch(alone.stderr, /^Unable to connect to the server: .*host\.sock/);
  assertEquals(await ground.run(["version", "--client"]), {
    code: 0,
    stdout: `Client Version: v${VERSION}\n`,
    stderr: "",
  });
});

Deno.test("podwire waits for a server no longer than --request-timeout", async () => {
  await using ground = await Ground.start();
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 }); // The system accepts; nobody ever answers.
  const { port } = silent.addr as Deno.NetAddr;
  const args = [...PODWIRE, "--server", `http://127.0.0.1:${port}`, "--request-timeout=200ms", "get", "--raw", "/api"];
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    env: { KUBECONFIG: `${ground.folder}/kubeconfig` },
    stdin: "null",
  }).output();
  const text = new TextDecoder().decode(stderr);
  assertEquals([code, text], [
    1,
    `Unable to connect to the server: no answer from 127.0.0.1:${port} within --request-timeout\n`,
  ]);
});

Deno.test("podwire -v=8 shows requests, command headers, and no secret", async () => {
  await using ground = await Ground.start();
  const { stderr } = await ground.run(["-v=8", "--token=SeCrEt", "get", "pods", "-o", "name"]);
  assertMatch(stderr, /^GET http:\/\/mykubecluster\.com\/api 200 in \d+ ms$/m);
  assertMatch(stderr, /^> X-Kubectl-Command: get$/m);
  assertMatch(stderr, /^> X-Kubectl-Flags: --server,--token,--via-unix-socket,-o=name,-v$/m);
  assertMatch(stderr, /^> Kubectl-Command: podwire get$/m);
  const sessions = new Set(stderr.match(/^> X-Kubectl-Session: .*$/mg));
  assertEquals(sessions.size, 1);
  assertEquals(stderr.includes("SeCrEt"), false);
  const quiet = await ground.run(["-v=6", "get", "pods"]);
  assertEquals(quiet.stderr.includes("> "), false);
});

Deno.test("podwire prints help on stdout, for itself and for every command", async () => {
  await using ground = await Ground.start();
  const { code, stdout } = await ground.run(["help"]);
  assertEquals(code, 0);
  assertStringIncludes(stdout, "  exec            Execute a command in a container\n");
  for (const args of [["exec", "--help"], ["exec", "-h", "one", "--", "true"], ["help", "exec"]]) {
    const page = await ground.run(args);
    assertEquals([page.code, page.stderr], [0, ""]);
    assertStringIncludes(page.stdout, "    -c, --container='':\n\t");
    assertStringIncludes(page.stdout, "    --pod-running-timeout=1m0s:\n\t");
    assertStringIncludes(
      page.stdout,
      "Usage:\n  podwire exec (POD | TYPE/NAME) [-c CONTAINER] [flags] -- COMMAND [args...]\n",
    );
  }
  assertStringIncludes((await ground.run(["options"])).stdout, "    --via-unix-socket='':\n\t");
});

Deno.test("podwire host serves until SIGTERM, and its kubeconfig leads there", async () => {
  const folder = await Deno.makeTempDir({ prefix: "podwire-cli-" });
  const file = `${folder}/host.kubeconfig`;
  const host = new Deno.Command(Deno.execPath(), {
    args: [...PODWIRE, "host", "--write-kubeconfig", file],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  try {
    const reader = host.stderr.pipeThrough(new TextDecoderStream()).getReader();
    assertStringIncludes((await reader.read()).value ?? "", file);
    await reader.cancel();
    assertEquals((await Deno.stat(file)).mode! & 0o777, 0o600);
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: [...PODWIRE, "--kubeconfig", file, "exec", "demo", "--", "echo", "served"],
      stdin: "null",
    }).output();
    assertEquals([code, new TextDecoder().decode(stdout)], [0, "served\n"]);
  } finally {
    host.kill("SIGTERM");
    assertEquals((await host.status).code, 0);
    await host.stdout.cancel();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("podwire host says what is wrong with --listen", async () => {
  await using ground = await Ground.start([]);
  const rows: Array<[listen: string, stderr: string]> = [
    ["unix:", "error: --listen unix: needs a path, for example unix:/run/user/1000/podwire.sock\n"],
    ["127.0.0.1:99999", "error: --listen 127.0.0.1:99999: port 99999 is larger than 65535\n"],
    ["127.0.0.1:x", 'error: --listen must be HOST:PORT or unix:PATH, not "127.0.0.1:x"\n'],
  ];
  for (const [listen, stderr] of rows) {
    assertEquals(await ground.run(["host", "--listen", listen]), { code: 1, stdout: "", stderr });
  }
});

Deno.test("podwire exec refuses -f - with -i before it asks anybody", async () => {
  await using ground = await Ground.start([]);
  assertEquals(await ground.run(["exec", "-i", "-f", "-", "--", "cat"], "kind: Pod\n"), {
    code: 1,
    stdout: "",
    stderr: "error: -f - and -i both read standard input: write the object to a file, and name that\n",
  });
});

Deno.test("podwire waits with a --request-timeout that no timer can hold", async () => {
  await using ground = await Ground.start();
  const { code, stdout } = await ground.run(["get", "pods", "one", "-o", "name", "--request-timeout=600h"]);
  assertEquals([code, stdout], [0, "pod/one\n"]);
});

Deno.test("podwire -v=6 and the cluster's errors do not show the token of podwire host", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: [] });
  await using cluster = new Cluster({ server: host.url, onRequest: ({ url }) => void urls.push(url) });
  const urls: string[] = [];
  await cluster.get("/version");
  assertEquals(urls, [`${host.url.origin}/<masked>/version`]);

  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const server = `http://127.0.0.1:${listener.addr.port}/${host.token}`;
  await using silent = new Cluster({ server, timeout: 50 });
  const error = await assertRejects(() => silent.request("/version"));
  assertMatch((error as Error).message, /^no answer to GET \/<masked>\/version within 50 ms/);
});
