/**
 * Streams through gateways that translate: in front of an API server that knows SPDY only, of one that is asked for WebSockets only, and straight at
 * kubelets and at containerd's streaming server.
 */
import { assert, assertEquals, assertLess, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { PodwireError } from "../../lib/bytes/mod.ts";
import { Cluster } from "../../lib/client/mod.ts";
import { denoFlags } from "../offline/flags.ts";
import { GatewayProcess, type GatewayProcessOptions, Running } from "./gateway_ground.ts";
import type { GatewayServerOptions } from "./gateway_server.ts";
import { type Ground, ground, type NodeName, type TestPod } from "./ground.ts";
import { PATTERN, pattern, PORTS } from "./port_forward_bytes.ts";
import { sumOf } from "./port_forward_client.ts";
import type { Speed } from "./port_forward_bulk.ts";
import { type Access, runClient, SERVER_POD } from "./port_forward_ground.ts";
import { until } from "./process.ts";
import { IMAGE, NODES } from "./shape.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const MIB = 1024 * 1024;

/** A running gateway. */
interface Front extends AsyncDisposable {
  readonly access: Access;
  readonly pid: number;
}

/** Where a gateway leads, and what its client speaks. */
interface Way {
  readonly name: string;
  readonly node: NodeName;
  /** What the client's commands and its port-forwards go over. */
  readonly wire: "websocket" | "spdy";
  /** How much goes each way, by exec and by port-forward. */
  readonly mebibytes: number;
  /** How the gateway is started for a pod. */
  start(cluster: Ground, pod: TestPod): Promise<Front>;
}

const OLD: Way = {
  name: "an API server that takes SPDY only",
  node: "node2",
  wire: "websocket",
  mebibytes: 256,
  start: (cluster) => gateway(cluster, { server: "old" }, "websocket"),
};

const REVERSE: Way = {
  name: "an API server that is asked for WebSockets only, by a client that speaks SPDY",
  node: "node1",
  wire: "spdy",
  mebibytes: 64,
  start: (cluster) => gateway(cluster, { args: ["--wire", "websocket"] }, "spdy"),
};

const WAYS: readonly Way[] = [
  OLD,
  REVERSE,
  {
    name: "a kubelet that takes SPDY only",
    node: "node2",
    wire: "websocket",
    mebibytes: 64,
    start: (cluster) => kubelet(cluster, "node2", []),
  },
  {
    name: "a kubelet that takes WebSockets",
    node: "node1",
    wire: "websocket",
    mebibytes: 64,
    start: (cluster) => kubelet(cluster, "node1", ["ExtendWebSocketsToKubelet"]),
  },
  { name: "containerd's streaming server", node: "node1", wire: "websocket", mebibytes: 64, start: containerd },
];

async function gateway(
  cluster: Ground,
  options: GatewayProcessOptions,
  wire: "websocket" | "spdy",
): Promise<Front & GatewayProcess> {
  const process = await GatewayProcess.start(cluster, { ...options, listen: "unix" });
  const viaUnixSocket = process.socket;
  return Object.assign(process, { access: { kubeconfig: process.kubeconfig, viaUnixSocket, ...wireOf(wire) } });
}

/** A client of WebSockets may have its port-forwards in a tunnel as well. */
function wireOf(wire: "websocket" | "spdy"): Pick<Access, "wire"> {
  return wire === "spdy" ? { wire } : {};
}

function kubelet(cluster: Ground, node: NodeName, declaredFeatures: readonly string[]): Promise<Front> {
  return startServer(cluster, { kubelet: `https://${NODES[node].address}:10250`, declaredFeatures });
}

async function containerd(cluster: Ground, pod: TestPod): Promise<Front> {
  const { stdout } = await cluster.kubectl(["get", "pod", pod.name, "-o", "json"]);
  const { status } = JSON.parse(stdout) as { status: { containerStatuses: { name: string; containerID: string }[] } };
  const containers = status.containerStatuses.map(({ name, containerID }) => [name, containerID.split("//")[1]!]);
  const runtime = `${cluster.dir}/${pod.node}/containerd.sock`;
  return await startServer(cluster, { runtime, containers: Object.fromEntries(containers) });
}

async function startServer(cluster: Ground, to: GatewayServerOptions["to"]): Promise<Front> {
  const folder = await Deno.makeTempDir({ prefix: "podwire-gateway-" });
  const socket = `${folder}/gateway.sock`;
  const options: GatewayServerOptions = { socket, kubeconfig: cluster.kubeconfig(), to };
  const script = new URL("gateway_server.ts", import.meta.url).pathname;
  const deno = [Deno.execPath(), "run", "-A", "--no-check", ...await denoFlags()];
  const running = new Running([...cluster.enter, ...deno, script, JSON.stringify(options)], "ready\n");
  const end = async () => {
    const { code, stderr } = await running.end();
    await Deno.remove(folder, { recursive: true });
    assertEquals(code, 0, stderr);
  };
  try {
    await running.ready;
  } catch (error) {
    await Deno.remove(folder, { recursive: true });
    throw error;
  }
  const access = { server: "http://gateway", viaUnixSocket: socket, kubeconfig: cluster.kubeconfig() };
  return { access, pid: running.pid, [Symbol.asyncDispose]: end };
}

/** Runs `work` with a pod and a gateway on the way to it. */
async function withWay(
  way: Way,
  work: (api: Cluster, pod: TestPod, front: Front, cluster: Ground) => Promise<void>,
): Promise<void> {
  const cluster = await ground();
  const cat = { name: "cat", command: ["sh", "-c", "while true; do cat; done"], stdin: true, image: IMAGE };
  const containers = [...SERVER_POD.containers ?? [], cat];
  await cluster.withPod({ ...SERVER_POD, node: way.node, containers }, async (pod) => {
    await using front = await way.start(cluster, pod);
    await using api = await Cluster.fromKubeconfig(front.access);
    await work(api, pod, front, cluster);
  });
}

const MAIN = { container: "main" };

for (const way of WAYS) {
  Deno.test(`exec, attach and port-forward keep their promises through a gateway to ${way.name}`, async () => {
    await withWay(way, async (api, { name }) => {
      const pod = api.pod(name);
      const output = await pod.exec(["sh", "-c", "echo out; echo err >&2; exit 7"], MAIN).output();
      const texts = [output.stdout, output.stderr].map((bytes) => new TextDecoder().decode(bytes));
      assertEquals([...texts, output.code], ["out\n", "err\n", 7]);

      await using count = await pod.exec(["wc", "-c"], { ...MAIN, stdin: "piped" }).spawn();
      assertEquals(count.wire, way.wire);
      await ReadableStream.from([PATTERN]).pipeTo(count.stdin);
      assertEquals([await new Response(count.stdout).text(), (await count.status).code], [`${PATTERN.length}\n`, 0]);

      const script = 'until [ "$(stty size)" = "33 77" ]; do sleep 0.05; done; stty size; exit 3';
      const tty = { ...MAIN, tty: true, stdin: "piped", size: { columns: 10, rows: 20 } } as const;
      await using terminal = await pod.exec(["sh", "-c", `stty size; ${script}`], tty).spawn();
      await terminal.resize({ columns: 77, rows: 33 });
      assert((await new Response(terminal.stdout).text()).endsWith("33 77\r\n"));
      assertEquals((await terminal.status).code, 3);

      await using attached = await pod.attach({ container: "cat", stdin: "piped" }).spawn();
      const writer = attached.stdin.getWriter();
      await writer.write(new TextEncoder().encode("to the main process\n"));
      const reader = attached.stdout.getReader({ mode: "byob" });
      const { value } = await reader.read(new Uint8Array(20), { min: 20 });
      assertEquals(new TextDecoder().decode(value), "to the main process\n");
      attached.close();
      await attached.status.catch(() => {}); // It is this side that leaves.

      await assertRejects(() => pod.exec(["no-such-program"], MAIN).output(), PodwireError, "no-such-program");

      await using forward = await pod.portForward();
      await using connection = await forward.connect(PORTS.fetch);
      await ReadableStream.from([new TextEncoder().encode("hello\n")]).pipeTo(connection.writable);
      assertEquals(await new Response(connection.readable).text(), "HTTP/1.0 200 OK\r\n\r\nhello\n");
      await using refused = await forward.connect(PORTS.refused);
      await assertRejects(() => new Response(refused.readable).text(), PodwireError, "7999");
    });
  });

  Deno.test(`${4 * way.mebibytes} MiB arrive whole through a gateway to ${way.name}`, async () => {
    await withWay(way, async (api, pod, { access }, cluster) => {
      const size = way.mebibytes * MIB;
      const sum = sumOf(size);
      await using up = await api.pod(pod.name).exec(["sha256sum"], { ...MAIN, stdin: "piped" }).spawn();
      const [, printed] = await Promise.all([
        ReadableStream.from(pattern(size)).pipeTo(up.stdin),
        new Response(up.stdout).text(),
      ]);
      assertEquals([printed, (await up.status).code], [`${sum}  -\n`, 0]);

      const fetch = ["sh", "-c", `echo ${size} | nc 127.0.0.1 ${PORTS.source}`];
      await using down = await api.pod(pod.name).exec(fetch, MAIN).spawn();
      const hash = createHash("sha256");
      for await (const part of down.stdout) hash.update(part);
      assertEquals([hash.digest("hex"), (await down.status).code], [sum, 0]);

      const options = { args: [String(way.mebibytes)] };
      await runClient<Speed>(cluster, "port_forward_bulk.ts", access, pod.name, options);
    });
  });
}

for (const way of [OLD, REVERSE]) {
  Deno.test(`readers that stall on either side cost a gateway to ${way.name} little`, async () => {
    await withWay(way, async (api, { name }, { pid }) => {
      const pod = api.pod(name);
      const zeros = async (count: number) => {
        const { stdout } = await pod.exec(["head", "-c", String(count), "/dev/zero"], MAIN).output();
        assertEquals(stdout.length, count);
      };
      // Until the code is compiled and the heap has its size.
      for (let i = 0; i < 4; i++) await zeros(16 * MIB);
      const idle = memoryOf(pid);

      const STALLED = 4;
      const leave = new AbortController();
      const options = { ...MAIN, signal: leave.signal };
      const writing: Promise<unknown>[] = [];
      for (let i = 0; i < STALLED / 2; i++) {
        const silent = await pod.exec(["cat", "/dev/zero"], options).spawn();
        const deaf = await pod.exec(["sleep", "infinity"], { ...options, stdin: "piped" }).spawn();
        writing.push(ReadableStream.from(pattern(256 * MIB)).pipeTo(deaf.stdin), silent.status, deaf.status);
      }
      const ended = Promise.allSettled(writing);
      let peak = 0;
      const sampling = setInterval(() => peak = Math.max(peak, memoryOf(pid)), 50);
      // Others go on meanwhile, for long enough that all there is on the way of the stalled ones is full.
      for (let i = 0; i < 4; i++) await zeros(16 * MIB);
      clearInterval(sampling);
      leave.abort(new Error("the test is over"));
      assertEquals((await ended).map(({ status }) => status), writing.map(() => "rejected"));
      console.log(`idle ${idle / MIB} MiB, at most ${peak / MIB} MiB`);
      assertLess(peak - idle, STALLED * 16 * MIB);
    });
  });
}

/** Resident memory of a process, in bytes. */
function memoryOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1]) * 1024;
}

