/** The files of unix sockets: whose they are, what they replace, and what becomes of them. */
import { assertEquals, assertMatch } from "@std/assert";
import { ask, echo, Ground, Server, until } from "./harness.ts";

const unix = { address: "unix:FOLDER/x.sock" };

async function modeOf(path: string): Promise<string | undefined> {
  const found = await Deno.lstat(path).catch(() => undefined);
  return found && ((found.mode ?? 0) & 0o777).toString(8);
}

/** What a socket says to "x"; nothing if there is none. */
async function askPath(path: string): Promise<string> {
  const conn = await Deno.connect({ transport: "unix", path }).catch(() => undefined);
  return conn ? await ask(conn, "x") : "";
}

Deno.test("a socket is its owner's alone unless the configuration says otherwise, at every moment", async () => {
  await using server = new Server(echo);
  await using ground = await Ground.start();
  const path = `${ground.folder}/x.sock`;
  const target = { address: `tcp:127.0.0.1:${server.port}` };
  // Whatever appears in the folder while the socket is made is looked at as often as possible.
  const seen = new Set<string>();
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
    await ground.apply({ name: "it", listen: { ...unix, mode: "0640" }, target });
    assertEquals(await modeOf(path), "640");
    await ground.apply();
    assertEquals(await modeOf(path), undefined);
  }
  over = true;
  await looking;
  for (const sight of seen) assertMatch(sight, /^(x\.sock 640|its own name (0|640))$/);
  await ground.apply({ name: "it", listen: unix, target });
  assertEquals(await modeOf(path), "600");
  assertEquals([...Deno.readDirSync(ground.folder)].map(({ name }) => name), ["x.sock"]);
});

Deno.test("a socket gets the owner that the configuration names", async () => {
  await using ground = await Ground.start({
    name: "it",
    listen: { ...unix, uid: Deno.uid() ?? 0, gid: Deno.gid() ?? 0 },
    target: { address: "tcp:1" },
  });
  const { uid, gid } = await Deno.lstat(`${ground.folder}/x.sock`);
  assertEquals([uid, gid], [Deno.uid(), Deno.gid()]);
});

Deno.test("a stale socket is replaced, one that somebody listens on is not, and neither is anything else", async () => {
  await using server = new Server(echo);
  await using ground = await Ground.start();
  const path = `${ground.folder}/x.sock`;
  const spec = { name: "it", listen: unix, target: { address: `tcp:127.0.0.1:${server.port}` } };
  // A listener whose file was renamed leaves it behind when it closes.
  const stale = Deno.listen({ transport: "unix", path: `${path}.old` });
  await Deno.rename(`${path}.old`, path);
  stale.close();
  await ground.apply(spec);
  assertEquals(await askPath(path), "x");
  await ground.apply();

  {
    await using _ = new Server(echo, Deno.listen({ transport: "unix", path }));
    await ground.apply(spec);
    assertEquals(ground.relays.failures, [`it: cannot listen on unix:${path}: somebody listens there already`]);
  }
  await until(() => ground.relays.failures.length === 0); // It is tried again.
  assertEquals(await askPath(path), "x");
  await ground.apply();

  await Deno.writeTextFile(path, "mine");
  await ground.apply(spec);
  assertEquals(ground.relays.failures, [`it: cannot listen on unix:${path}: it exists and is not a socket`]);
  await ground.apply();
  assertEquals(await Deno.readTextFile(path), "mine");
});

Deno.test("a socket whose file is removed is made again, and one that replaced it is left alone", async () => {
  await using server = new Server(echo);
  await using ground = await Ground.start({
    name: "it",
    listen: unix,
    target: { address: `tcp:127.0.0.1:${server.port}` },
  });
  const path = `${ground.folder}/x.sock`;
  const held = await Deno.connect({ transport: "unix", path });
  await Deno.remove(path);
  await until(async () => await askPath(path) === "x");
  assertEquals(await ask(held, "still here"), "still here");

  await Deno.remove(path);
  await using _ = new Server(echo, Deno.listen({ transport: "unix", path }));
  await ground.apply();
  assertEquals(await askPath(path), "x");
});
