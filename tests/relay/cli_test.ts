/** `podwire relay` as a process. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { openRelayLog } from "../../lib/cli/relay_common.ts";
import { PODWIRE } from "../cli/harness.ts";
import { inFolder } from "../support/in_folder.ts";
import { until } from "../support/until.ts";
import { ask, echo, readAll, Server, writeAll } from "./harness.ts";

/** `podwire relay` and what it has said so far. */
class Podwire implements AsyncDisposable {
  text = "";
  readonly #process: Deno.ChildProcess;
  readonly #reading: Promise<void>;

  constructor(...args: readonly string[]) {
    const process = new Deno.Command(Deno.execPath(), {
      args: [...PODWIRE, "relay", ...args],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#process = process;
    this.#reading = (async () => {
      for await (const piece of process.stderr.pipeThrough(new TextDecoderStream())) this.text += piece;
    })();
  }

  /** Waits until it has said what `pattern` finds. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    let found: RegExpExecArray | null = null;
    await until(`it says ${pattern}`, () => (found = pattern.exec(this.text)) !== null);
    return found!;
  }

  /** Ends it as the kubelet does. */
  async end(): Promise<number> {
    this.#process.kill("SIGTERM");
    await this.#reading;
    return (await this.#process.status).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#reading;
    await this.#process.status;
  }
}

async function podwire(...args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const command = new Deno.Command(Deno.execPath(), { args: [...PODWIRE, ...args], stdin: "null" });
  const { code, stdout, stderr } = await command.output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

const config = (folder: string, target: number, more = "") =>
  `relays:
- name: it
  listen: {address: "unix:${folder}/it.sock"}
  target: {address: "tcp:127.0.0.1:${target}"}
${more}`;

Deno.test("podwire relay run reloads, reports what is wrong and keeps going, answers its admin endpoint, and cleans up", () =>
  inFolder(async (folder) => {
    await using server = new Server(echo);
    const file = `${folder}/relays.yaml`;
    await Deno.writeTextFile(file, config(folder, server.port));
    await using run = new Podwire("run", "-c", folder, "--admin", "tcp:127.0.0.1:0");
    const [, admin] = await run.says(/admin endpoint on tcp:(\S+)\n/);
    await run.says(/it: from unix:\S+ to tcp:\S+\n/);
    const get = async (path: string) => {
      const response = await fetch(`http://${admin}${path}`);
      return `${response.status} ${await response.text()}`;
    };
    assertEquals(await get("/healthz"), "200 ok\n");
    assertEquals(await get("/readyz"), "200 ok\n");
    assertMatch(await get("/"), /^404 /);
    const held = await Deno.connect({ transport: "unix", path: `${folder}/it.sock` });

    await Deno.writeTextFile(file, config(folder, server.port, "  maxConnections: many\n"));
    await run.says(/relays\.yaml:5: relays\[0\]\.maxConnections: must be a whole number/);
    assertStringIncludes(await get("/metrics"), "podwire_relay_last_reload_good 0\n");

    const second = `- name: two\n  listen: {address: "unix:${folder}/none/two.sock"}\n  target: {address: "tcp:1"}\n`;
    await Deno.writeTextFile(file, config(folder, server.port, second));
    await run.says(/two: cannot listen on unix:\S+two\.sock: no such file or directory\n/);
    assertMatch(await get("/readyz"), /^503 two: cannot listen/);
    await Deno.mkdir(`${folder}/none`);
    await run.says(/two: from unix:/);
    assertEquals(await get("/readyz"), "200 ok\n");
    assertStringIncludes(await get("/metrics"), `podwire_relay_up{relay="two"} 1\n`);
    assertStringIncludes(await get("/metrics"), `podwire_relay_reloads_total{result="bad"} 1\n`);

    assertEquals(await ask(held, "still here"), "still here");
    assertEquals(await run.end(), 0);
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), ["none", "relays.yaml"]);
  }));

