/**
 * kubectl 1.36, 1.32 and 1.28 against the embedded host, over every wire that they have: exec, attach, port-forward.
 * Needs the kubectls that `deno task cluster build` makes.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { serveHost } from "../../../lib/server/mod.ts";
import { type Programs, programs } from "../../cluster/build.ts";
import { echo, readAll, withPort, writeAll } from "../../server/ports.ts";

const VERSIONS = ["1.36", "1.32", "1.28"] as const;

/** Both settings of the switches; with the second one kubectl speaks SPDY, as 1.28 always does. */
const WEBSOCKETS = ["true", "false"] as const;

interface Kubectl {
  /** Runs it to its end. */
  run(args: readonly string[], stdin?: Uint8Array): Promise<{ code: number; stdout: Uint8Array; stderr: string }>;
  /** Starts it with nothing on stdin. */
  start(args: readonly string[]): Deno.ChildProcess;
}

/** Hands `work` a kubectl and a host whose pod `web` has ports 80, 81 and 82 for these answers, and 83 for nobody. */
async function withKubectl(
  version: Parameters<Programs["kubectl"]>[0],
  webSockets: string,
  work: (kubectl: Kubectl) => Promise<void>,
): Promise<void> {
  const path = (await programs()).kubectl(version);
  const folder = await Deno.makeTempDir();
  try {
    await withPort(echo, (first, refused) =>
      withPort(count, (second) =>
        withPort(http, async (third) => {
          await using host = await serveHost({
            listen: { port: 0 },
            pods: [{
              name: "web",
              ports: { 80: first, 81: second, 82: third, 83: refused },
              containers: [{ name: "main", command: ["cat"], stdin: true }],
            }],
          });
          await Deno.writeTextFile(`${folder}/kubeconfig`, host.kubeconfig, { mode: 0o600 });
          const start = (args: readonly string[], stdin: "null" | "piped" = "null") => {
            try {
              return new Deno.Command(path, {
                args: [...args],
                env: {
                  KUBECONFIG: `${folder}/kubeconfig`,
                  HOME: folder,
                  KUBECTL_REMOTE_COMMAND_WEBSOCKETS: webSockets,
                  KUBECTL_PORT_FORWARD_WEBSOCKETS: webSockets,
                },
                stdin,
                stdout: "piped",
                stderr: "piped",
              }).spawn();
            } catch (cause) {
              throw new Error(`this test needs ${path}: run \`deno task cluster build\``, { cause });
            }
          };
          await work({
            start,
            async run(args, stdin) {
              const child = start(args, stdin ? "piped" : "null");
              if (stdin) {
                const writer = child.stdin.getWriter();
                writer.write(stdin).then(() => writer.close()).catch(() => {}); // It may end first.
              }
              const { code, stdout, stderr } = await child.output();
              return { code, stdout, stderr: new TextDecoder().decode(stderr) };
            },
          });
        })));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Answers only after the client's end. */
async function count(connection: Deno.Conn): Promise<void> {
  const { length } = await readAll(connection);
  await new Promise((resolve) => setTimeout(resolve, 1500)); // Longer than containerd would wait.
  await writeAll(connection, new TextEncoder().encode(`${length} bytes`));
}

/** HTTP/1.0: the end of the connection is the end of the answer, and the client waits for it. */
async function http(connection: Deno.Conn): Promise<void> {
  await connection.read(new Uint8Array(1000));
  await writeAll(connection, new TextEncoder().encode("HTTP/1.0 200 OK\r\n\r\nhello"));
}

/** Sends `bytes` to a local port, ends that direction if told so, and reads to the end. */
async function exchange(port: number, bytes: Uint8Array, endFirst = true): Promise<Uint8Array> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const sending = writeAll(connection, bytes).then(() => endFirst ? connection.closeWrite() : undefined);
  const answer = await readAll(connection);
  await sending;
  return answer;
}

/** Bytes that no compression or repetition makes right by chance. */
function noise(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
  return bytes;
}

async function digest(bytes: Uint8Array): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes))).toHex();
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

