/** The opening handshake, both sides. */
import { assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import {
  acceptWebSocket,
  ClientHandshake,
  isWebSocketRequest,
  WebSocketHandshakeError,
  WebSocketRequestError,
} from "../../lib/websocket/mod.ts";

const V5 = "v5.channel.k8s.io";
const V4 = "v4.channel.k8s.io";

/** The request of RFC 6455 section 1.3. */
function request(changes: Record<string, string | undefined> = {}, method = "GET") {
  const fields: Record<string, string | undefined> = {
    upgrade: "websocket",
    connection: "Upgrade",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
    ...changes,
  };
  const headers = new Headers();
  for (const [name, value] of Object.entries(fields)) if (value !== undefined) headers.set(name, value);
  return { method, headers };
}

Deno.test("acceptWebSocket() answers the example of RFC 6455 1.3", async () => {
  assertEquals(await acceptWebSocket(request({ "sec-websocket-protocol": "chat, superchat" }), ["chat"]), {
    protocol: "chat",
    headers: [
      ["Upgrade", "websocket"],
      ["Connection", "Upgrade"],
      ["Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="],
      ["Sec-WebSocket-Protocol", "chat"],
    ],
  });
});

Deno.test("acceptWebSocket() takes tokens in any case and in lists", async () => {
  const { protocol } = await acceptWebSocket(request({ upgrade: "WebSocket", connection: "keep-alive, upgrade" }), [
    "",
  ]);
  assertEquals(protocol, "");
});

Deno.test("acceptWebSocket() chooses in the client's order", async () => {
  const choose = async (offer: string) =>
    (await acceptWebSocket(request({ "sec-websocket-protocol": offer }), [V5, V4])).protocol;
  assertEquals(await choose(`${V4}, ${V5}`), V4);
  assertEquals(await choose(`${V5},${V4}`), V5);
  assertEquals(await choose(`v3.channel.k8s.io , ${V4}`), V4);
});

Deno.test("acceptWebSocket() names no subprotocol where none was offered", async () => {
  const { headers } = await acceptWebSocket(request(), ["", V4]);
  assertEquals(headers.map(([name]) => name), ["Upgrade", "Connection", "Sec-WebSocket-Accept"]);
});

type Refusal = readonly [
  name: string,
  changes: Record<string, string | undefined>,
  method: string,
  status: number,
  body: string,
];

// The texts are those of golang.org/x/net/websocket.
const REFUSALS: readonly Refusal[] = [
  ["a POST", {}, "POST", 405, "bad method"],
  ["no Upgrade", { upgrade: undefined }, "GET", 400, "not websocket protocol"],
  ["another Upgrade", { upgrade: "SPDY/3.1" }, "GET", 400, "not websocket protocol"],
  ["no Connection", { connection: "keep-alive" }, "GET", 400, "not websocket protocol"],
  ["no key", { "sec-websocket-key": undefined }, "GET", 400, "mismatch challenge/response"],
  ["a short key", { "sec-websocket-key": "c2hvcnQ=" }, "GET", 400, "mismatch challenge/response"],
  ["no version", { "sec-websocket-version": undefined }, "GET", 400, "missing or bad WebSocket Version"],
  ["version 8", { "sec-websocket-version": "8" }, "GET", 400, "missing or bad WebSocket Version"],
  ["an unknown subprotocol", { "sec-websocket-protocol": "v3.channel.k8s.io" }, "GET", 403, ""],
  ["no subprotocol", {}, "GET", 403, ""],
];

for (const [name, changes, method, status, body] of REFUSALS) {
  Deno.test(`acceptWebSocket() refuses ${name} with ${status}`, async () => {
    const error = await assertRejects(() => acceptWebSocket(request(changes, method), [V5]), WebSocketRequestError);
    assertEquals([error.status, error.body], [status, body]);
    assertEquals(error.headers, body.includes("Version") ? [["Sec-WebSocket-Version", "13"]] : []);
  });
}

Deno.test("isWebSocketRequest() looks at Upgrade and Connection only", () => {
  assertEquals(isWebSocketRequest(request({ "sec-websocket-version": undefined })), true);
  assertEquals(isWebSocketRequest(request({ upgrade: "SPDY/3.1" })), false);
});

Deno.test("ClientHandshake has kubectl's fields in kubectl's order", () => {
  const { headers } = new ClientHandshake([V5, V4]);
  assertEquals(headers.map(([name, value]) => name === "Sec-WebSocket-Key" ? [name] : [name, value]), [
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Key"],
    ["Sec-WebSocket-Protocol", `${V5}, ${V4}`],
    ["Sec-WebSocket-Version", "13"],
    ["Upgrade", "websocket"],
  ]);
  assertEquals(new ClientHandshake().headers.length, 4);
});

Deno.test("ClientHandshake draws a key of 16 bytes each time", () => {
  const key = () =>
    new Headers(new ClientHandshake().headers.map((pair): [string, string] => [...pair])).get("sec-websocket-key")!;
  assertMatch(key(), /^[A-Za-z0-9+/]{22}==$/);
  assertNotEquals(key(), key());
});

/** What our own server answers to `handshake`, with changes. */
async function respond(handshake: ClientHandshake, changes: Record<string, string | undefined> = {}) {
  const fields = handshake.headers.map((pair): [string, string] => [...pair]);
  const { headers } = await acceptWebSocket({ method: "GET", headers: new Headers(fields) }, [V5, V4, ""]);
  const answer = new Headers(headers.map((pair): [string, string] => [...pair]));
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) answer.delete(name);
    else answer.set(name, value);
  }
  return { headers: answer };
}

Deno.test("ClientHandshake.verify() returns the subprotocol", async () => {
  const handshake = new ClientHandshake([V5, V4]);
  assertEquals(await handshake.verify(await respond(handshake)), V5);
  assertEquals(await handshake.verify(await respond(handshake, { "sec-websocket-protocol": V4 })), V4);
  const without = new ClientHandshake();
  assertEquals(await without.verify(await respond(without)), "");
  // wsstream answers with an empty value where nothing was offered.
  assertEquals(await without.verify(await respond(without, { "sec-websocket-protocol": "" })), "");
});

const BAD_ANSWERS: readonly [Record<string, string | undefined>, string][] = [
  [{ upgrade: undefined }, "did not upgrade"],
  [{ upgrade: "h2c" }, "did not upgrade"],
  [{ connection: "close" }, "did not upgrade"],
  [{ "sec-websocket-accept": undefined }, "Sec-WebSocket-Accept"],
  [{ "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" }, "Sec-WebSocket-Accept"],
  [{ "sec-websocket-extensions": "permessage-deflate" }, "permessage-deflate"],
  [
    { "sec-websocket-protocol": "v3.channel.k8s.io" },
    `invalid protocol, expected one of [${V5} ${V4}], got "v3.channel.k8s.io"`,
  ],
  [{ "sec-websocket-protocol": V5.toUpperCase() }, "invalid protocol"],
  [{ "sec-websocket-protocol": `${V5}, ${V4}` }, "invalid protocol"],
  [{ "sec-websocket-protocol": undefined }, `invalid protocol, expected one of [${V5} ${V4}], got ""`],
];

for (const [changes, text] of BAD_ANSWERS) {
  Deno.test(`ClientHandshake.verify() refuses ${JSON.stringify(changes)}`, async () => {
    const handshake = new ClientHandshake([V5, V4]);
    const response = await respond(handshake, changes);
    await assertRejects(() => handshake.verify(response), WebSocketHandshakeError, text);
  });
}