Deno.test("podwire relay run ends with 2 for a wrong configuration, and --check only says whether it is right", () =>
  inFolder(async (folder) => {
    const file = `${folder}/relays.yaml`;
    await Deno.writeTextFile(file, config(folder, 1));
    assertEquals(await podwire("relay", "run", "-c", file, "--check"), {
      code: 0,
      stdout: "1 relay: the configuration is right\n",
      stderr: "",
    });
    await Deno.writeTextFile(file, config(folder, 99999, "  allowForm: []\n"));
    for (const flags of [[], ["--check"]]) {
      assertEquals(await podwire("relay", "run", "-c", file, ...flags), {
        code: 2,
        stdout: "",
        stderr: `${file}:4: relays[0].target.address: has port 99999, larger than 65535\n` +
          `${file}:5: relays[0].allowForm: unknown key; there are name, listen, target, http, allowFrom, ` +
          "maxConnections, connectTimeout, idleTimeout\n",
      });
    }
    const tls = `tls: {caFile: ${folder}/ca.crt}`;
    await Deno.writeTextFile(file, config(folder, 1).replace(/(address: "tcp:.*")/, `$1, ${tls}`));
    assertEquals(await podwire("relay", "run", "-c", file, "--check"), {
      code: 2,
      stdout: "",
      stderr: `${file}:4: relays[0].target.tls.caFile: ${folder}/ca.crt: no such file or directory\n`,
    });
  }));

Deno.test("podwire relay passes one socket on to another, as socat does", () =>
  inFolder(async (folder) => {
    await using server = new Server(echo);
    await using inner = new Podwire(`unix-listen:${folder}/x.sock,mode=0660`, `tcp:127.0.0.1:${server.port}`);
    await inner.says(/from unix:/);
    assertEquals((await Deno.lstat(`${folder}/x.sock`)).mode! & 0o777, 0o660);
    await using outer = new Podwire(
      "TCP-LISTEN:0,range=127.0.0.0/8,max-children=5",
      `unix:${folder}/x.sock,connect-timeout=3`,
    );
    const [, port] = await outer.says(/from tcp:127\.0\.0\.1:(\d+) to unix:/);
    assertEquals(await ask(await Deno.connect({ hostname: "127.0.0.1", port: Number(port) }), "hello"), "hello");
    assertEquals(await outer.end(), 0);
    await Deno.writeTextFile(`${folder}/theirs`, "");
    await Deno.rename(`${folder}/theirs`, `${folder}/x.sock`);
    await inner.says(/\nrelay: cannot listen on unix:\S+: it exists and is not a socket\n/);
    await Deno.remove(`${folder}/x.sock`);
    await inner.says(/not a socket\nrelay: from unix:/);
  }));

