// Expected values and texts are kubectl 1.36's (pkg/cmd/portforward, client-go tools/portforward), seen on a cluster.
import { assertEquals, assertThrows } from "@std/assert";
import { mapPorts, parsePortSpec, readPort, TargetError } from "../../lib/client/mod.ts";
import type { PodObject, ServiceObject } from "../../lib/client/mod.ts";

const POD: PodObject = {
  metadata: { name: "one" },
  spec: {
    containers: [
      {
        name: "main",
        ports: [
          { name: "http", containerPort: 8080, protocol: "TCP" },
          { name: "dns", containerPort: 53, protocol: "UDP" },
          { name: "both", containerPort: 54, protocol: "TCP" },
          { name: "both-udp", containerPort: 54, protocol: "UDP" },
          { containerPort: 9000 },
        ],
      },
      { name: "side", ports: [{ name: "admin", containerPort: 9090 }] },
    ],
    initContainers: [{
      name: "setup",
      ports: [{ name: "setup", containerPort: 7777 }, { name: "http", containerPort: 1 }],
    }],
  },
};

const SERVICE: ServiceObject = {
  metadata: { name: "web" },
  spec: {
    clusterIP: "10.0.0.1",
    ports: [
      { name: "named", port: 80, protocol: "TCP", targetPort: "http" },
      { name: "number", port: 81, protocol: "TCP", targetPort: 8080 },
      { name: "same", port: 8080, protocol: "TCP" },
      { name: "zero", port: 82, protocol: "TCP", targetPort: 0 },
      { name: "dns", port: 53, protocol: "UDP", targetPort: "dns" },
      { name: "both-udp", port: 54, protocol: "UDP", targetPort: 5400 },
      { name: "both", port: 54, protocol: "TCP", targetPort: 5401 },
      { name: "lost", port: 90, protocol: "TCP", targetPort: "nowhere" },
    ],
  },
};

const HEADLESS: ServiceObject = { ...SERVICE, spec: { ...SERVICE.spec, clusterIP: "None" } };

function forward(text: string, service?: ServiceObject): [local: number, remote: number] {
  const [port] = mapPorts([parsePortSpec(text)], POD, service).map(readPort);
  return [port?.local ?? NaN, port?.remote ?? NaN];
}

Deno.test("parsePortSpec() reads protocols", () => {
  assertEquals(parsePortSpec("53"), { protocol: "tcp", local: "53", remote: "53" });
  assertEquals(parsePortSpec("53/udp"), { protocol: "udp", local: "53", remote: "53" });
  assertEquals(parsePortSpec("5353:53/udp"), { protocol: "udp", local: "5353", remote: "53" });
  assertEquals(parsePortSpec(":dns/UDP"), { protocol: "udp", local: "", remote: "dns" });
  assertEquals(parsePortSpec("8080:80/tcp"), { protocol: "tcp", local: "8080", remote: "80" });
});

Deno.test("parsePortSpec() refuses what has too many parts", () => {
  const rows = [
    ["1:2:3", "invalid port format '1:2:3'"],
    ["::", "invalid port format '::'"],
    ["80/sctp", `invalid port format '80/sctp': "sctp" is neither tcp nor udp`],
    ["80/", `invalid port format '80/': "" is neither tcp nor udp`],
    ["80/udp/tcp", `invalid port format '80/udp/tcp': "udp/tcp" is neither tcp nor udp`],
  ] as const;
  for (const [text, message] of rows) assertEquals(messageOf(() => parsePortSpec(text)), message);
});

