/** UDP into pods of the embedded host, through every helper that this machine has. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { createSocket, type Socket } from "node:dgram";
import { MAX_DELAY } from "../../lib/bytes/mod.ts";
import { Cluster, type Pod } from "../../lib/client/mod.ts";
import { ListenError } from "../../lib/dial/mod.ts";
import { forwardUdp, forwardUdpWithin, UdpForwardError, type UdpForwardEvent } from "../../lib/client/udp_forward.ts";
import { UDP_HELPERS } from "../../lib/client/udp_helper.ts";
import { serveHost } from "../../lib/server/mod.ts";
import { Reported } from "../support/reported.ts";

/** A local UDP socket. */
class Endpoint implements AsyncDisposable {
  readonly port: number;
  readonly received: Uint8Array[] = [];
  readonly #socket: Socket;
  readonly #family: string;
  #sent: Promise<void> = Promise.resolve();
  #arrived = Promise.withResolvers<void>();

  static async open(hostname = "127.0.0.1", answer?: (data: Uint8Array) => readonly Uint8Array[]): Promise<Endpoint> {
    const socket = createSocket({ type: hostname.includes(":") ? "udp6" : "udp4", recvBufferSize: 1 << 20 });
    await new Promise<void>((resolve) => socket.bind(0, hostname, resolve));
    return new Endpoint(socket, answer);
  }

  private constructor(socket: Socket, answer?: (data: Uint8Array) => readonly Uint8Array[]) {
    this.#socket = socket;
    this.port = socket.address().port;
    this.#family = socket.address().family;
    socket.on("message", (data, { port, address }) => {
      this.received.push(new Uint8Array(data)); // Not a Buffer, which equals no array.
      this.#arrived.resolve();
      for (const part of answer?.(data) ?? []) this.send(part, port, address);
    });
  }

  /** Sends after all that was sent before: Deno turns the order of datagrams around that are sent at once. */
  send(data: Uint8Array, port: number, address = this.#family === "IPv6" ? "::1" : "127.0.0.1"): void {
    this.#sent = this.#sent.then(() =>
      new Promise((resolve) => this.#socket.send(data, port, address, () => resolve()))
    );
  }

  /** Waits until `count` datagrams have come, and takes them. */
  async take(count: number): Promise<Uint8Array[]> {
    const late = setTimeout(() => this.#arrived.reject(new Error(`no ${count} datagrams came`)), 20_000);
    while (this.received.length < count) {
      this.#arrived = Promise.withResolvers();
      await this.#arrived.promise;
    }
    clearTimeout(late);
    return this.received.splice(0, count);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.close(resolve));
  }
}

const echo = (data: Uint8Array) => [data];

/** Bytes that no text could hold, different for each `seed`. */
function bytes(length: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + seed * 31) & 0xff);
}

async function which(program: string): Promise<string | undefined> {
  for (const folder of (Deno.env.get("PATH") ?? "").split(":")) {
    const path = `${folder}/${program}`;
    // No shims, which look into PATH themselves.
    if (folder.endsWith("bin") && await Deno.stat(path).then(({ isFile }) => isFile, () => false)) return path;
  }
  return undefined;
}

/** Whether a shell command succeeds here. */
async function succeeds(script: string): Promise<boolean> {
  const { success } = await new Deno.Command("sh", { args: ["-c", script], stdout: "null", stderr: "null" }).output();
  return success;
}

/** A folder with these programs and no other ones; `busybox:sh` is BusyBox under the name `sh`. */
async function withPrograms(programs: readonly string[], work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const program of programs) {
      const applet = /^busybox:(.*)/.exec(program)?.[1];
      const path = await which(applet ? "busybox" : program);
      assert(path, `${program} is not here`);
      await Deno.symlink(path, `${folder}/${applet ?? program}`);
    }
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A pod in which there are no other programs than these. */
function withPod(programs: readonly string[], work: (pod: Pod) => Promise<void>): Promise<void> {
  return withPrograms(programs, async (folder) => {
    await using host = await serveHost({
      listen: { port: 0 },
      pods: [{ name: "web", containers: [{ name: "main", command: ["/bin/sleep", "600"], env: { PATH: folder } }] }],
    });
    await work(new Cluster({ server: host.url }).pod("web"));
  });
}