Deno.test("podwire relay says what is wrong with its words", async () => {
  const cases: ReadonlyArray<readonly [args: readonly string[], says: RegExp]> = [
    [[], /where to listen and where to go are needed/],
    [["tcp-listen:9090"], /where to listen and where to go are needed/],
    [["tcp:9090", "unix:/x"], /"tcp:9090" must begin with tcp-listen:/],
    [["tcp-listen:9090", "nc:/x"], /"nc:\/x" must begin with tcp:, tls:/],
    [["tcp-listen:9090,mode=0600", "unix:/x"], /error: option mode of tcp-listen is for a unix socket with a path/],
    [["unix-listen:/x,mode=abc", "tcp:1"], /error: option mode of unix-listen must be an octal mode/],
    [["unix-listen:/x,fork", "tcp:1"], /option "fork" of unix-listen must be NAME=VALUE/],
    [["unix-listen:/x,colour=red", "tcp:1"], /unix-listen has no option colour/],
    [["tcp-listen:1,range=abc", "tcp:1"], /error: option range of tcp-listen must be a range such as/],
    [["tcp-listen:1", "tcp:1,connect-timeout=x"], /error: option connect-timeout of tcp must be a duration/],
    [["tcp-listen:99999", "tcp:x:1"], /error: tcp-listen has port 99999, larger than 65535/],
    [["tcp-listen:1", "unix:x"], /error: unix needs an absolute path/],
    [["tcp-listen:127.0.0.1:1", "tcp:1"], /error: target goes to where it listens: tcp:127\.0\.0\.1:1/],
    [["tcp-listen:1", "tls:x:1,key=k"], /error: tls: ,cert=FILE and ,key=FILE go together/],
    [["tcp-listen:1", "tls:x:1,cafile=c,verify=0"], /error: tls: ,cafile=FILE says nothing beside ,verify=0/],
    [["tcp-listen:0", "tls:x:1,cafile=/nope"], /error: option cafile of tls: \/nope: no such file or directory/],
    [["tls-listen:1", "tcp:1"], /needs ,cert=FILE and ,key=FILE/],
    [["bogus"], /"bogus" is neither an address to listen on nor a command: run, manifest/],
    [["run", "-c", "/nowhere/x"], /cannot read the configuration \/nowhere\/x: no such file or directory/],
    [["run"], /--config \(-c\) is needed/],
    [["run", "-c", "x", "--admin", "9402"], /--admin must be tcp:HOST:PORT/],
    [["run", "-c", "x", "--admin", "udp:9402"], /--admin must be tcp:HOST:PORT or unix:PATH, not "udp:9402"/],
    [["tcp-listen:1", "tls:x:1,verify=no"], /option verify of tls must be 0 or 1, not "no"/],
    [["tcp-listen:1,max-children=9,max-children=1", "tcp:2"], /option max-children of tcp-listen is there twice/],
    [["crd", "-n", "A B"], /--namespace must be a DNS label/],
    [["unix-listen:/nowhere/x.sock", "tcp:1"], /cannot listen on unix:\/nowhere\/x\.sock: no such file or directory/],
  ];
  for (const [args, says] of cases) {
    const { code, stderr } = await podwire("relay", ...args);
    assertMatch(stderr, says);
    assertEquals(code, 1, stderr);
  }
});

Deno.test("podwire relay --help and that of its commands say what there is", async () => {
  assertMatch((await podwire("relay", "--help")).stdout, /unix-listen:PATH[^]*run {8}Run the relays/);
  for (const args of [["relay", "run", "--help"], ["help", "relay", "run"]]) {
    assertMatch((await podwire(...args)).stdout, /Usage:\n {2}podwire relay run -c FILE\|DIR/);
  }
});

Deno.test("podwire relay run refuses certificates that are not there and an empty folder, and takes them when they come", () =>
  inFolder(async (folder) => {
    await using server = new Server(echo);
    const file = `${folder}/relays.yaml`;
    await Deno.writeTextFile(file, config(folder, server.port));
    await using run = new Podwire("run", "-c", folder, "--admin", "tcp:127.0.0.1:0");
    const [, admin] = await run.says(/admin endpoint on tcp:(\S+)\n/);
    await run.says(/it: from unix:/);
    const held = await Deno.connect({ transport: "unix", path: `${folder}/it.sock` });

    await Deno.rename(file, `${folder}/away`);
    await run.says(/not used:\n\S+: its last file is gone; no relays at all is a file with `relays: \[\]`\n/);
    await Deno.rename(`${folder}/away`, file);
    await run.says(/the new configuration is in use\n/);
    run.text = "";

    const ca = `${folder}/ca.crt`;
    const text = config(folder, server.port).replace(/(address: "tcp:.*")/, `$1, tls: {caFile: ${ca}}`);
    await Deno.writeTextFile(file, text);
    await run.says(/relays\.yaml:4: relays\[0\]\.target\.tls\.caFile: \S+ca\.crt: no such file or directory\n/);
    const metrics = async () => await (await fetch(`http://${admin}/metrics`)).text();
    assertStringIncludes(await metrics(), "podwire_relay_last_reload_good 0\n");
    assertEquals(await ask(held, "still here"), "still here");
    await Deno.copyFile(new URL("../dial/testdata/ca.crt", import.meta.url), ca);
    await run.says(/the new configuration is in use\n/);
    assertStringIncludes(await metrics(), "podwire_relay_last_reload_good 1\n");
    assertStringIncludes(await metrics(), `podwire_relay_reloads_total{result="bad"} 2\n`);
    assertEquals(run.text.match(/not used/g)?.length, 1);
  }));