Deno.test("mapPorts() takes a pod's ports by number and by name", () => {
  const rows: Array<[text: string, local: number, remote: number]> = [
    ["5000", 5000, 5000],
    ["8888:5000", 8888, 5000],
    [":5000", 0, 5000],
    ["0:5000", 0, 5000],
    ["05000", 5000, 5000],
    ["65535", 65535, 65535],
    ["http", 8080, 8080],
    ["http:http", 8080, 8080],
    [":http", 0, 8080],
    ["8443:admin", 8443, 9090],
    ["setup", 7777, 7777],
    ["54", 54, 54],
    ["both-udp", 54, 54],
    ["53/udp", 53, 53],
    ["5353:dns/udp", 5353, 53],
  ];
  for (const [text, ...numbers] of rows) assertEquals(forward(text), numbers, text);
});

Deno.test("mapPorts() takes a service's ports to those of its pod", () => {
  const rows: Array<[text: string, local: number, remote: number]> = [
    ["80", 80, 8080],
    ["8888:80", 8888, 8080],
    ["named", 80, 8080],
    ["8888:named", 8888, 8080],
    [":number", 0, 8080],
    ["number", 81, 8080],
    ["same", 8080, 8080],
    ["zero", 82, 82],
    ["54", 54, 5401],
    ["both", 54, 5401],
    ["54/udp", 54, 5400],
    ["53/udp", 53, 53],
    ["5353:dns/udp", 5353, 53],
  ];
  for (const [text, ...numbers] of rows) assertEquals(forward(text, SERVICE), numbers, text);
});

Deno.test("mapPorts() takes a headless service's ports as the pod's", () => {
  assertEquals(forward("8888:80", HEADLESS), [8888, 80]);
  assertEquals(forward("named", HEADLESS), [80, 80]);
  assertEquals(forward("lost", HEADLESS), [90, 90]);
});

Deno.test("mapPorts() and readPort() refuse in kubectl's words", () => {
  const rows: Array<[text: string, service: ServiceObject | undefined, message: string]> = [
    ["nope", undefined, "Pod 'one' does not have a named port 'nope'"],
    ["8080:", undefined, "remote port cannot be empty"],
    ["", undefined, "remote port cannot be empty"],
    ["http:8080", undefined, `error parsing local port 'http': strconv.ParseUint: parsing "http": invalid syntax`],
    ["70000", undefined, `error parsing local port '70000': strconv.ParseUint: parsing "70000": value out of range`],
    ["1:70000", undefined, `error parsing remote port '70000': strconv.ParseUint: parsing "70000": value out of range`],
    [":-1", undefined, `error parsing remote port '-1': strconv.ParseUint: parsing "-1": invalid syntax`],
    ["+80", undefined, `error parsing local port '+80': strconv.ParseUint: parsing "+80": invalid syntax`],
    ["0", undefined, "remote port must be > 0"],
    ["8080:0", undefined, "remote port must be > 0"],
    ["99999999999999999999", undefined, "Pod 'one' does not have a named port '99999999999999999999'"],
    ["1.5", undefined, "Pod 'one' does not have a named port '1.5'"],
    ["53", undefined, "UDP protocol is not supported for 53"],
    ["5353:dns", undefined, "UDP protocol is not supported for dns"],
    ["nope", SERVICE, "Service 'web' does not have a named port 'nope'"],
    ["99", SERVICE, "Service web does not have a service port 99"],
    ["lost", SERVICE, "Pod 'one' does not have a named port 'nowhere'"],
    ["53", SERVICE, "UDP protocol is not supported for 53"],
    ["dns", SERVICE, "UDP protocol is not supported for dns"],
    ["80/udp", SERVICE, "Service web does not have a service port 80/udp"],
    ["7777", HEADLESS, "Service web does not have a service port 7777"],
  ];
  for (const [text, service, message] of rows) assertEquals(messageOf(() => forward(text, service)), message, text);
});

Deno.test("mapPorts() looks at the protocols of all ports before it maps one", () => {
  const specs = ["nope:1", "53"].map(parsePortSpec);
  assertEquals(messageOf(() => mapPorts(specs, POD)), "UDP protocol is not supported for 53");
});

function messageOf(call: () => unknown): string {
  return assertThrows(call, TargetError).message;
}