for (const version of VERSIONS) {
  for (const webSockets of WEBSOCKETS) {
    const name = `kubectl ${version} with WebSockets ${webSockets}`;

    Deno.test(`${name} executes commands`, async () => {
      await withKubectl(version, webSockets, async (kubectl) => {
        const exec = (args: readonly string[], stdin?: Uint8Array) =>
          kubectl.run(["exec", ...(stdin ? ["-i"] : []), "web", "--", ...args], stdin);
        const both = await exec(["sh", "-c", "echo out; echo err >&2; exit 7"]);
        assertEquals([both.code, text(both.stdout)], [7, "out\n"]);
        assertEquals(both.stderr, "err\ncommand terminated with exit code 7\n");
        const bytes = noise(20 * 1024 * 1024);
        const back = await exec(["cat"], bytes);
        assertEquals([back.code, await digest(back.stdout)], [0, await digest(bytes)]);
        const missing = await exec(["no-such-command"]);
        assertEquals(missing.code, 1);
        assertMatch(missing.stderr, /exec: "no-such-command": executable file not found in \$PATH\n$/);
        const refused = await kubectl.run(["exec", "web", "-c", "none", "--", "true"]);
        assertEquals(refused.code, 1);
        assertStringIncludes(refused.stderr, "container none is not valid for pod web");
      });
    });

    Deno.test(`${name} attaches`, async () => {
      await withKubectl(version, webSockets, async (kubectl) => {
        const { code, stdout } = await kubectl.run(["attach", "-i", "web", "-q"], new TextEncoder().encode("a line\n"));
        assertEquals(code, 0);
        // Its input ends at once, and with it the attach: the echo may come too late.
        assert(text(stdout) === "a line\n" || text(stdout) === "", text(stdout));
      });
    });

    Deno.test(`${name} forwards ports`, async () => {
      await withKubectl(version, webSockets, async (kubectl) => {
        const child = kubectl.start(["port-forward", "pod/web", ":80", ":81", ":82", ":83", "--address", "127.0.0.1"]);
        await using _ended = {
          // A test that fails leaves it running.
          async [Symbol.asyncDispose]() {
            try {
              child.kill();
            } catch (error) {
              if (!(error instanceof TypeError)) throw error; // It has ended, as it should.
            }
            await child.status;
          },
        };
        const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
        const stderr = new Response(child.stderr).text();
        const ports: Record<string, number> = {};
        for (let output = ""; Object.keys(ports).length < 4;) {
          const { value, done } = await lines.read();
          if (done) throw new Error(`kubectl ended: ${await stderr}`);
          output += value;
          for (const [, local, remote] of output.matchAll(/127\.0\.0\.1:(\d+) -> (\d+)/g)) {
            ports[remote!] = Number(local);
          }
        }
        const draining = (async () => {
          while (!(await lines.read()).done);
        })();
        const bytes = noise(20 * 1024 * 1024);
        const [echoed, counted, page, ...small] = await Promise.all([
          exchange(ports[80]!, bytes),
          exchange(ports[81]!, bytes.subarray(0, 100_000)),
          exchange(ports[82]!, new TextEncoder().encode("GET / HTTP/1.0\r\n\r\n"), false),
          ...Array.from({ length: 50 }, (_, i) => exchange(ports[80]!, new TextEncoder().encode(`${i}`))),
        ]);
        assertEquals(await digest(echoed), await digest(bytes));
        assertEquals(text(counted), "100000 bytes");
        assertEquals(text(page), "HTTP/1.0 200 OK\r\n\r\nhello");
        assertEquals(small.map(text), small.map((_, i) => `${i}`));
        // One refused connection ends kubectl, whoever the server is.
        assertEquals(text(await exchange(ports[83]!, new Uint8Array(0)).catch(() => new Uint8Array(0))), "");
        assertEquals((await child.status).code, 1);
        await draining;
        assertMatch(await stderr, /error forwarding port 83 to pod web.*connection refused/);
        assertMatch(await stderr, /error: lost connection to pod\n$/);
      });
    });
  }
}
