/** Port-forward over a WebSocket's channels: a scripted client against the host. */
import { assertEquals, assertLess, assertMatch } from "@std/assert";
import type { HostServer } from "../../lib/server/mod.ts";
import { buildFrame, headerValue, Opcode } from "../captures/recording.ts";
import { until, within } from "../support/until.ts";
import { withPodPort } from "./ports.ts";
import { RawClient } from "./raw_client.ts";

const V4 = "v4.channel.k8s.io";

/** A host whose pod `web` has port 258 for what `answer` does, and nobody on port 259. */
function withHost(
  answer: (connection: Deno.Conn) => Promise<void>,
  work: (host: HostServer) => Promise<void>,
): Promise<void> {
  return withPodPort(answer, work, (port, refused) => ({ 258: port, 259: refused, 260: port }));
}

const path = (host: HostServer, query: string) =>
  `${host.url.pathname}/api/v1/namespaces/default/pods/web/portforward?${query}`;

/** Repeats a first message of any length up to 1000 bytes, then ends. */
async function once(connection: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(1000);
  const n = await connection.read(buffer);
  if (n !== null) await connection.write(buffer.subarray(0, n));
}

const GREETING = "\x02\x01"; // 258, little-endian

Deno.test("port-forward over channels greets on both, carries bytes, and closes when the process has ended", async () => {
  await withHost(once, async (host) => {
    for (const protocol of [V4, "v4.base64.channel.k8s.io", "", `v5.channel.k8s.io, ${V4}`]) {
      using client = await RawClient.open(host, path(host, "ports=258"), { protocol });
      assertEquals(client.head.startLine, "HTTP/1.1 101 Switching Protocols");
      const chosen = protocol === "" ? undefined : protocol.split(", ").at(-1);
      assertEquals(headerValue(client.head, "Sec-WebSocket-Protocol"), chosen);
      const { order } = await client.until(({ channels }) => channels[1] !== undefined);
      assertEquals(order, ["data"]);
      if (chosen?.includes("base64")) {
        await client.write(buildFrame(Opcode.TEXT, new TextEncoder().encode(`0${btoa("hello")}`)));
      } else await client.send(0, "hello");
      const { channels, closes } = await client.finish();
      assertEquals([channels, closes], [{ 0: `${GREETING}hello`, 1: GREETING }, [1000]]);
      const first = client.frames.slice(0, 2).map(({ opcode, payload }) => [opcode, [...payload]]);
      const text = (channel: string) => [1, [...new TextEncoder().encode(`${channel}${btoa(GREETING)}`)]];
      assertEquals(first, chosen?.includes("base64") ? [text("0"), text("1")] : [[2, [0, 2, 1]], [2, [1, 2, 1]]]);
    }
  });
});

Deno.test("a port that is refused says so on its own channel, and the others go on", async () => {
  await withHost(once, async (host) => {
    using client = await RawClient.open(host, path(host, "ports=259&ports=258&ports=260"), { protocol: V4 });
    const { channels } = await client.until(({ channels }) => (channels[1]?.length ?? 0) > 2);
    assertEquals(channels[1]!.slice(0, 2), "\x03\x01");
    assertMatch(
      channels[1]!.slice(2),
      /^error forwarding port 259 to pod web, uid \S+: failed to connect to localhost:\d+, IPv4: .* connection refused/,
    );
    await client.send(1, "nobody reads error channels");
    await client.send(77, "nor others");
    await client.send(0, "nor those of ports that are over");
    await client.send(2, "one");
    await client.until(({ channels }) => channels[2]?.endsWith("one") ?? false);
    assertEquals(client.conversation.closes, []);
    await client.send(4, "two");
    const done = await client.finish();
    assertEquals([done.channels[2], done.channels[4], done.closes], [`${GREETING}one`, "\x04\x01two", [1000]]);
  });
});