Deno.test("podwire relay run goes on, and ends, when nobody reads its log", () =>
  inFolder(async (folder) => {
    // Each says why it does not listen: more than a pipe takes (64 KiB, pipe(7)).
    const relays = Array.from({ length: 600 }, (_, i) => ({
      name: `${"n".repeat(50)}-${i}`,
      listen: { address: `unix:/none/${"x".repeat(80)}-${i}` },
      target: { address: "tcp:1" },
    }));
    await Deno.writeTextFile(`${folder}/relays.json`, JSON.stringify({ relays }));
    const path = `${folder}/admin.sock`;
    const args = [...PODWIRE, "relay", "run", "-c", `${folder}/relays.json`, "--admin", `unix:${path}`];
    const process = new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: "null", stderr: "piped" }).spawn();
    const end = () => process.kill("SIGKILL");
    const late = setTimeout(end, 20_000); // What waits for it fails then.
    try {
      await until("the admin socket is there", () => Deno.stat(path).then(() => true, () => false));
      const get = async (page: string) => {
        using conn = await Deno.connect({ transport: "unix", path });
        await writeAll(conn, `GET ${page} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
        return await readAll(conn);
      };
      const told = async () => (await get("/readyz")).includes("-599: cannot listen");
      await until("/readyz tells of what cannot be listened on", told);
      assertMatch(await get("/healthz"), /^HTTP\/1\.1 200 /);
      process.kill("SIGTERM");
      assertEquals((await process.status).code, 0);
      assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["relays.json"]);
    } finally {
      clearTimeout(late);
      try {
        end();
      } catch {
        // It has ended.
      }
      await process.stderr.cancel();
      await process.status;
    }
  }));

Deno.test("podwire relay operator keeps no more of a log that nobody reads than it may, and says how much it lost", async () => {
  const over = Promise.withResolvers<void>();
  let asked = 0;
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async () => {
    // Each refusal is a line. So many are more than a pipe (64 KiB), Deno's reading ahead and the log itself take.
    if (++asked > 100) await over.promise;
    return Response.json({ kind: "Status", status: "Failure", code: 403, message: "x".repeat(8192) }, { status: 403 });
  });
  const to = ["--server", `http://127.0.0.1:${server.addr.port}`, "--image=i", "--leader-elect-retry-period=1ms"];
  const process = new Deno.Command(Deno.execPath(), {
    args: [...PODWIRE, "relay", "operator", ...to],
    env: { KUBECONFIG: "/dev/null" },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const end = () => process.kill("SIGKILL");
  const late = setTimeout(end, 20_000); // What waits for it fails then.
  try {
    await until("it has asked often enough", () => asked > 100);
    let text = "";
    for await (const piece of process.stderr.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (text.includes(" missing here: the log was not read\n")) process.kill("SIGTERM");
    }
    assertMatch(text, /^\S+Z without --allow every relay is refused\n\S+Z the lease cannot be had: /);
    const lines = text.trimEnd().split("\n");
    const written = lines.length - 1;
    assertEquals(lines.at(-1), `${101 - written} lines are missing here: the log was not read`);
    assertEquals((await process.status).code, 0);
  } finally {
    clearTimeout(late);
    over.resolve();
    try {
      end();
    } catch {
      // It has ended.
    }
    await process.status;
  }
});

Deno.test("openRelayLog() keeps what a slow reader will take, and says how much it lost", async () => {
  const gate = Promise.withResolvers<void>();
  let text = "";
  const log = openRelayLog({
    async write(bytes) {
      await gate.promise;
      text += new TextDecoder().decode(bytes);
      return bytes.length;
    },
  });
  for (let i = 0; i < 100; i++) log.print(`${i} ${"x".repeat(1020)}`);
  assertEquals(text, "");
  gate.resolve();
  await log.flush();
  const lines = text.trimEnd().split("\n");
  const written = lines.length - 1;
  assertEquals(written > 50 && written <= 64, true, `${written}`);
  assertEquals(lines.at(-1), `${100 - written} lines are missing here: the log was not read`);
});