/** The commands of the processes in whose environment there is `text`. */
async function processesWith(text: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const environment = await Deno.readTextFile(`/proc/${name}/environ`);
      const command = await Deno.readTextFile(`/proc/${name}/cmdline`);
      if (environment.includes(text)) found.push(command);
    } catch (error) {
      // It has ended, or it is not ours.
      if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied)) {
        if (!(error instanceof Error && error.message.includes("os error 3"))) throw error;
      }
    }
  }
  return found;
}

/** What each helper needs in the container. */
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  perl: ["sh", "perl"],
  python3: ["sh", "python3"],
  socat: ["sh", "socat", "dd"],
  bash: ["sh", "bash", "dd"],
  nc: ["busybox:sh", "busybox:nc", "busybox:dd"],
  busybox: ["busybox:sh", "busybox", "busybox:dd"],
};

for (const helper of UDP_HELPERS) {
  const programs = PROGRAMS[helper.name]!;
  // Whether this machine has the program at all; Debian's BusyBox, for one, has a nc without UDP.
  const here = await succeeds(
    helper.name === "nc" ? UDP_HELPERS.find(({ name }) => name === "busybox")!.test : helper.test,
  );

  if (!here) console.warn(`note: ${helper.name} is not tested: this machine has none that carries datagrams`);

  Deno.test({
    name: `forwardUdp() keeps boundaries both ways with ${helper.name}`,
    ignore: !here,
    fn: () =>
      withPod(programs, async (pod) => {
        await using server = await Endpoint.open("127.0.0.1", echo);
        const events: UdpForwardEvent[] = [];
        await using listener = await forwardUdp(pod, {
          port: 0,
          target: server.port,
          onEvent: (event) => events.push(event),
        });
        assertEquals(events, [{ type: "helper", name: helper.name }]);
        await using client = await Endpoint.open();
        const sizes = [1, 512, 1400, 8192, 2, 65_507, 3];
        for (const [i, size] of sizes.entries()) client.send(bytes(size, i), listener.address.port);
        assertEquals(await server.take(sizes.length), sizes.map(bytes));
        assertEquals(await client.take(sizes.length), sizes.map(bytes));
        const total = sizes.reduce((a, b) => a + b);
        const { peers, active, failed, dropped, ...counts } = listener.stats;
        assertEquals({ peers, active, failed, dropped }, { peers: 1, active: 1, failed: 0, dropped: 0 });
        const count = sizes.length;
        assertEquals(counts, {
          datagramsSent: count,
          datagramsReceived: count,
          bytesSent: total,
          bytesReceived: total,
        });
      }),
  });

  Deno.test({
    name: `forwardUdp() carries 1,000 datagrams in order with ${helper.name}`,
    ignore: !here,
    fn: () =>
      withPod(programs, async (pod) => {
        await using server = await Endpoint.open("127.0.0.1", echo);
        await using listener = await forwardUdp(pod, { port: 0, target: server.port });
        await using client = await Endpoint.open();
        for (let i = 0; i < 1000; i += 20) {
          const batch = Array.from({ length: 20 }, (_, j) => bytes(40 + i % 900, i + j));
          for (const data of batch) client.send(data, listener.address.port);
          assertEquals(await client.take(20), batch);
        }
        assertEquals(server.received.length, 1000);
      }),
  });

  Deno.test({
    name: `forwardUdp() brings datagrams without bytes back with ${helper.name}, and ${
      helper.sendsEmpty ? "sends" : "counts"
    } them`,
    ignore: !here,
    fn: () =>
      withPod(programs, async (pod) => {
        await using server = await Endpoint.open("127.0.0.1", (data) => [data, new Uint8Array(0), bytes(5)]);
        await using listener = await forwardUdp(pod, { port: 0, target: server.port });
        await using client = await Endpoint.open();
        client.send(bytes(9), listener.address.port);
        assertEquals(await client.take(3), [bytes(9), new Uint8Array(0), bytes(5)]);
        client.send(new Uint8Array(0), listener.address.port);
        client.send(bytes(1), listener.address.port);
        assertEquals(await server.take(2), [bytes(9), helper.sendsEmpty ? bytes(0) : bytes(1)]);
        assertEquals(listener.stats.dropped, helper.sendsEmpty ? 0 : 1);
      }),
  });

  Deno.test({
    name: `the helper ${helper.name} leaves no process behind when its input ends`,
    ignore: !here,
    fn: () =>
      withPrograms(programs, async (folder) => {
        await using server = await Endpoint.open("127.0.0.1", echo);
        const [program, ...args] = helper.command;
        // Not in a pod: the embedded host itself ends what a command leaves behind.
        const child = new Deno.Command(`${folder}/${program}`, {
          args: [...args, "|", String(server.port)],
          env: { PATH: folder },
          stdin: "piped",
          stdout: "piped",
        }).spawn();
        const reader = child.stdout.getReader();
        const writer = child.stdin.getWriter();
        await writer.write(new TextEncoder().encode("5\nhello"));
        let text = "";
        while (text.length < 6) text += new TextDecoder().decode((await reader.read()).value);
        assertEquals(text, "hello|");
        await writer.close();
        assertEquals((await reader.read()).done, true); // Whoever is left would hold the pipe open.
        await child.status;
        assertEquals(await processesWith(folder), []);
      }),
  });

  Deno.test({
    name: `forwardUdp() outlives a port where nobody listens with ${helper.name}`,
    ignore: !here,
    fn: () =>
      withPod(programs, async (pod) => {
        const closed = await Endpoint.open();
        const { port } = closed;
        await closed[Symbol.asyncDispose]();
        await using listener = await forwardUdp(pod, { port: 0, target: port });
        await using client = await Endpoint.open();
        for (let i = 0; i < 5; i++) client.send(bytes(10, i), listener.address.port);
        while (listener.stats.datagramsSent < 5) await new Promise((resolve) => setTimeout(resolve, 5));
        // Now somebody listens there; ICMP's last word may still cost a datagram, as it does everywhere.
        const socket = createSocket("udp4");
        await new Promise<void>((resolve) => socket.bind(port, "127.0.0.1", resolve));
        socket.on("message", (data, { port, address }) => socket.send(data, port, address));
        while (client.received.length === 0) {
          client.send(bytes(3), listener.address.port);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        await new Promise<void>((resolve) => socket.close(resolve));
        assertEquals(listener.stats.failed, 0);
      }),
  });
}

Deno.test("forwardUdp() says what is missing", async () => {
  await withPod(["sh", "dd"], async (pod) => {
    const error = await assertRejects(() => forwardUdp(pod, { port: 0, target: 53 }), UdpForwardError);
    for (const word of ["perl", "python3", "socat", "bash", "BusyBox", "dd"]) assertStringIncludes(error.message, word);
  });
  await withPod([], async (pod) => {
    const error = await assertRejects(() => forwardUdp(pod, { port: 0, target: 53 }), UdpForwardError);
    assertStringIncludes(error.message, 'exec: "sh": executable file not found in $PATH');
  });
});

/** A pod with the best helper that this machine has. */
function withAnyPod(work: (pod: Pod) => Promise<void>): Promise<void> {
  return withPod(["sh", "dd", "bash"], work);
}

Deno.test("forwardUdp() gives each peer its own answers", () =>
  withAnyPod(async (pod) => {
    await using server = await Endpoint.open("127.0.0.1", echo);
    await using listener = await forwardUdp(pod, { port: 0, target: server.port });
    await Promise.all(Array.from({ length: 8 }, async (_, peer) => {
      await using client = await Endpoint.open();
      const sent = Array.from({ length: 10 }, (_, i) => bytes(100 + i, peer * 10 + i));
      for (const data of sent) client.send(data, listener.address.port);
      assertEquals(await client.take(10), sent);
    }));
    assertEquals(listener.stats.peers, 8);
  }));

Deno.test("forwardUdp() forgets a peer that is quiet, and knows it anew when it speaks", () =>
  withAnyPod(async (pod) => {
    await using server = await Endpoint.open("127.0.0.1", echo);
    const closed = Promise.withResolvers<void>();
    const events: string[] = [];
    await using listener = await forwardUdp(pod, {
      port: 0,
      target: server.port,
      idleTimeout: 300,
      onEvent: (event) => {
        events.push(event.type);
        if (event.type === "closed") closed.resolve();
      },
    });
    await using client = await Endpoint.open();
    client.send(bytes(1), listener.address.port);
    assertEquals(await client.take(1), [bytes(1)]);
    await closed.promise;
    assertEquals(listener.stats.active, 0);
    client.send(bytes(2), listener.address.port);
    assertEquals(await client.take(1), [bytes(2)]);
    assertEquals(events.slice(0, 4), ["helper", "opened", "closed", "opened"]);
    assertEquals(listener.stats.failed, 0);
  }));

Deno.test("forwardUdp() lets a helper that dies touch its own peer only, which gets a new one", () =>
  withAnyPod(async (pod) => {
    await using server = await Endpoint.open("127.0.0.1", echo);
    const failed = Promise.withResolvers<UdpForwardEvent>();
    await using listener = await forwardUdpWithin(
      {
        helpers: [{
          name: "mortal",
          test: "true",
          // Dies of a datagram of 13 bytes; else it is bash's helper.
          command: [
            "bash",
            "-c",
            `while read -r size; do
             data=$(dd bs="$size" count=1 iflag=fullblock 2>/dev/null)
             if [ "$size" = 13 ]; then echo "no 13, please" >&2; exit 3; fi
             printf %s "$data$1"
           done`,
            "udp",
          ],
          sendsEmpty: false,
        }],
      },
      pod,
      {
        port: 0,
        target: server.port,
        onEvent: (event) => event.type === "failed" && failed.resolve(event),
      },
    );
    await using good = await Endpoint.open();
    await using bad = await Endpoint.open();
    const text = (text: string) => new TextEncoder().encode(text);
    for (const client of [good, bad]) {
      client.send(text("one"), listener.address.port);
      assertEquals(await client.take(1), [text("one")]);
    }
    bad.send(text("thirteen char"), listener.address.port);
    const event = await failed.promise;
    assert(event.type === "failed");
    assertEquals(event.peer, `127.0.0.1:${bad.port}`);
    assertEquals(event.error.message, "the UDP helper (mortal) ended with exit code 3: no 13, please");
    good.send(text("two"), listener.address.port);
    assertEquals(await good.take(1), [text("two")]);
    while (bad.received.length === 0) {
      bad.send(text("three"), listener.address.port); // Dropped for a second.
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const { peers, failed: failures, dropped } = listener.stats;
    assertEquals([peers, failures], [3, 1]);
    assert(dropped > 0);
  }));

Deno.test("forwardUdp() goes to the next pod when the one before is gone", async () => {
  await withPrograms(["sh", "dd", "bash"], async (folder) => {
    const pod = (name: string) => ({
      name,
      containers: [{ name: "main", command: ["/bin/sleep", "600"], env: { PATH: folder, NAME: name } }],
    });
    await using host = await serveHost({ listen: { port: 0 }, pods: [pod("first"), pod("second")] });
    const cluster = new Cluster({ server: host.url });
    // Answers with its pod's name, and dies with the first pod.
    const command =
      `read -r size; dd bs="$size" count=1 iflag=fullblock >/dev/null 2>&1; printf %s "$NAME$1"; [ $NAME = second ] && cat`;
    const names = ["first", "second"];
    const asked: string[] = [];
    const failed = Promise.withResolvers<void>();
    await using listener = await forwardUdpWithin(
      { helpers: [{ name: "namer", test: "true", command: ["bash", "-c", command, "udp"], sendsEmpty: false }] },
      () => {
        asked.push(names[asked.length]!);
        return Promise.resolve({ pod: cluster.pod(asked.at(-1)!) });
      },
      { port: 0, target: 53, onEvent: ({ type }) => type === "failed" && failed.resolve() },
    );
    await using early = await Endpoint.open();
    early.send(bytes(1), listener.address.port);
    assertEquals(await early.take(1), [new TextEncoder().encode("first")]);
    await failed.promise;
    await using later = await Endpoint.open();
    later.send(bytes(1), listener.address.port); // Waits until the pod is found.
    assertEquals(await later.take(1), [new TextEncoder().encode("second")]);
    assertEquals(asked, names);
  });
});

Deno.test("forwardUdp() drops what is over its bounds, and counts it", () =>
  withAnyPod(async (pod) => {
    await using server = await Endpoint.open("127.0.0.1", echo);
    await using listener = await forwardUdpWithin({ maxPeers: 2, maxQueued: 3_000 }, pod, {
      port: 0,
      target: server.port,
    });
    const { port } = listener.address;
    await using first = await Endpoint.open();
    await using second = await Endpoint.open();
    await using third = await Endpoint.open();
    for (let i = 0; i < 5; i++) first.send(bytes(1_000, i), port); // Two of them while there is no helper yet.
    assertEquals(await first.take(2), [bytes(1_000, 0), bytes(1_000, 1)]);
    assertEquals(listener.stats.dropped, 3);
    second.send(bytes(1), port);
    assertEquals(await second.take(1), [bytes(1)]);
    third.send(bytes(1), port);
    while (listener.stats.dropped < 4) await new Promise((resolve) => setTimeout(resolve, 5));
    // A peer that was quiet for a second makes room.
    while (third.received.length === 0) {
      third.send(bytes(3), port);
      second.send(bytes(2), port);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assertEquals(listener.stats.peers, 3);
    const before = second.received.length;
    second.send(bytes(2), port);
    await second.take(before + 1);
  }));

Deno.test("forwardUdp() carries a question and its answer, as DNS has them, over IPv6 too", () =>
  withAnyPod(async (pod) => {
    // RFC 1035, section 4.1: the header, then the question; the answer repeats both.
    const question = Uint8Array.fromHex("beef01000001000000000000076578616d706c650000010001");
    const answer = Uint8Array.fromHex(
      "beef81800001000100000000076578616d706c650000010001c00c000100010000003c0004c0000201",
    );
    await using server = await Endpoint.open("127.0.0.1", (data) => data.length === question.length ? [answer] : []);
    for (const hostname of ["127.0.0.1", "::1"]) {
      await using listener = await forwardUdp(pod, { hostname, port: 0, target: server.port });
      assertEquals(listener.address.hostname, hostname);
      await using client = await Endpoint.open(hostname);
      client.send(question, listener.address.port);
      assertEquals(await client.take(1), [answer]);
      assertEquals(await server.take(1), [question]);
    }
  }));

Deno.test("forwardUdp() on :: leaves the same port of IPv4 to others", () =>
  withAnyPod(async (pod) => {
    await using first = await forwardUdp(pod, { hostname: "0.0.0.0", port: 0, target: 53 });
    const { port } = first.address;
    await using second = await forwardUdp(pod, { hostname: "::", port, target: 53 });
    assertEquals(second.address, { hostname: "::", port });
  }));

Deno.test("forwardUdp() ends with close(), and with its signal", () =>
  withAnyPod(async (pod) => {
    await using server = await Endpoint.open("127.0.0.1", echo);
    await using client = await Endpoint.open();
    const controller = new AbortController();
    const { signal } = controller;
    const first = await forwardUdp(pod, { port: 0, target: server.port });
    const second = await forwardUdp(pod, { port: 0, target: server.port, signal });
    for (const { address: { port } } of [first, second]) {
      client.send(bytes(1), port);
      await client.take(1);
    }
    // A port that is in use is said to be.
    const { port } = first.address;
    const error = await assertRejects(() => forwardUdp(pod, { port, target: server.port }), ListenError);
    assertEquals([error.code, error.address], ["EADDRINUSE", { hostname: "127.0.0.1", port }]);
    assertStringIncludes(error.message, `cannot listen on UDP port ${port} of 127.0.0.1`);
    first.close();
    await first.finished;
    const reason = new Error("enough");
    controller.abort(reason);
    assertEquals(await assertRejects(() => second.finished), reason);
    assertEquals(await assertRejects(() => forwardUdp(pod, { port: 0, target: server.port, signal })), reason);
    assertEquals([first.stats.active, second.stats.active], [0, 0]);
  }));

Deno.test("forwardUdp() outlives what onEvent throws, and it is reported", () =>
  withPod(PROGRAMS.perl!, async (pod) => {
    using reported = new Reported();
    await using server = await Endpoint.open("127.0.0.1", echo);
    await using client = await Endpoint.open();
    {
      await using listener = await forwardUdp(pod, {
        port: 0,
        target: server.port,
        onEvent: ({ type }) => {
          throw new Error(type);
        },
      });
      client.send(bytes(1), listener.address.port);
      await client.take(1);
    }
    assertEquals(reported.errors.map((error) => (error as Error).message), ["helper", "opened", "closed"]);
  }));

Deno.test("forwardUdp() refuses what is no port, and what is no time, before it asks anybody", async () => {
  const find = () => Promise.reject(new Error("somebody was asked"));
  for (const port of [70_000, -1, 1.5, NaN, "53", undefined] as number[]) {
    await assertRejects(() => forwardUdp(find, { port, target: 53 }), RangeError, `${port} is not a port`);
    await assertRejects(() => forwardUdp(find, { port: 0, target: port }), RangeError, `${port} is not a port`);
  }
  await assertRejects(() => forwardUdp(find, { port: 0, target: 0 }), RangeError, "0 is not a port");
  for (const idleTimeout of [NaN, -1, "5", null] as number[]) {
    await assertRejects(() => forwardUdp(find, { port: 0, target: 53, idleTimeout }), RangeError, "idleTimeout");
  }
});

for (const idleTimeout of [Infinity, 1e12]) {
  Deno.test(`forwardUdp() looks after a peer that may be idle for ${idleTimeout} ms once in a long while`, () =>
    withPod(PROGRAMS.perl!, async (pod) => {
      await using server = await Endpoint.open("127.0.0.1", echo);
      await using client = await Endpoint.open();
      await using listener = await forwardUdp(pod, { port: 0, target: server.port, idleTimeout });
      const delays: number[] = [];
      const { setTimeout } = globalThis;
      globalThis.setTimeout = ((work: () => void, delay?: number) => {
        delays.push(delay ?? 0);
        return setTimeout(work, delay);
      }) as typeof globalThis.setTimeout;
      try {
        client.send(bytes(1), listener.address.port);
        await client.take(1);
      } finally {
        globalThis.setTimeout = setTimeout;
      }
      assertEquals(delays.filter((delay) => delay > 1e9), [MAX_DELAY]);
      assertEquals(listener.stats.active, 1);
    }));
}
