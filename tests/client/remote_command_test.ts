/** What a remote command takes from a program that is written in haste: the embedded host runs it. */
import { assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { Cluster, type Pod, type RemoteCommandOptions, type Wire } from "../../lib/client/mod.ts";
import { serveHost } from "../../lib/server/mod.ts";

Deno.test.sanitizer({ ops: true, resources: false }); // The host leaves the pipes of commands to the garbage collector.

/** Runs `work` with a pod whose commands are processes of this machine. */
async function withPod(work: (pod: Pod) => Promise<void>): Promise<void> {
  await using host = await serveHost({ listen: { port: 0 } });
  await using cluster = new Cluster({ server: host.url });
  await work(cluster.pod("demo"));
}

/** What no type says: a chunk of another kind. */
function foreign<T>(chunk: unknown): T {
  return chunk as T;
}

const bytes = Uint8Array.from({ length: 40_000 }, (_, i) => i % 251);

/** The same bytes as chunks of every kind that is bytes. */
const KINDS: Readonly<Record<string, ArrayBuffer | ArrayBufferView>> = {
  "ArrayBuffer": bytes.buffer,
  "DataView": new DataView(bytes.buffer),
  "Uint16Array": new Uint16Array(bytes.buffer),
  "Uint8ClampedArray": new Uint8ClampedArray(bytes.buffer),
  "Uint8Array": bytes,
};

for (const [kind, chunk] of Object.entries(KINDS)) {
  Deno.test(`stdin takes a chunk that is a ${kind} whole, as Deno.ChildProcess does`, async () => {
    await withPod(async (pod) => {
      await using child = await pod.exec(["cat"], { stdin: "piped" }).spawn();
      const output = new Response(child.stdout).bytes();
      await ReadableStream.from([foreign<Uint8Array>(chunk)]).pipeTo(child.stdin);
      assertEquals(await output, bytes);
      assertEquals((await child.status).code, 0);
    });
  });
}

Deno.test("stdin refuses a chunk that is no bytes, and the session ends for that reason", async () => {
  await withPod(async (pod) => {
    for (const chunk of ["text", 7, null, undefined, [1, 2]]) {
      await using child = await pod.exec(["cat"], { stdin: "piped" }).spawn();
      const piped = ReadableStream.from([foreign<Uint8Array>(chunk)]).pipeTo(child.stdin);
      const error = await assertRejects(() => piped, TypeError, "Expected ArrayBuffer or ArrayBufferView");
      assertEquals(await assertRejects(() => child.status), error);
    }
  });
});

Deno.test("a word that is no stdio is refused before the server is asked, as Deno.Command does", async () => {
  await using host = await serveHost({ listen: { port: 0 } });
  const asked: string[] = [];
  await using cluster = new Cluster({ server: host.url, onRequest: ({ url }) => void asked.push(url) });
  const pod = cluster.pod("demo");
  for (const name of ["stdin", "stdout", "stderr"] as const) {
    for (const word of ["pipe", "ignore", "", 7]) {
      const expected = `unknown variant \`${word}\`, expected one of \`inherit\`, \`piped\`, \`null\``;
      for (const command of [pod.exec(["cat"], { [name]: word }), pod.attach({ [name]: word })]) {
        for (const run of [() => command.spawn(), () => command.output()]) {
          await assertRejects(run, TypeError, `${name}: ${expected}`);
        }
      }
    }
  }
  assertEquals(asked, []);
  assertEquals((await pod.exec(["true"], { stdin: "null", stdout: "null", stderr: "piped" }).output()).code, 0);
});

Deno.test("a wire that there is none of is refused", () => {
  const make = () => new Cluster({ server: "http://127.0.0.1", wire: foreign<Wire>("ws") });
  const expected = "wire: unknown variant `ws`, expected one of `auto`, `websocket`, `tunnel`, `spdy`";
  assertThrows(make, TypeError, expected);
});

Deno.test("a size that no terminal has is refused, and those behind it still arrive", async () => {
  const sizes: Array<[size: unknown, type: typeof TypeError, message: string]> = [
    [{ columns: NaN, rows: 24 }, RangeError, "columns: NaN"],
    [{ columns: 80, rows: -1 }, RangeError, "rows: -1"],
    [{ columns: 80.5, rows: 24 }, RangeError, "columns: 80.5"],
    [{ columns: 80, rows: 65536 }, RangeError, "rows: 65536"],
    [{ width: 80, height: 24 }, TypeError, "columns: expected a number"],
    [{ columns: "80", rows: 24 }, TypeError, "columns: expected a number"],
  ];
  await withPod(async (pod) => {
    const size = { columns: 91, rows: 23 };
    const options: RemoteCommandOptions = { tty: true, stdin: "piped", size };
    const command = ["sh", "-c", "read line; stty size; read line; stty size"];
    await using child = await pod.exec(command, options).spawn();
    const plain = await pod.exec(["true"]).spawn();
    const input = child.stdin.getWriter();
    const output = child.stdout.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
    const told = async () => {
      for (let text = "";; text += (await output.next()).value) {
        const size = /\d+ \d+(?=\r)/.exec(text);
        if (size) return size[0];
      }
    };
    for (const [size, type, message] of sizes) {
      for (const run of [() => child.resize(foreign(size)), () => plain.resize(foreign(size))]) {
        assertInstanceOf(await assertRejects(run, type, message), type);
      }
      await assertRejects(() => pod.exec(["true"], { tty: true, size: foreign(size) }).spawn(), type, message);
    }
    assertEquals((await plain.status).code, 0);
    await input.write(new TextEncoder().encode("\n"));
    assertEquals(await told(), "23 91");
    await child.resize({ columns: 92, rows: 22 });
    await input.write(new TextEncoder().encode("\n"));
    assertEquals(await told(), "22 92");
    assertEquals((await child.status).code, 0);
  });
});
