/**
 * UDP into a pod of the real Kubernetes. The image has a BusyBox whose nc knows no UDP, so that a second container gets
 * this machine's programs.
 */
import { assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { createSocket } from "node:dgram";
import { Cluster, type Pod } from "../../lib/client/mod.ts";
import { forwardUdp, forwardUdpWithin, UdpForwardError, type UdpListener } from "../../lib/client/udp_forward.ts";
import { UDP_HELPERS } from "../../lib/client/udp_helper.ts";
import { ground, type PodOptions } from "./ground.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const ECHO = `use Socket; $0 = "echo";
socket(S, PF_INET, SOCK_DGRAM, 0) && bind(S, sockaddr_in(53, INADDR_LOOPBACK)) or die $!;
while (my $from = recv S, my $data, 65536, 0) { send S, $data, 0, $from }`;

const FOLDERS = ["usr", "lib", "lib64"];

const POD: PodOptions = {
  prefix: "udp",
  containers: [
    { name: "bare", command: ["sleep", "infinity"] },
    {
      name: "tools",
      command: ["/usr/bin/perl", "-e", ECHO],
      env: [{ name: "PATH", value: "/usr/bin:/bin" }],
      volumeMounts: FOLDERS.map((name) => ({ name, mountPath: `/${name}`, readOnly: true })),
    },
  ],
  spec: { volumes: FOLDERS.map((name) => ({ name, hostPath: { path: `/${name}` } })) },
};

const SIZES = [1, 512, 1400, 8192, 2, 65_507, 3];

/** Sends datagrams of these sizes again and again until all have come back, one at a time. */
async function roundTrips(listener: UdpListener, sizes: readonly number[]): Promise<number[]> {
  const socket = createSocket({ type: "udp4", recvBufferSize: 1 << 20 });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const received: number[] = [];
  try {
    for (const size of sizes) {
      const data = Uint8Array.from({ length: size }, (_, i) => i * 7 & 0xff);
      const arrived = Promise.withResolvers<Uint8Array>();
      socket.once("message", arrived.resolve);
      socket.send(data, listener.address.port, "127.0.0.1");
      const late = setTimeout(() => arrived.reject(new Error(`no answer to ${size} bytes`)), 20_000);
      const answer = new Uint8Array(await arrived.promise);
      clearTimeout(late);
      assertEquals(answer, data);
      received.push(answer.length);
    }
  } finally {
    await new Promise<void>((resolve) => socket.close(resolve));
  }
  return received;
}

/** How many processes the container has, zombies among them, with those that count. */
async function processesIn(pod: Pod): Promise<number> {
  const { stdout } = await pod.exec(["sh", "-c", "cat /proc/[0-9]*/comm"], { container: "tools" }).output();
  return new TextDecoder().decode(stdout).trim().split("\n").length;
}

/** Waits until the container has no more than `count` processes. */
async function processesEnded(pod: Pod, count: number): Promise<void> {
  const deadline = performance.now() + 10_000;
  for (let left; (left = await processesIn(pod)) > count;) {
    if (performance.now() > deadline) throw new Error(`${left} processes are there, not ${count}`);
  }
}

for (const server of ["default", "mid"] as const) {
  Deno.test(`forwardUdp() carries datagrams into a pod on ${server}, and says what a container lacks`, async () => {
    const cluster = await ground();
    await using api = await Cluster.fromKubeconfig({
      kubeconfig: cluster.kubeconfig(server),
      viaUnixSocket: cluster.socket(server),
    });
    await cluster.withPod(POD, async ({ name }) => {
      const pod = api.pod(name);
      const refused = () => forwardUdp(pod, { port: 0, target: 53, container: "bare" });
      assertStringIncludes((await assertRejects(refused, UdpForwardError)).message, "perl, python3, or dd with");
      const wrong = () => forwardUdp(pod, { port: 0, target: 53, container: "none" });
      await assertRejects(wrong);

      const idle = await processesIn(pod);
      for (const helper of UDP_HELPERS.filter(({ name }) => ["perl", "python3", "socat", "bash"].includes(name))) {
        const listener = await forwardUdpWithin({ helpers: [helper] }, pod, {
          port: 0,
          target: 53,
          container: "tools",
        });
        assertEquals(await roundTrips(listener, SIZES), SIZES, helper.name);
        const many = Array.from({ length: 200 }, (_, i) => 20 + i);
        assertEquals(await roundTrips(listener, many), many, helper.name);
        assertGreater(await processesIn(pod), idle);
        listener.close();
        await listener.finished;
        await processesEnded(pod, idle);
      }
    });
  });
}
