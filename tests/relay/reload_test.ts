/** Configurations that change while relays run. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { readConfigFiles, type RelaySpec, watchConfigFiles } from "../../lib/relay/mod.ts";
import { until } from "../support/until.ts";
import { ask, echo, Ground, Server, writeAll } from "./harness.ts";

const ANY = { address: "tcp:127.0.0.1:0" };

Deno.test("100 changes under load lose nothing on a relay that stays the same, and leak nothing", async () => {
  await using server = new Server(echo);
  const target = { address: `tcp:127.0.0.1:${server.port}` };
  const same: RelaySpec = { name: "same", listen: ANY, target };
  await using ground = await Ground.start(same);
  const port = ground.port("same");
  let over = false;
  let [echoed, connected] = [0, 0];
  const block = new Uint8Array(8192).map((_, i) => i);
  // One connection that lasts, and many that do not.
  const lasting = (async () => {
    using conn = await ground.connect("same");
    const buffer = new Uint8Array(block.length);
    while (!over) {
      await writeAll(conn, block);
      for (let got = 0; got < block.length;) {
        const n = await conn.read(buffer.subarray(got));
        if (n === null) throw new Error("the lasting connection was ended");
        got += n;
      }
      assertEquals(buffer, block);
      echoed += block.length;
    }
  })();
  const short = (async () => {
    for (; !over; connected++) assertEquals(await ask(await ground.connect("same"), "x"), "x");
  })();
  const resources = () => Deno.readDirSync("/proc/self/fd");
  const before = [...resources()].length;
  for (let i = 0; i < 100; i++) {
    const others = Array.from({ length: i % 4 }, (_, n): RelaySpec => ({
      name: `other-${n}`,
      listen: { address: `unix:FOLDER/${n}.sock` },
      target: { address: `unix:/nowhere/${i}.sock` },
    }));
    await ground.apply(...(i % 2 ? [same, ...others] : [...others, same]));
    assertEquals(ground.relays.state().length, others.length + 1);
    const [bytes, times] = [echoed, connected];
    await until("both go on", () => echoed > bytes && connected > times);
  }
  over = true;
  await Promise.all([lasting, short]);
  assertEquals(ground.port("same"), port);
  assertEquals(ground.metric("errors_total", `relay="same"`), 0);
  await ground.apply(same);
  // What was closed last may take a moment.
  await until("what was open is closed", () => [...resources()].length < before + 10);
});

Deno.test("a relay that has changed is ended and begun anew on the same address; one that is gone leaves no metrics", async () => {
  await using one = new Server(async (conn) => void await writeAll(conn, "one"));
  await using two = new Server(async (conn) => void await writeAll(conn, "two"));
  const spec = (to: Server): RelaySpec => ({
    name: "it",
    listen: { address: "unix:FOLDER/x.sock" },
    target: { address: `tcp:127.0.0.1:${to.port}` },
  });
  await using ground = await Ground.start(spec(one));
  const path = `${ground.folder}/x.sock`;
  assertEquals(await ask(await Deno.connect({ transport: "unix", path }), ""), "one");
  await ground.apply(spec(two));
  assertEquals(await ask(await Deno.connect({ transport: "unix", path }), ""), "two");
  assertEquals(ground.metric("connections_total"), 2);
  // The address moves to a relay of another name.
  await ground.apply({ ...spec(one), name: "other" });
  assertEquals(await ask(await Deno.connect({ transport: "unix", path }), ""), "one");
  assertEquals(ground.relays.metrics().includes(`relay="it"`), false);
  assertEquals(ground.relays.failures, []);
});

Deno.test("watchConfigFiles() sees a ConfigMap's swap of links, and a file that is written anew", async () => {
  const folder = await Deno.makeTempDir({ prefix: "podwire-relay-" });
  try {
    // As the kubelet lays it out: a.yaml → ..data/a.yaml, ..data → ..1
    const version = async (name: string, text: string) => {
      await Deno.mkdir(`${folder}/..${name}`);
      await Deno.writeTextFile(`${folder}/..${name}/a.yaml`, text);
      await Deno.symlink(`..${name}`, `${folder}/..data_tmp`);
      await Deno.rename(`${folder}/..data_tmp`, `${folder}/..data`);
    };
    await version("1", "relays: []");
    await Deno.symlink("..data/a.yaml", `${folder}/a.yaml`);
    await Deno.writeTextFile(`${folder}/notes.txt`, "not read");
    const first = await readConfigFiles(folder);
    assertEquals(first, [{ file: `${folder}/a.yaml`, text: "relays: []" }]);
    const ended = new AbortController();
    const changes = watchConfigFiles(folder, first, ended.signal);
    const next = changes.next();
    await version("2", "relays: [] # 2");
    assertEquals((await next).value, [{ file: `${folder}/a.yaml`, text: "relays: [] # 2" }]);
    const another = changes.next();
    await Deno.writeTextFile(`${folder}/b.json`, `{"relays": []}`);
    const files = (await another).value;
    assertEquals(Array.isArray(files) && files.map(({ file }) => file), [`${folder}/a.yaml`, `${folder}/b.json`]);
    const gone = changes.next();
    await Deno.remove(`${folder}/..data`);
    assert((await gone).value instanceof Error);
    ended.abort();
    assertEquals((await changes.next()).done, true);
    assertEquals(await readConfigFiles(`${folder}/b.json`), [{ file: `${folder}/b.json`, text: `{"relays": []}` }]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("readConfigFiles() names the file that cannot be read", async () => {
  const folder = await Deno.makeTempDir({ prefix: "podwire-relay-" });
  try {
    await Deno.writeTextFile(`${folder}/a.yaml`, "relays: []");
    await Deno.symlink("..data/b.yaml", `${folder}/b.yaml`);
    for (const [path, named] of [[folder, `${folder}/b.yaml`], [`${folder}/c`, `${folder}/c`]] as const) {
      const message = `cannot read the configuration ${named}: no such file or directory`;
      await assertRejects(() => readConfigFiles(path), Error, message);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
