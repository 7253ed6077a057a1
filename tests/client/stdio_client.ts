/**
 * Commands with this process's own standard streams: `stdio_client.ts SCENARIO SERVER`. What it sees it says on stderr.
 * Run by stdio_test.ts, in a process of its own because those streams are one process's.
 *
 * @module
 */
import { Cluster, type RemoteCommandOptions } from "../../lib/client/mod.ts";

const [scenario, server = ""] = Deno.args;
const cluster = new Cluster({ server, wire: "websocket" });
const command = (options: RemoteCommandOptions) => cluster.pod("web").exec(["x"], options);
const say = (what: unknown) => console.error(what instanceof Error ? `${what.name}: ${what.message}` : what);

if (scenario === "closed stdout") {
  const process = await command({ stdout: "inherit" }).spawn();
  await process.status.then(say, say);
} else if (scenario === "two outputs") {
  const outputs = await Promise.all([1, 2].map(() => command({ stdout: "inherit" }).output()));
  say(outputs.map(({ code }) => code).join());
} else if (scenario === "two inputs at once") {
  const first = await command({ stdin: "inherit", stdout: "null" }).spawn();
  await command({ stdin: "inherit" }).spawn().catch(say);
  console.log("refused");
  await first.status;
} else if (scenario === "one input after the other") {
  for (let i = 0; i < 2; i++) {
    await command({ stdin: "inherit" }).output().then(({ code }) => say(code), say);
  }
} else if (scenario === "no Deno") {
  const { Deno } = globalThis;
  Reflect.deleteProperty(globalThis, "Deno");
  for (const stream of ["stdin", "stdout", "stderr"]) await command({ [stream]: "inherit" }).spawn().catch(say);
  Object.assign(globalThis, { Deno });
}
cluster.close();
