/** Datagrams through relays, by Node's sockets and by Deno's own. */
import { assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import { denoFlags, ROOT } from "../offline/flags.ts";
import { Ground } from "./harness.ts";

for (const flags of [[], ["--unstable-net"]]) {
  Deno.test(`datagrams come through relays ${flags.length > 0 ? "by Deno's own sockets" : "by Node's sockets"}`, async () => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", ...flags, ...await denoFlags(), "tests/relay/datagrams.ts"],
      cwd: ROOT,
    }).output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assertNotMatch(text, /failed/);
    assertMatch(text, /ok: datagrams keep their boundaries/);
    assertEquals(text.includes("unix sockets, one way"), flags.length > 0, text);
    assertEquals(code, 0, text);
  });
}

Deno.test("a relay says what unix sockets for datagrams need where Deno has none", async () => {
  await using ground = await Ground.start({
    name: "it",
    listen: { address: "unix-dgram:FOLDER/d.sock" },
    target: { address: "udp:127.0.0.1:1" },
  });
  assertMatch(ground.relays.failures[0] ?? "", /unix sockets for datagrams need Deno's --unstable-net/);
});
