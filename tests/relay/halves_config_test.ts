/** What of a configuration becomes halves, and how what cannot is named. */
import { assertEquals, assertThrows } from "@std/assert";
import { parseHalves, parseRelays, RelayConfigError } from "../../lib/relay/mod.ts";

const parse = (...texts: readonly string[]) =>
  parseHalves(texts.map((text, i) => ({ file: `${"abc"[i]}.yaml`, text: `relays:\n${text}` })));

const fails = (...texts: readonly string[]) =>
  assertThrows(() => parse(...texts), RelayConfigError).message.split("\n");

/** A relay in four lines, and `more`. */
const relay = (name: string, listen: string, target = "tcp:9000", ...more: readonly string[]) =>
  [`- name: ${name}`, "  listen:", `    address: ${listen}`, `  target: {address: ${target}}`, ...more, ""].join("\n");

Deno.test("parseHalves() reads YAML as parseRelays() does", () => {
  const text = `relays:
- &web
  name: web
  listen: {address: "tcp:[::]:80"}
  target: {address: tcp:9000, tls: {insecureSkipVerify: yes}}
  http: {paths: [/metrics]}
  maxConnections: 7
  idleTimeout: 1m30s
- <<: *web
  name: api
  listen: {address: "tcp:[::]:81"}
`;
  const web = {
    name: "web",
    listen: { address: "tcp:[::]:80" },
    target: { address: "tcp:9000", tls: { insecureSkipVerify: true } },
    http: { paths: ["/metrics"] },
    maxConnections: 7,
    idleTimeout: "1m30s",
  };
  const read = [{ file: "a.yaml", text }];
  const relays = parseHalves(read);
  assertEquals(relays, [web, { ...web, name: "api", listen: { address: "tcp:[::]:81" } }]);
  const printed = [{ file: "a.json", text: JSON.stringify({ relays }) }];
  assertEquals(parseRelays(printed), parseRelays(read));
});

Deno.test("parseHalves() names file, line and key of all that cannot be cut", () => {
  assertEquals(
    fails(
      relay("one", "tcp:9999") + relay("two", "udp:0.0.0.0:0", "udp:9000"),
      relay("3-d", "tcp:0.0.0.0:3") + relay("four", "tcp:0.0.0.0:4", "tcp:9000, tls: {caFile: /ca.crt}"),
    ),
    [
      "a.yaml:4: relays[0].listen.address: must be tcp or udp on every address of the pod, as tcp:0.0.0.0:PORT or " +
      "tcp:[::]:PORT, not tcp:9999",
      "a.yaml:8: relays[1].listen.address: needs a port other than 0: it is the Service's",
      "b.yaml:2: relays[0].name: must begin with a letter, as a Service's does, not be 3-d",
      "b.yaml:9: relays[1].target.tls.caFile: the pods mount no files",
    ],
  );
});

Deno.test("parseHalves() lets a relay have its target's port, each in a network of its own", () => {
  const scheduler = relay("scheduler", "tcp:0.0.0.0:10259", "tcp:127.0.0.1:10259");
  assertEquals(parse(scheduler).length, 1);
  const listen = "a.yaml:4: relays[0].listen.address: must be tcp or udp on every address of the pod";
  const [problem = "", ...others] = fails(scheduler.replace("0.0.0.0:", ""));
  assertEquals([problem.slice(0, listen.length), others], [listen, []]);
});

Deno.test("parseHalves() looks at halves only of what is right, and no key is left empty", () => {
  assertEquals(fails(relay("one", "'tcp:[::]:1'", "tcp:9000, tls: ")), [
    "a.yaml:5: relays[0].target.tls: is null: give it a value or leave the key out",
  ]);
  assertEquals(fails(relay("one", "tcp:9999", "tcp:9000", "  maxConnections: 0")), [
    "a.yaml:6: relays[0].maxConnections: must be a whole number from 1 to 1000000, not the number 0",
  ]);
});

Deno.test("parseHalves() gives a port of the pod to one relay only", () => {
  assertEquals(fails(relay("four", "tcp:0.0.0.0:80"), relay("six", "'tcp:[::]:80'")), [
    "b.yaml:4: relays[0].listen.address: the relay four has port 80 of the same pod",
  ]);
  const both = parse(relay("stream", "tcp:0.0.0.0:53"), relay("datagrams", "udp:0.0.0.0:53", "udp:9000"));
  assertEquals(both.length, 2, "TCP and UDP are apart");
});
