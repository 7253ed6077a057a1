/**
 * Looks as often as possible at whatever appears in a folder while a relay makes its socket with mode 0640 there, twenty times; prints
 * what it saw, and the socket's final modes, as JSON. A process of its own: the umask, which makes the mode, is a process's, and tests
 * run as threads of one.
 *
 * @module
 */
import { Ground, modeOf } from "./harness.ts";

await using ground = await Ground.start();
const path = `${ground.folder}/x.sock`;
const seen = new Set<string>();
const ends = new Set<string | undefined>();
let over = false;
const looking = (async () => {
  while (!over) {
    for await (const { name } of Deno.readDir(ground.folder)) {
      const mode = await modeOf(`${ground.folder}/${name}`);
      if (mode) seen.add(`${name === "x.sock" ? name : "its own name"} ${mode}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
})();
for (let i = 0; i < 20; i++) {
  const listen = { address: "unix:FOLDER/x.sock", mode: "0640" };
  await ground.apply({ name: "it", listen, target: { address: "tcp:127.0.0.1:1" } });
  ends.add(await modeOf(path));
  await ground.apply();
  ends.add(await modeOf(path) ?? "none");
}
over = true;
await looking;
console.log(JSON.stringify({ seen: [...seen], ends: [...ends] }));
