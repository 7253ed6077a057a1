/** What a configuration may say, and how what is wrong with it is named. */
import { assertEquals, assertLess, assertMatch, assertThrows } from "@std/assert";
import { parseRelays, RelayConfigError } from "../../lib/relay/mod.ts";

const parse = (text: string) => parseRelays([{ file: "relays.yaml", text }]);

/** A configuration with one relay: `lines` after its name and, unless they say it themselves, a good listener and target. */
function relay(...lines: readonly string[]): string {
  const has = (key: string) => lines.some((line) => line.startsWith(`${key}:`));
  return [
    "relays:", // 1
    "- name: web", // 2
    ...lines.map((line) => `  ${line}`), // from 3 on
    ...(has("listen") ? [] : ["  listen: {address: tcp:9090}"]),
    ...(has("target") ? [] : ["  target: {address: unix:/run/x.sock}"]),
    "",
  ].join("\n");
}

Deno.test("parseRelays() fills in what a relay does not say", () => {
  const [got] = parse(relay());
  assertEquals(got, {
    name: "web",
    listen: { address: { kind: "tcp", hostname: "127.0.0.1", port: 9090 }, mode: 0o600 },
    target: { address: { kind: "unix", path: "/run/x.sock" } },
    paths: undefined,
    allowFrom: undefined,
    maxConnections: 1024,
    connectTimeout: 5_000,
    idleTimeout: 0,
  });
  assertEquals(parse(relay("target: {address: udp:127.0.0.1:53}"))[0]?.idleTimeout, 60_000);
});

Deno.test("parseRelays() reads everything that a relay can say", () => {
  const [got] = parse(relay(
    'listen: {address: "unix:/run/a.sock", mode: "0660", uid: 1, gid: 2, tls: {certFile: c, keyFile: k, clientCaFile: a}}',
    "target: {address: 'tcp:[::1]:443', tls: {caFile: a, certFile: c, keyFile: k, serverName: name.example}}",
    "http: {paths: [/metrics, /metrics/cadvisor]}",
    "maxConnections: 3",
    "connectTimeout: 500ms",
    "idleTimeout: 1m30s",
  ));
  assertEquals(got, {
    name: "web",
    listen: {
      address: { kind: "unix", path: "/run/a.sock" },
      mode: 0o660,
      uid: 1,
      gid: 2,
      tls: { certFile: "c", keyFile: "k", clientCaFile: "a" },
    },
    target: {
      address: { kind: "tcp", hostname: "::1", port: 443 },
      tls: { caFile: "a", certFile: "c", keyFile: "k", serverName: "name.example" },
    },
    paths: ["/metrics", "/metrics/cadvisor"],
    allowFrom: undefined,
    maxConnections: 3,
    connectTimeout: 500,
    idleTimeout: 90_000,
  });
});

Deno.test("parseRelays() takes JSON, several files, and no relays at all", () => {
  assertEquals(parse("relays: []"), []);
  assertEquals(parse('{"relays": []}'), []);
  const files = ["a", "b"].map((name, i) => ({
    file: `${name}.json`,
    text: JSON.stringify({
      relays: [{ name, listen: { address: `tcp:${9000 + i}` }, target: { address: "tcp:example.com:80" } }],
    }),
  }));
  assertEquals(parseRelays(files).map(({ name }) => name), ["a", "b"]);
});

