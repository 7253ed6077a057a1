/**
 * `deno task demo`: the main job with no cluster. Starts the embedded host on a unix socket in a temporary folder and runs
 * commands in its pod, by the command line and by the module; then it forwards a port.
 *
 * @module
 */
import { Cluster } from "../mod.ts";
import { serveHost } from "../lib/server/mod.ts";
import { denoFlags, ROOT } from "./offline/flags.ts";

const CLI = ["run", "-A", "--no-check", ...await denoFlags(), new URL("cli.ts", ROOT).href];
const folder = await Deno.makeTempDir({ prefix: "podwire-demo-" });
const socket = `${folder}/k.sock`;

async function podwire(...args: string[]): Promise<void> {
  const quoted = args.map((arg) => /^[\w./:=-]+$/.test(arg) ? arg : `'${arg}'`);
  console.log(`\n$ podwire --via-unix-socket k.sock ${quoted.join(" ")}`);
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: [...CLI, "--via-unix-socket", socket, ...args],
    env: { KUBECONFIG: "" },
  }).spawn().status;
  console.log(`(exit code ${code})`);
}

try {
  await using _host = await serveHost({ listen: { path: socket } });
  console.log("The embedded host listens on a unix socket; its pod is a process of this machine.");
  await podwire("get", "pods");
  await podwire("exec", "demo", "--", "date");
  await podwire("exec", "demo", "--", "sh", "-c", "echo to stdout; echo to stderr >&2; exit 7");
  await podwire("exec", "demo", "--", "no-such-command");

  console.log("\nThe same from TypeScript, 64 MiB through the command's stdin and back:");
  const { loadAccess } = await import("../lib/kubeconfig/mod.ts");
  await using cluster = new Cluster({ access: await loadAccess({ viaUnixSocket: socket, server: "http://demo" }) });
  await using child = await cluster.pod("demo").exec(["cat"], { stdin: "piped" }).spawn();
  const started = performance.now();
  let received = 0;
  await Promise.all([
    new Blob([new Uint8Array(64 << 20)]).stream().pipeTo(child.stdin),
    (async () => {
      for await (const chunk of child.stdout) received += chunk.length;
    })(),
  ]);
  const { code } = await child.status;
  const seconds = (performance.now() - started) / 1000;
  console.log(
    `${received / (1 << 20)} MiB came back in ${seconds.toFixed(1)} s over ${child.protocol}, exit code ${code}`,
  );

  console.log("\nA port of the pod, here:");
  const page = () => new Response("hello from the pod\n");
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, page);
  await using forward = await cluster.pod("demo").portForward();
  await using listener = await forward.listen({ port: 0, target: server.addr.port });
  if (!("port" in listener.address)) throw new Error("not a port");
  const url = `http://127.0.0.1:${listener.address.port}/`;
  const answers = await Promise.all(Array.from({ length: 20 }, async () => (await fetch(url)).text()));
  console.log(`20 requests to ${url}: ${answers.filter((text) => text === "hello from the pod\n").length} answered`);
} finally {
  await Deno.remove(folder, { recursive: true });
}
