/** The files of unix sockets: whose they are, what they replace, and what becomes of them. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { RelayError } from "../../lib/relay/errors.ts";
import { bindSocket } from "../../lib/relay/socket_file.ts";
import { denoFlags, ROOT } from "../offline/flags.ts";
import { inFolder } from "../support/in_folder.ts";
import { until } from "../support/until.ts";
import { ask, echo, Ground, modeOf, Server } from "./harness.ts";

const unix = { address: "unix:FOLDER/x.sock" };

/** What a socket says to "x"; nothing if there is none. */
async function askPath(path: string): Promise<string> {
  const conn = await Deno.connect({ transport: "unix", path }).catch(() => undefined);
  return conn ? await ask(conn, "x") : "";
}

Deno.test("a socket has its mode at every moment", async () => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", ...await denoFlags(), "tests/relay/socket_moments.ts"],
    cwd: ROOT,
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  const { seen, ends } = JSON.parse(new TextDecoder().decode(stdout));
  for (const sight of seen) assertMatch(sight, /^(x\.sock|its own name) 640$/);
  assertEquals(ends, ["640", "none"]);
});

Deno.test("a socket is its owner's alone unless the configuration says otherwise", async () => {
  await using ground = await Ground.start({ name: "it", listen: unix, target: { address: "tcp:127.0.0.1:1" } });
  assertEquals(await modeOf(`${ground.folder}/x.sock`), "600");
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
  await until("nothing has failed", () => ground.relays.failures.length === 0); // It is tried again.
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
  await until("the path leads to the relay again", async () => await askPath(path) === "x");
  assertEquals(await ask(held, "still here"), "still here");

  await Deno.remove(path);
  await using _ = new Server(echo, Deno.listen({ transport: "unix", path }));
  await ground.apply();
  assertEquals(await askPath(path), "x");
});

const listenOn = (path: string) => Deno.listen({ transport: "unix", path });
const names = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

Deno.test("whoever can write to a socket's folder gets no mode and no owner of another file changed", async () => {
  await inFolder(async (folder) => {
    const victim = `${folder}/victim`;
    await Deno.writeTextFile(victim, "mine", { mode: 0o600 });
    const before = await Deno.lstat(victim);
    // Where nobody but root may give files away, they are given to whom they belong already.
    const uid = Deno.uid() === 0 ? 12345 : Deno.uid() ?? 0;
    for (const owner of [{}, { uid }]) {
      const binding = bindSocket(`${folder}/x.sock`, { mode: 0o666, ...owner }, (own) => {
        const listener = listenOn(own);
        Deno.renameSync(own, `${folder}/moved${names(folder).length}`);
        Deno.symlinkSync(victim, own);
        return listener;
      });
      await assertRejects(() => binding, RelayError, "something else was put in its place");
      const { mode, uid: owns } = await Deno.lstat(victim);
      assertEquals([mode, owns], [before.mode, before.uid]);
      await Deno.remove(`${folder}/x.sock`);
    }
  });
});

Deno.test("what appears at a socket's path while it is made stays", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/x.sock`;
    for (const owner of [{}, { gid: Deno.gid() ?? 0 }]) {
      const binding = bindSocket(path, { mode: 0o600, ...owner }, (own) => {
        Deno.writeTextFileSync(path, "mine");
        return listenOn(own);
      });
      await assertRejects(() => binding, RelayError, `cannot listen on unix:${path}: file exists`);
      assertEquals([names(folder), await Deno.readTextFile(path)], [["x.sock"], "mine"]);
      await Deno.remove(path);
    }
  });
});

Deno.test("a socket may have the longest path that there is, and a short name in it", async () => {
  await inFolder(async (folder) => {
    for (const [name, owner] of [["abc", {}], ["a", {}], ["abc", { gid: Deno.gid() ?? 0 }]] as const) {
      const deep = `${folder}/${"d".repeat(107 - folder.length - name.length - 2)}`;
      await Deno.mkdir(deep, { recursive: true });
      const path = `${deep}/${name}`;
      const { socket, file } = await bindSocket(path, { mode: 0o600, ...owner }, listenOn);
      assertEquals([path.length, names(deep)], [107, [name]]);
      const conn = await Deno.connect({ transport: "unix", path });
      conn.close();
      socket.close();
      await file.remove();
      assertEquals(names(deep), []);
    }
  });
});
