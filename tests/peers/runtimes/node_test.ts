/** The same module in Node 22, over Node's own sockets, against the embedded host. */
import { assertEquals } from "@std/assert";
import { serveHost } from "../../../lib/server/mod.ts";
import { bundle } from "./_bundle.ts";

/** What Node runs; `process.argv[2]` is a kubeconfig, `process.argv[3]` the pod's name. */
const PROGRAM = `
import { Cluster } from "./podwire.js";
const text = (bytes) => new TextDecoder().decode(bytes);
const cluster = await Cluster.fromKubeconfig({ kubeconfig: process.argv[2] });
const pod = cluster.pod("demo");
const { code, stdout, stderr } = await pod.exec(["sh", "-c", "echo out; echo err >&2; exit 7"]).output();
const child = await pod.exec(["sha256sum"], { stdin: "piped" }).spawn();
await new Blob([new Uint8Array(1 << 20)]).stream().pipeTo(child.stdin);
const sum = await new Response(child.stdout).text();
const failure = await pod.exec(["no-such-command"]).output().then(() => "none", (error) => error.name);
console.log(JSON.stringify({
  node: process.version.split(".")[0], code, stdout: text(stdout), stderr: text(stderr), sum, status: await child.status, failure,
}));
cluster.close();
`;

for (const transport of ["unix", "tcp"] as const) {
  Deno.test(`exec runs in Node 22 over ${transport}`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "podwire-node-" });
    try {
      await using host = await serveHost({
        listen: transport === "unix" ? { path: `${folder}/k.sock` } : { port: 0 },
      });
      await Deno.writeTextFile(`${folder}/podwire.js`, await bundle());
      await Deno.writeTextFile(`${folder}/package.json`, '{"type":"module"}');
      await Deno.writeTextFile(`${folder}/main.js`, PROGRAM);
      await Deno.writeTextFile(`${folder}/kubeconfig`, host.kubeconfig, { mode: 0o600 });
      const { code, stdout, stderr } = await new Deno.Command("npx", {
        args: ["--yes", "node@22", `${folder}/main.js`, `${folder}/kubeconfig`],
        cwd: folder,
        signal: AbortSignal.timeout(120_000),
      }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      assertEquals(JSON.parse(new TextDecoder().decode(stdout)), {
        node: "v22",
        code: 7,
        stdout: "out\n",
        stderr: "err\n",
        // SHA-256 of 1 MiB of zeros.
        sum: "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58  -\n",
        status: { success: true, code: 0 },
        failure: "RemoteCommandError",
      });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