/** Wrong configurations: the text, and the line, key and text that name what is wrong. */
const BAD: ReadonlyArray<readonly [text: string, line: number, key: string, says: RegExp]> = [
  ["", 1, "", /empty/],
  ["# nothing\n", 1, "", /empty/],
  ["- name: web\n", 1, "", /must be a mapping, not a list/],
  ["relays: [\n", 2, "", /not YAML/],
  ["relays:\n\t- name: x\n", 2, "", /not YAML/],
  ["relays: []\nrelay: []\n", 2, "relay", /unknown key/],
  ["{}\n", 1, "relays", /missing/],
  ["relays: {name: web}\n", 1, "relays", /must be a list, not a mapping/],
  ["relays: []\n---\nrelays: []\n", 3, "", /several documents/],
  ["--- {relays: []}\n---\nrelays: []\n", 3, "", /several documents/],
  ["  relays: []\n---\nrelays: []\n", 3, "", /several documents/],
  ["relays: []\n...\nrelays: []\n", 3, "", /several documents/],
  ["relays: []\n---\nrelays: [\n", 4, "", /several documents/],
  ["relays:\n", 1, "relays", /is null: give it a value or leave the key out/],
  ["relays:\n-\n", 2, "relays[0]", /must be a mapping, not null/],
  ["relays:\n- web\n", 2, "relays[0]", /must be a mapping/],
  ["relays: []\nrelays: []\n", 2, "relays", /twice/],
  [relay("nmae: web"), 3, "relays[0].nmae", /unknown key; there are name,/],
  [relay("listen: {address: tcp:1}", "listen: {address: tcp:2}"), 4, "relays[0].listen", /twice/],
  ["relays:\n- listen: {address: tcp:1}\n  target: {address: tcp:2}\n", 2, "relays[0].name", /missing/],
  [relay().replace("web", "Web"), 2, "relays[0].name", /DNS label/],
  [relay().replace("web", "5"), 2, "relays[0].name", /must be text, not the number 5: put it in quotes/],
  [relay().replace("web", "a".repeat(64)), 2, "relays[0].name", /63/],
  [
    relay() + relay().replace("relays:\n", "").replace("9090", "9091"),
    5,
    "relays[1].name",
    /another relay is called "web"/,
  ],
  [
    relay() + relay().replace("relays:\n", "").replace("web", "b"),
    6,
    "relays[1].listen",
    /another relay listens on tcp:127.0.0.1:9090/,
  ],
  ["relays:\n- name: web\n  target: {address: tcp:2}\n", 2, "relays[0].listen", /missing/],
  ["relays:\n- name: web\n  listen: {address: tcp:2}\n", 2, "relays[0].target", /missing/],
  [relay("listen: tcp:9090"), 3, "relays[0].listen", /must be a mapping/],
  [relay("listen: {mode: '0600'}"), 3, "relays[0].listen.address", /missing/],
  [relay("listen: {address: http://x}"), 3, "relays[0].listen.address", /must be tcp:HOST:PORT/],
  [relay("listen: {address: tcp:70000}"), 3, "relays[0].listen.address", /port 70000, larger than 65535/],
  [relay("listen: {address: 'tcp:::1:80'}"), 3, "relays[0].listen.address", /brackets around an IPv6 address/],
  [relay("listen: {address: tcp:localhost:80}"), 3, "relays[0].listen.address", /IP address to listen on/],
  [relay("listen: {address: tcp:256.0.0.1:80}"), 3, "relays[0].listen.address", /no host name or IP address/],
  [
    relay('listen: {address: "tcp:[1:2]:80"}'),
    3,
    "relays[0].listen.address",
    /no host name or IP address in it: "1:2"/,
  ],
  [relay('target: {address: "tcp:[::1::]:80"}'), 3, "relays[0].target.address", /no host name or IP address/],
  [relay("listen: {address: unix:run/x}"), 3, "relays[0].listen.address", /absolute path or @NAME/],
  [relay("listen: {address: unix:/run/}"), 3, "relays[0].listen.address", /names a folder/],
  [
    relay(`listen: {address: unix:/${"x".repeat(107)}}`),
    3,
    "relays[0].listen.address",
    /108 bytes; a socket's has at most 107/,
  ],
  [relay("listen: {address: unix:/x, mode: 0660}"), 3, "relays[0].listen.mode", /must be text.*quotes/],
  [relay("listen: {address: unix:/x, mode: '0999'}"), 3, "relays[0].listen.mode", /octal mode/],
  [relay("listen: {address: tcp:1, mode: '0600'}"), 3, "relays[0].listen.mode", /is for a unix socket with a path/],
  [relay("listen: {address: 'unix:@x', gid: 5}"), 3, "relays[0].listen.gid", /is for a unix socket with a path/],
  [relay("listen: {address: unix:/x, uid: root}"), 3, "relays[0].listen.uid", /whole number/],
  [relay("listen:", "  address: tcp:1", "  tls: {certFile: a}"), 5, "relays[0].listen.tls.keyFile", /missing/],
  [relay("listen: {address: udp:1, tls: {certFile: a, keyFile: b}}"), 3, "relays[0].listen.tls", /for streams/],
  [relay("target: {address: tcp:127.0.0.1:0}"), 3, "relays[0].target.address", /port other than 0/],
  [relay("target: {address: tcp:127.0.0.1:9090}"), 3, "relays[0].target", /goes to where it listens/],
  [relay("target: {address: unix:/x, proxyProtocol: v3}"), 3, "relays[0].target.proxyProtocol", /must be v1 or v2/],
  [relay("target: {address: udp:1, proxyProtocol: v1}"), 3, "relays[0].target", /proxyProtocol is for streams/],
  [relay("target: {address: tcp:1, tls: {}, proxyProtocol: v1}"), 3, "relays[0].target.proxyProtocol", /before TLS/],
  [relay("target: {address: unix:/x, tls: {}}"), 3, "relays[0].target.tls.serverName", /no host name to verify/],
  [relay("target: {address: tcp:1, tls: {certFile: a}}"), 3, "relays[0].target.tls.certFile", /go together/],
  [
    relay("target: {address: tcp:1, tls: {insecureSkipVerify: 1}}"),
    3,
    "relays[0].target.tls.insecureSkipVerify",
    /true or false/,
  ],
  [
    relay("target: {address: tcp:1, tls: {insecureSkipVerify: true, caFile: a}}"),
    3,
    "relays[0].target.tls.caFile",
    /beside insecureSkipVerify/,
  ],
  [relay("target: {address: tcp:localhost:9090}"), 3, "relays[0].target", /goes to where it listens/],
  ...[
    ["0.0.0.0", "127.0.0.1"],
    ["0.0.0.0", "127.9.9.9"],
    ["0.0.0.0", "localhost"],
    ["127.0.0.1", "0.0.0.0"],
    ["[::]", "127.0.0.1"],
    ["[::]", "[::1]"],
    ["[::]", "0.0.0.0"],
    ["[::1]", "[::]"],
  ].map(([from, to]) =>
    [
      relay(`listen: {address: "tcp:${from}:80"}`, `target: {address: "tcp:${to}:80"}`),
      4,
      "relays[0].target",
      /goes to where it listens/,
    ] as const
  ),
  [relay("http: # {paths: [/metrics]}"), 3, "relays[0].http", /is null/],
  [relay("http:", "  paths: ~"), 4, "relays[0].http.paths", /is null/],
  [relay("allowFrom:", "# - 10.0.0.0/8"), 3, "relays[0].allowFrom", /is null/],
  [relay("allowFrom:", "-"), 4, "relays[0].allowFrom[0]", /must be text, not null/],
  [relay("maxConnections: null"), 3, "relays[0].maxConnections", /is null/],
  [relay("listen: {address: tcp:1, tls: }"), 3, "relays[0].listen.tls", /is null/],
  [
    relay("listen:", "  address: tcp:1", "  tls: {certFile: a, keyFile: b, clientCaFile: }"),
    5,
    "relays[0].listen.tls.clientCaFile",
    /is null/,
  ],
  [relay("target: {address: unix:/x, tls: {serverName: }}"), 3, "relays[0].target.tls.serverName", /is null/],
  [relay("target: {address: tcp:1, tls: {caFile: ~}}"), 3, "relays[0].target.tls.caFile", /is null/],
  [relay("http: {}"), 3, "relays[0].http.paths", /missing/],
  [relay("http:", "  paths: []"), 4, "relays[0].http.paths", /nothing in it/],
  [relay("http:", "  paths:", "  - /metrics", "  - metrics"), 6, "relays[0].http.paths[1]", /must begin with \//],
  [relay("http: {paths: ['/m*']}"), 3, "relays[0].http.paths[0]", /plain path/],
  [relay("target: {address: udp:1}", "http: {paths: [/m]}"), 4, "relays[0].http", /for streams/],
  [relay("allowFrom: 10.0.0.0/8"), 3, "relays[0].allowFrom", /must be a list/],
  [relay("allowFrom: [10.0.0.1/8]"), 3, "relays[0].allowFrom[0]", /bits beyond its prefix/],
  [relay("allowFrom: [10.0.0.0/8, web]"), 3, "relays[0].allowFrom[1]", /must be a range/],
  [relay("listen: {address: unix:/x}", "allowFrom: [10.0.0.0/8]"), 4, "relays[0].allowFrom", /for TCP and UDP/],
  [relay("maxConnections: 0"), 3, "relays[0].maxConnections", /from 1 to/],
  [relay("maxConnections: '5'"), 3, "relays[0].maxConnections", /whole number/],
  [relay("connectTimeout: 5"), 3, "relays[0].connectTimeout", /must be text, not the number 5/],
  [relay("connectTimeout: 0s"), 3, "relays[0].connectTimeout", /more than 0/],
  [relay("idleTimeout: soon"), 3, "relays[0].idleTimeout", /must be a duration/],
  [relay("target: {address: udp:1}", "idleTimeout: 0s"), 4, "relays[0].idleTimeout", /more than 0/],
];

Deno.test("parseRelays() names file, line and key of each of more than 50 wrong configurations", () => {
  assertEquals(BAD.length > 50, true);
  for (const [text, line, key, says] of BAD) {
    const error = assertThrows(() => parse(text), RelayConfigError, undefined, text);
    const [first, ...others] = error.details;
    assertEquals([first?.file, first?.line, first?.key], ["relays.yaml", line, key], text);
    assertMatch(first?.text ?? "", says);
    assertEquals(others, [], text);
    assertEquals(error.message, `relays.yaml:${line}: ${key && `${key}: `}${first?.text}`);
  }
});

Deno.test("parseRelays() tells all that is wrong at once, in all files", () => {
  const error = assertThrows(
    () =>
      parseRelays([
        { file: "a.yaml", text: relay("maxConnections: x", "idleTimeout: y") },
        { file: "b.yaml", text: "relays: [" },
        { file: "c.yaml", text: relay() },
      ]),
    RelayConfigError,
  );
  assertEquals(error.details.map(({ file, line, key }) => `${file}:${line} ${key}`), [
    "a.yaml:3 relays[0].maxConnections",
    "a.yaml:4 relays[0].idleTimeout",
    "b.yaml:1 ",
    "c.yaml:2 relays[0].name",
    "c.yaml:3 relays[0].listen",
  ]);
});

Deno.test("parseRelays() takes an empty document behind the relays, and a target beside where it listens", () => {
  for (const tail of ["---\n", "...\n", "---\n# nothing\n"]) assertEquals(parse(`relays: []\n${tail}`), []);
  for (const [from, to] of [["0.0.0.0", "[::1]"], ["10.0.0.5", "127.0.0.1"], ["127.0.0.2", "localhost"]]) {
    const text = relay(`listen: {address: "tcp:${from}:80"}`, `target: {address: "tcp:${to}:80"}`);
    assertEquals(parse(text).length, 1, text);
  }
  assertEquals(parse(relay("listen: {address: udp:0.0.0.0:80}", "target: {address: tcp:80}")).length, 1);
});

Deno.test("what is told of a wrong configuration is short, whatever is in it", () => {
  const secret = `-----BEGIN PRIVATE KEY----- ${"MIIEvQIBADANBgkq".repeat(100)}`;
  const lines = [
    `name: ${JSON.stringify(secret)}`,
    `listen: {address: ${JSON.stringify(`tcp:${secret}:1`)}}`,
    `target: {address: "tcp:${secret.replaceAll(" ", "")}"}`,
    `http: {paths: [${JSON.stringify(secret)}]}`,
    `allowFrom: [${JSON.stringify(secret)}]`,
    `maxConnections: ${JSON.stringify(secret)}`,
    `connectTimeout: ${"9".repeat(500)}`,
    `idleTimeout: ${secret}`,
    `${"MIIEvQIBADANBgkq".repeat(50)}: 1`,
  ];
  const error = assertThrows(() => parse(`relays:\n- ${lines.join("\n  ")}\n`), RelayConfigError);
  assertEquals(error.details.length, lines.length);
  for (const line of error.message.split("\n")) assertLess(line.length, 400);
  assertEquals(error.message.includes("MIIEvQIBADANBgkq".repeat(3)), false, error.message);

  const many = assertThrows(() => parse(`relays:\n${"- x\n".repeat(1000)}`), RelayConfigError);
  assertEquals(many.details.length, 1000);
  const told = many.message.split("\n");
  assertEquals([told.length, told.at(-1)], [21, "and 980 more"]);
});
