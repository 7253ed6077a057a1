/** The same module in Node 22, over Node's own sockets, against the embedded host. */
import { assertEquals } from "@std/assert";
import { serveHost } from "../../../lib/server/mod.ts";
import { bundle } from "./_bundle.ts";

/** What Node runs; `process.argv[2]` is a kubeconfig, `process.argv[3]` a file to copy to. */
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
const path = process.argv[3];
const data = Uint8Array.from({ length: 6_000_000 }, (_, i) => i % 251); // Large enough to be sent on its own.
const uploaded = [await pod.upload(data, path), await pod.upload(new Blob(["small"]).stream(), path + ".small")];
const { readable, size, mode, checkedBy } = await pod.download(path);
const same = Buffer.from(await new Response(readable).arrayBuffer()).equals(data);
const small = await new Response((await pod.download(path + ".small")).readable).text();
const archive = text(await new Response(await pod.tar(path + ".small")).arrayBuffer()).slice(512, 517);
console.log(JSON.stringify({
  uploaded, downloaded: { size, mode, checkedBy, same }, small, archive,
  node: process.version.split(".")[0], code, stdout: text(stdout), stderr: text(stderr), sum, status: await child.status, failure,
}));
cluster.close();
`;

for (const transport of ["unix", "tcp"] as const) {
  Deno.test(`exec and copies run in Node 22 over ${transport}`, async () => {
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
        args: ["--yes", "node@22", `${folder}/main.js`, `${folder}/kubeconfig`, `${folder}/file`],
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
        uploaded: [{ size: 6_000_000, checkedBy: "sha256sum" }, { size: 5, checkedBy: "sha256sum" }],
        downloaded: { size: 6_000_000, mode: 0o644, checkedBy: "sha256sum", same: true },
        small: "small",
        archive: "small",
      });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
