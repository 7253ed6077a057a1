/** What a program asks the host and the gateway for: refused before anything runs, and nothing of it left. */
import { assertEquals, assertRejects } from "@std/assert";
import { Cluster } from "../../mod.ts";
import { type HostOptions, type HostPod, serveGateway, serveHost } from "../../lib/server/mod.ts";
import { accessTo } from "./gateway_ground.ts";
import { until } from "../support/until.ts";

/** A pod that leaves a mark when it starts, and lives for long. */
function marking(name: string, mark: string): HostPod {
  return { name, containers: [{ name: "main", command: ["/bin/sh", "-c", `echo $$ >> ${mark}; exec sleep 600`] }] };
}

/** Refuses to start, and looks whether something is left: a socket, or a process. */
async function refused(
  options: (mark: string) => Omit<HostOptions, "listen">,
  type: new (message: string) => Error,
  text: string,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const [path, mark] = [`${folder}/host.sock`, `${folder}/mark`];
    await assertRejects(() => serveHost({ listen: { path }, ...options(mark) }), type, text);
    await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
    const started = await Deno.readTextFile(mark).catch(() => ""); // None has come so far.
    for (const pid of started.split("\n").filter(Boolean)) {
      await until(`process ${pid} is gone`, () => Deno.stat(`/proc/${pid}`).then(() => false, () => true));
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const main = { name: "main", command: ["true"] };

const WRONG_PODS: ReadonlyArray<readonly [pod: unknown, text: string]> = [
  [undefined, "pod 1 cannot be served: undefined is no object"],
  [{ containers: [main] }, "pod 1 cannot be served: undefined is no name of a pod"],
  [{ name: "a/b", containers: [main] }, 'pod 1 cannot be served: "a/b" is no name of a pod'],
  [{ name: "y", namespace: "", containers: [main] }, 'pod y cannot be served: "" is no namespace'],
  [{ name: "y" }, "pod y cannot be served: it has no containers"],
  [{ name: "y", containers: [] }, "pod y cannot be served: it has no containers"],
  [{ name: "y", containers: [main], restartPolicy: "never" }, "restartPolicy is none of Always, OnFailure, Never"],
  [{ name: "y", containers: [main], terminationGracePeriodSeconds: NaN }, "is no number of seconds"],
  [{ name: "y", containers: [main], ports: 80 }, "pod y, ports cannot be served: 80 is no object"],
  [{ name: "y", containers: [null] }, "pod y, container 0 cannot be served: null is no object"],
  [{ name: "y", containers: [{ command: ["true"] }] }, "pod y, container 0 cannot be served: undefined is no name"],
  [{ name: "y", containers: [main, main] }, "pod y, container main cannot be served: there is another one"],
  [{ name: "y", containers: [{ name: "main" }] }, "its command has to be a list of words"],
  [{ name: "y", containers: [{ name: "main", command: [] }] }, "its command has to be a list of words"],
  [{ name: "y", containers: [{ name: "main", command: "ls -l" }] }, "its command has to be a list of words"],
  [{ name: "y", containers: [{ ...main, args: [1] }] }, "its args have to be a list of words"],
  [{ name: "y", containers: [{ ...main, env: { A: 1 } }] }, "its env has to hold texts"],
  [{ name: "x", containers: [main] }, "pod x cannot be served: there is another one in the namespace default"],
];

Deno.test("serveHost() refuses pods that cannot be served, and has started none", async () => {
  for (const [pod, text] of WRONG_PODS) {
    await refused((mark) => ({ pods: [marking("x", mark), pod as HostPod] }), TypeError, text);
  }
});

Deno.test("serveHost() takes pods of one name in two namespaces", async () => {
  const pods = ["a", "b"].map((namespace) => ({ name: "x", namespace, containers: [main] }));
  await using host = await serveHost({ listen: { port: 0 }, pods });
  await using cluster = new Cluster({ server: host.url });
  for (const namespace of ["a", "b"]) {
    assertEquals((await cluster.pod("x", { namespace }).get()).metadata.namespace, namespace);
  }
});

Deno.test("serveHost() leaves neither socket nor process when it fails after its pods have started", async () => {
  for (const maxConnections of [0, -1, NaN]) {
    const options = (mark: string) => ({ pods: [marking("x", mark)], maxConnections });
    await refused(options, RangeError, `maxConnections: ${maxConnections} would let nobody in`);
  }
});

Deno.test("serveGateway() listens no more when it fails", async () => {
  const access = accessTo("http://127.0.0.1:1");
  const listen = { port: 0 };
  for (const maxConnections of [0, -1, NaN]) {
    await assertRejects(() => serveGateway({ access, listen, maxConnections }), RangeError, "would let nobody in");
  }
  for (const time of [NaN, -1]) {
    for (const name of ["first", "idle", "request"]) {
      const limits = { [name]: time };
      await assertRejects(() => serveGateway({ access, listen, limits }), RangeError, `limits.${name}: ${time} is not`);
    }
  }
  const folder = await Deno.makeTempDir();
  const path = `${folder}/gateway.sock`;
  await assertRejects(() => serveGateway({ access, listen: { path }, maxConnections: 0 }), RangeError);
  await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("drain() refuses what is no time", async () => {
  await using gateway = await serveGateway({ access: accessTo("http://127.0.0.1:1"), listen: { port: 0 } });
  await assertRejects(() => gateway.drain(NaN), RangeError, "drain: NaN is not a time");
});

for (const token of ["a b", "a/b", "a+b=", "ü", "a?b", "a#b", "a%2Fb", ".", "..", ""]) {
  Deno.test(`a token that no URL's path keeps is refused: ${JSON.stringify(token)}`, async () => {
    await assertRejects(() => serveHost({ listen: { port: 0 }, pods: [], token }), TypeError, "the token");
    const access = accessTo("http://127.0.0.1:1");
    await assertRejects(() => serveGateway({ access, listen: { port: 0 }, token }), TypeError, "the token");
  });
}

Deno.test("a token of every character that a URL's path keeps lets in", async () => {
  const token = "AZaz09-._~..";
  await using host = await serveHost({ listen: { port: 0 }, token });
  await using cluster = new Cluster({ server: host.url });
  assertEquals((await cluster.pod("demo").exec(["true"]).output()).code, 0);
});
