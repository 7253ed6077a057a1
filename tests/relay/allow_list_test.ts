/** What may be exposed: what is named, in the words that the operator and the relay share. */
import { assertEquals, assertThrows } from "@std/assert";
import { parseAllowed, refusal } from "../../lib/relay/allow_list.ts";
import type { RelaySpec } from "../../lib/relay/config.ts";

function relay(address: string, paths?: string[]): RelaySpec {
  return { name: "r", listen: { address: "tcp:1" }, target: { address }, ...(paths && { http: { paths } }) };
}

const ALLOWED = ["tcp:127.0.0.1:10259=/metrics,/healthz", "tcp:127.0.0.1:2381=/metrics", "tcp:[::1]:9", "udp:514"].map(
  parseAllowed,
);

Deno.test("refusal() lets pass what is named", () => {
  for (
    const spec of [
      relay("tcp:127.0.0.1:10259", ["/metrics"]),
      relay("tcp:10259", ["/healthz", "/metrics"]), // The same address in other words.
      relay("tcp:[::1]:9"),
      relay("tcp:[::1]:9", ["/any"]),
      relay("udp:127.0.0.1:514"),
    ]
  ) assertEquals(refusal(ALLOWED, spec), undefined);
});

Deno.test("refusal() says what is not named: the target, its stream as it is, one of its paths", () => {
  const why = (spec: RelaySpec) => refusal(ALLOWED, spec);
  assertEquals(why(relay("tcp:127.0.0.1:22")), "the operator's --allow does not name tcp:127.0.0.1:22");
  assertEquals(why(relay("tcp:514")), "the operator's --allow does not name tcp:127.0.0.1:514");
  assertEquals(why(relay("tcp:localhost:9")), "the operator's --allow does not name tcp:localhost:9");
  assertEquals(
    why(relay("tcp:10259")),
    "the operator's --allow names tcp:127.0.0.1:10259 for some HTTP paths only: http.paths must name them",
  );
  assertEquals(
    why(relay("tcp:2381", ["/metrics", "/v3/kv"])),
    "the operator's --allow does not name the path /v3/kv of tcp:127.0.0.1:2381",
  );
  assertEquals(refusal([], relay("tcp:1")), "the operator's --allow does not name tcp:127.0.0.1:1");
});

Deno.test("parseAllowed() refuses what is no address or no path", () => {
  assertThrows(() => parseAllowed("127.0.0.1:22"), SyntaxError);
  assertThrows(() => parseAllowed("tcp:1=metrics"), SyntaxError, 'the path must begin with /, not be "metrics"');
  assertThrows(() => parseAllowed("tcp:1="), SyntaxError, "the path ");
});

Deno.test("parseAllowed() refuses what no relay of the operator can have", () => {
  assertThrows(
    () => parseAllowed("unix:/run/x.sock"),
    SyntaxError,
    "the address must be tcp:HOST:PORT or udp:HOST:PORT",
  );
  assertThrows(
    () => parseAllowed("unix-dgram:/dev/log"),
    SyntaxError,
    "the address must be tcp:HOST:PORT or udp:HOST:PORT",
  );
  assertThrows(() => parseAllowed("tcp:1=/a?b"), SyntaxError, "the path must be a plain path");
  assertThrows(() => parseAllowed("tcp:1=/ok,/c*"), SyntaxError, "the path must be a plain path");
  assertThrows(() => parseAllowed("udp:514=/metrics"), SyntaxError, "the path is for streams, not datagrams");
  assertThrows(() => parseAllowed("tcp:0"), SyntaxError, "the address needs a port other than 0");
});