async function filesOf(pid: number): Promise<number> {
  return (await Array.fromAsync(Deno.readDir(`/proc/${pid}/fd`))).length;
}

Deno.test("500 sessions at once through two gateways keep their bytes apart and leave nothing", async () => {
  await withWay(OLD, async (old, oldPod, oldFront) => {
    await withWay(REVERSE, async (reverse, reversePod, reverseFront) => {
      const ways = [{ api: old, pod: oldPod, front: oldFront }, { api: reverse, pod: reversePod, front: reverseFront }];
      const before = await Promise.all(ways.map(({ front }) => filesOf(front.pid)));
      const COUNT = 500;
      const all = Promise.withResolvers<void>();
      let left = COUNT;
      const here = async () => {
        if (--left === 0) all.resolve();
        await all.promise;
      };
      const session = async (i: number) => {
        const { api, pod } = ways[i % 2]!;
        const sent = PATTERN.subarray(i * 1000, i * 1000 + 5000);
        if (i % 10 < 2) { // A command takes the container runtime a tenth of a second.
          const command = ["sh", "-c", `cat; exit ${i % 256}`];
          await using process = await api.pod(pod.name).exec(command, { ...MAIN, stdin: "piped" }).spawn();
          await exchange(process.stdin, process.stdout, sent, here);
          return assertEquals((await process.status).code, i % 256);
        }
        await using forward = await api.pod(pod.name).portForward();
        await using connection = await forward.connect(PORTS.echo);
        await exchange(connection.writable, connection.readable, sent, here);
      };
      await Promise.all(Array.from({ length: COUNT }, (_, i) =>
        session(i).catch((error) => {
          all.reject(error); // The others need not wait.
          throw error;
        })));
      await Promise.all(ways.map(({ api }) => api[Symbol.asyncDispose]()));
      await until("the gateways' connections to end", 20_000, async () => {
        const after = await Promise.all(ways.map(({ front }) => filesOf(front.pid)));
        return after.every((count, i) => count <= before[i]! + 4) || undefined; // Idle ones to the API server may stay.
      });
    });
  });
});

