/**
 * What listens on a node's localhost, for relays to go to: HTTP over TCP and over a unix socket, an echo over TCP, an echo of
 * datagrams. Prints its ports as JSON and ends when its input does.
 *
 * @module
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";

const [unixPath = ""] = Deno.args;

const answer = (request: Request) => {
  const { pathname } = new URL(request.url);
  if (pathname !== "/metrics") return new Response(`secret of ${pathname}\n`);
  return new Response("# TYPE relay_test_value gauge\nrelay_test_value 42\n", {
    headers: { "Content-Type": "text/plain" },
  });
};
const quiet = { onListen: () => {} };
const http = Deno.serve({ hostname: "127.0.0.1", port: 0, ...quiet }, answer);
const unix = Deno.serve({ path: unixPath, ...quiet }, answer);
await Deno.chmod(unixPath, 0o666);

const echo = Deno.listen({ hostname: "127.0.0.1", port: 0 });
(async () => {
  for await (const connection of echo) connection.readable.pipeTo(connection.writable).catch(() => {});
})();

const datagrams = createSocket("udp4");
datagrams.on("message", (message, { port, address }) => datagrams.send(message, port, address));
datagrams.bind(0, "127.0.0.1");
await once(datagrams, "listening");

console.log(JSON.stringify({ http: http.addr.port, echo: echo.addr.port, udp: datagrams.address().port }));
await new Response(Deno.stdin.readable).bytes();
await Promise.all([http.shutdown(), unix.shutdown()]);
Deno.exit();
