/** A relay in two halves: what each enforces, and what cannot be cut. */
import { assertEquals, assertThrows } from "@std/assert";
import type { RelaySpec } from "../../lib/relay/config.ts";
import { RelayHalvesError, splitRelay } from "../../lib/relay/halves.ts";

const RELAY: RelaySpec = {
  name: "scheduler",
  listen: { address: "tcp:0.0.0.0:10259" },
  target: { address: "tcp:127.0.0.1:10259", tls: { insecureSkipVerify: true } },
  http: { paths: ["/metrics"] },
  allowFrom: ["10.0.0.0/8"],
  maxConnections: 7,
};

Deno.test("splitRelay() enforces the paths on the node and the sources in the cluster", () => {
  assertEquals(splitRelay(RELAY), {
    node: {
      name: "scheduler",
      listen: { address: "unix:/run/podwire/scheduler.sock", mode: "0600" },
      target: RELAY.target,
      http: { paths: ["/metrics"] },
      maxConnections: 7,
    },
    cluster: {
      name: "scheduler",
      listen: RELAY.listen,
      target: { address: "unix:/run/podwire/scheduler.sock" },
      allowFrom: ["10.0.0.0/8"],
      maxConnections: 7,
    },
    port: 10259,
    protocol: "TCP",
  });
});

Deno.test("splitRelay() takes datagrams over the same kind of socket", () => {
  const udp = splitRelay({ name: "dns", listen: { address: "udp:0.0.0.0:53" }, target: { address: "udp:53" } });
  assertEquals([udp.protocol, udp.cluster.target.address], ["UDP", "unix:/run/podwire/dns.sock"]);
});

Deno.test("splitRelay() says what cannot be cut", () => {
  const problem = (change: Partial<RelaySpec>) =>
    assertThrows(() => splitRelay({ ...RELAY, ...change }), RelayHalvesError).message;
  const { target } = RELAY;
  // Nobody else reaches 127.0.0.1 of a pod's own network.
  for (const address of ["unix:/run/x.sock", "tcp:9999", "tcp:[::1]:9999", "tcp:10.0.0.1:9999"]) {
    assertEquals(
      problem({ listen: { address } }),
      "relay scheduler: listen.address: must be tcp or udp on every address of the pod, as tcp:0.0.0.0:PORT or " +
        `tcp:[::]:PORT, not ${address}`,
    );
  }
  assertEquals(
    problem({ listen: { address: "udp:[::]:0" } }),
    "relay scheduler: listen.address: needs a port other than 0: it is the Service's",
  );
  assertEquals(
    problem({ listen: { address: "tcp:0.0.0.0:9403" } }),
    "relay scheduler: listen.address: the pods use the ports 9402 and 9403 themselves",
  );
  assertEquals(
    problem({ name: "podwire-node-admin" }),
    "relay podwire-node-admin: name: is taken by podwire itself",
  );
  assertEquals(
    problem({ name: "5g" }),
    "relay 5g: name: must begin with a letter, as a Service's does, not be 5g",
  );
  assertEquals(
    problem({ target: { ...target, proxyProtocol: "v2" } }),
    "relay scheduler: target.proxyProtocol: the node's half does not know who connected",
  );
  assertEquals(
    problem({ target: { ...target, tls: { caFile: "/ca.crt" } } }),
    "relay scheduler: target.tls.caFile: the pods mount no files",
  );
});