/** Sends and expects the same back, before and after `meanwhile`. */
async function exchange(
  writable: WritableStream<Uint8Array>,
  readable: ReadableStream<Uint8Array<ArrayBuffer>>,
  sent: Uint8Array,
  meanwhile: () => Promise<void>,
): Promise<void> {
  const writer = writable.getWriter();
  const reader = readable.getReader({ mode: "byob" });
  const once = async () => {
    const [, { value }] = await Promise.all([
      writer.write(sent),
      reader.read(new Uint8Array(sent.length), { min: sent.length }),
    ]);
    assertEquals(value?.toHex(), sent.toHex());
  };
  await once();
  await meanwhile();
  await once();
  await writer.close();
}

Deno.test("sessions through a gateway end with an error when their API server is killed, and the gateway lives on", async () => {
  const cluster = await ground();
  await cluster.withPod({ ...SERVER_POD, node: "node2" }, async ({ name }) => {
    await using front = await gateway(cluster, { server: "old" }, "websocket");
    await using webSocket = await Cluster.fromKubeconfig(front.access);
    await using spdy = await Cluster.fromKubeconfig({ ...front.access, wire: "spdy" });
    const processes = await Promise.all([webSocket, spdy].map((api) => api.pod(name).exec(["sleep", "60"]).spawn()));
    await using forward = await webSocket.pod(name).portForward();
    await using connection = await forward.connect(PORTS.hold);
    const reading = new Response(connection.readable).text();
    const ended = Promise.allSettled([...processes.map(({ status }) => status), reading]);
    await cluster.restartServer("old", async () => {
      for (const one of await ended) {
        assert(one.status === "rejected" && one.reason instanceof PodwireError, JSON.stringify(one));
      }
      await assertRejects(() => webSocket.pod(name).get(), PodwireError, "error dialing backend");
    });
    const { code } = await webSocket.pod(name).exec(["sh", "-c", "exit 5"]).output();
    assertEquals(code, 5);
    assertEquals((await front.end()).code, 0);
  });
});

Deno.test("a gateway that is told to end lets sessions finish, cuts those that do not, and takes no more", async () => {
  const cluster = await ground();
  await cluster.withPod({}, async ({ name }) => {
    await using front = await gateway(cluster, { args: ["--drain", "3s"] }, "websocket");
    await using api = await Cluster.fromKubeconfig(front.access);
    await using endless = await api.pod(name).exec(["sleep", "infinity"]).spawn();
    await using short = await api.pod(name).exec(["sh", "-c", "echo begin; sleep 1; echo end; exit 4"]).spawn();
    const cut = assertRejects(() => endless.status, PodwireError);
    const reader = short.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let text = (await reader.read()).value ?? "";
    const ended = front.end();
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
    assertEquals([text, (await short.status).code], ["begin\nend\n", 4]);
    await assertRejects(() => api.pod(name).get(), PodwireError);
    await cut;
    assertEquals((await ended).code, 0);
    await assertRejects(() => Deno.stat(front.socket), Deno.errors.NotFound);
  });
});