Deno.test("port-forward over channels refuses ports and subprotocols in upstream's words", async () => {
  await withHost(once, async (host) => {
    const many = Array.from({ length: 128 }, () => "ports=258").join("&");
    const plain: ReadonlyArray<readonly [string, string]> = [
      ["", 'query parameter "port" is required'],
      ["ports=0", 'port "0" must be > 0'],
      ["ports=65536", 'unable to parse "65536" as a port: strconv.ParseUint: parsing "65536": value out of range'],
      [many, "more than 127 ports"],
    ];
    for (const [query, text] of plain) {
      using client = await RawClient.open(host, path(host, query), { protocol: V4 });
      assertEquals([client.head.startLine, await client.body()], ["HTTP/1.1 400 Bad Request", text]);
    }
    for (
      const [value, reason] of [["x", "invalid syntax"], ["", "invalid syntax"], ["2147483648", "value out of range"]]
    ) {
      using client = await RawClient.open(host, path(host, `ports=${value}`), {
        protocol: V4,
        headers: "Connection: close\r\n",
      });
      assertEquals(client.head.startLine, "HTTP/1.1 400 Bad Request");
      const text = `cannot convert to []int32: strconv.ParseUint: parsing "${value}": ${reason}`;
      assertEquals(JSON.parse(await client.body()).message, text);
    }
    const six = Array.from({ length: 6 }, () => "ports=258").join("&");
    using base64 = await RawClient.open(host, path(host, six), { protocol: "v4.base64.channel.k8s.io" });
    assertEquals([base64.head.startLine, await base64.body()], ["HTTP/1.1 400 Bad Request", "more than 5 ports"]);
    for (const protocol of ["channel.k8s.io", "v5.channel.k8s.io", "SPDY/3.1+portforward"]) {
      using client = await RawClient.open(host, path(host, "ports=258"), { protocol });
      assertEquals([client.head.startLine, await client.body()], ["HTTP/1.1 403 Forbidden", ""]);
    }
  });
});

Deno.test("the process's connection ends with its client, however that goes", async () => {
  let open = 0;
  const count = async (connection: Deno.Conn) => {
    open++;
    const buffer = new Uint8Array(1000);
    while (await connection.read(buffer).catch(() => null) !== null); // A reset is an end too.
    open--;
  };
  await withHost(count, async (host) => {
    for (const leave of ["close", "drop", "nonsense"] as const) {
      using client = await RawClient.open(host, path(host, "ports=258&ports=260"), { protocol: V4 });
      await until("both connections are open", () => open === 2);
      if (leave === "close") await client.control(Opcode.CLOSE, Uint8Array.of(3, 232));
      else if (leave === "nonsense") await client.write(buildFrame(3, new Uint8Array(0)));
      else client[Symbol.dispose]();
      await until("both connections have ended", () => open === 0);
    }
  });
});

Deno.test("a process that does not read holds up its WebSocket, and nothing is lost", async () => {
  const release = Promise.withResolvers<void>();
  const total = 32 * 1024 * 1024;
  const count = async (connection: Deno.Conn) => {
    await release.promise;
    const buffer = new Uint8Array(64 * 1024);
    let size = 0;
    while (size < total) size += await connection.read(buffer) ?? 0;
    await connection.write(new TextEncoder().encode(String(size)));
  };
  await withHost(count, async (host) => {
    using client = await RawClient.open(host, path(host, "ports=258"), { protocol: V4 });
    let sent = 0;
    const sending = (async () => {
      for (; sent < total; sent += 32 * 1024) await client.send(0, new Uint8Array(32 * 1024));
    })();
    let before = -1;
    while (sent === 0 || sent !== before) {
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    assertLess(sent, 20 * 1024 * 1024);
    release.resolve();
    await sending;
    assertEquals((await client.finish()).channels[0], `${GREETING}${total}`);
  });
});

Deno.test("port-forward over channels ends with its pod, without a text, as a kubelet's does", async () => {
  const silent = async (connection: Deno.Conn) => void await connection.read(new Uint8Array(1)).catch(() => {});
  await withHost(silent, async (host) => {
    using client = await RawClient.open(host, path(host, "ports=258"), { protocol: V4 });
    await client.until(({ channels }) => channels[1] !== undefined);
    const url = new URL(`${host.url.pathname}/api/v1/namespaces/default/pods/web`, host.url);
    await (await fetch(url, { method: "DELETE" })).body?.cancel();
    const { channels, closes } = await within("the session ends", client.finish());
    assertEquals([channels, closes], [{ 0: GREETING, 1: GREETING }, [1000]]);
  });
});
