/**
 * `podwire relay` beside `socat` in the same run: streams, short connections, datagrams, and memory with idle connections.
 * Prints medians and ratios; nothing here passes or fails. The other ends are in this process and run on the same cores, and
 * `socat` takes all cores where podwire takes one. Short connections are therefore measured three times: on whatever core the system
 * chooses, by their CPU, and with one core for the relay and one for its other ends. What those do with no relay is
 * printed too: no relay can do more. Needs `socat`, `taskset` (util-linux) and two cores. It takes less than a minute.
 *
 *     deno run -A --unstable-net tests/bench/relay_bench.ts
 *
 * @module
 */
import { denoFlags, ROOT } from "../offline/flags.ts";
import { median } from "./median.ts";

const MIB = 1 << 20;
const STREAM = 256 * MIB;
const ROUNDS = 3;
const SHORT = 1_000;
const AT_ONCE = 16;
const IDLE = 1_000;
const DATAGRAMS = 20_000;
const UNDER_WAY = 32;
const HOST = "127.0.0.1";

/** A way from a port that listens to another one. */
interface Peer {
  readonly name: string;
  /** The command that relays from a port to another one. */
  command(kind: "tcp" | "udp", from: number, to: number): readonly string[];
}

const PEERS: readonly Peer[] = [
  {
    name: "socat",
    command: (kind, from, to) => [
      "socat",
      kind === "tcp"
        ? `TCP-LISTEN:${from},bind=${HOST},fork,reuseaddr,backlog=4096`
        : `UDP-LISTEN:${from},bind=${HOST}`,
      `${kind.toUpperCase()}:${HOST}:${to}`,
    ],
  },
  {
    name: "podwire",
    command: (kind, from, to) => [
      Deno.execPath(),
      ...["run", "-A", "--no-check", "--unstable-net", ...FLAGS, "cli.ts"],
      ...["relay", `${kind}-listen:${HOST}:${from}`, `${kind}:${HOST}:${to}`],
    ],
  },
];

const FLAGS = await denoFlags();

/** Runs a relay, by a command that is put before its own, and ends it with its children. */
async function relayed<T>(
  peer: Peer,
  kind: "tcp" | "udp",
  to: number,
  use: (port: number, pid: number) => Promise<T>,
  before: readonly string[] = [],
) {
  const port = freePort();
  const [program = "", ...args] = [...before, ...peer.command(kind, port, to)];
  const process = new Deno.Command(program, { args, cwd: ROOT, stdout: "null", stderr: "null" }).spawn();
  try {
    await (kind === "tcp" ? listens(port) : pause(700));
    return await use(port, process.pid);
  } finally {
    for (const pid of await family(process.pid)) kill(pid);
    await process.status;
  }
}

function kill(pid: number): void {
  try {
    Deno.kill(pid, "SIGTERM");
  } catch {
    // It has ended by itself.
  }
}

function freePort(): number {
  using listener = Deno.listen({ hostname: HOST, port: 0 });
  return listener.addr.port;
}

async function listens(port: number): Promise<void> {
  for (let left = 200; left > 0; left--) {
    try {
      return (await Deno.connect({ hostname: HOST, port })).close();
    } catch {
      await pause(25);
    }
  }
  throw new Error(`nobody listens on ${port}`);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** A process and its children. */
async function family(pid: number): Promise<number[]> {
  const text = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`).catch(() => "");
  return [pid, ...text.trim().split(" ").filter(Boolean).map(Number)];
}

/** A server on a port of its own that hands every connection to `serve`. */
function server(serve: (conn: Deno.TcpConn) => Promise<void>): Deno.TcpListener {
  const listener = Deno.listen({ hostname: HOST, port: 0, tcpBacklog: 4096 });
  void (async () => {
    for await (const conn of listener) void serve(conn).catch(() => {}).finally(() => conn.close());
  })();
  return listener;
}

const BLOCK = new Uint8Array(256 * 1024);

async function drain(conn: Deno.Conn): Promise<number> {
  const buffer = new Uint8Array(256 * 1024);
  let bytes = 0;
  for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) bytes += n;
  return bytes;
}

async function fill(conn: Deno.Conn): Promise<void> {
  for (let sent = 0; sent < STREAM;) sent += await conn.write(BLOCK.subarray(0, Math.min(BLOCK.length, STREAM - sent)));
  await conn.closeWrite();
}

/** MiB/s to the server. */
async function up(port: number): Promise<number> {
  using conn = await Deno.connect({ hostname: HOST, port });
  const start = performance.now();
  await fill(conn);
  await drain(conn);
  return STREAM / MIB / (performance.now() - start) * 1000;
}

/** MiB/s from the server. */
async function down(port: number): Promise<number> {
  using conn = await Deno.connect({ hostname: HOST, port });
  const start = performance.now();
  await conn.closeWrite();
  if (await drain(conn) !== STREAM) throw new Error("the stream came short");
  return STREAM / MIB / (performance.now() - start) * 1000;
}

/** Short connections, each with a byte there and back, per second; the second thousand of a process counts. */
async function short(port: number): Promise<number> {
  await thousand(port);
  return await thousand(port);
}

async function thousand(port: number): Promise<number> {
  let left = SHORT;
  const start = performance.now();
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    const buffer = new Uint8Array(16);
    while (left-- > 0) {
      using conn = await Deno.connect({ hostname: HOST, port });
      await conn.write(BLOCK.subarray(0, 1));
      if (await conn.read(buffer) !== 1) throw new Error("no echo");
    }
  }));
  return SHORT / (performance.now() - start) * 1000;
}

/** CPU of a relay and of the children that it has seen end, in microseconds a short connection. */
async function cpu(port: number, pid: number): Promise<number> {
  await thousand(port);
  const before = await cpuTime(pid);
  for (let i = 0; i < 3; i++) await thousand(port);
  await pause(100);
  return (await cpuTime(pid) - before) / (3 * SHORT) * 1e6;
}

/** In seconds: `utime`, `stime`, `cutime` and `cstime` of proc(5), in hundredths on Linux. */
async function cpuTime(pid: number): Promise<number> {
  const fields = (await Deno.readTextFile(`/proc/${pid}/stat`)).replace(/^.*\) /, "").split(" ");
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0) / 100;
}

/** Memory of a relay's processes with idle connections: what they share counted once (PSS), and what `ps` adds up (RSS), in MiB. */
async function idle(port: number, pid: number): Promise<{ pss: number; rss: number }> {
  const conns: Deno.Conn[] = [];
  try {
    for (let i = 0; i < IDLE; i++) {
      const conn = await Deno.connect({ hostname: HOST, port });
      conns.push(conn);
      await conn.write(BLOCK.subarray(0, 1));
      await conn.read(new Uint8Array(1));
    }
    await pause(200);
    let [pss, rss] = [0, 0];
    for (const member of await family(pid)) {
      const text = await Deno.readTextFile(`/proc/${member}/smaps_rollup`);
      const read = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0) / 1024;
      pss += read("Pss");
      rss += read("Rss");
    }
    return { pss, rss };
  } finally {
    for (const conn of conns) conn.close();
  }
}

/** Datagrams of 200 bytes there and back per second, with a few under way at any time: none is lost for want of room. */
async function datagrams(port: number): Promise<number> {
  const client = Deno.listenDatagram({ transport: "udp", hostname: HOST, port: 0 });
  const to: Deno.NetAddr = { transport: "udp", hostname: HOST, port };
  const buffer = new Uint8Array(2048);
  const start = performance.now();
  try {
    for (let i = 0; i < UNDER_WAY; i++) await client.send(BLOCK.subarray(0, 200), to);
    for (let left = DATAGRAMS; left > 0; left--) {
      await client.receive(buffer);
      await client.send(BLOCK.subarray(0, 200), to);
    }
    return DATAGRAMS / (performance.now() - start) * 1000;
  } finally {
    client.close();
  }
}

/** Sends every datagram back. */
function datagramEcho(): Deno.DatagramConn {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: HOST, port: 0 });
  const buffer = new Uint8Array(2048);
  void (async () => {
    for (;;) {
      const [data, from] = await socket.receive(buffer);
      await socket.send(data, from);
    }
  })().catch(() => {}); // Closed.
  return socket;
}

async function taskset(...args: readonly string[]): Promise<void> {
  const { success } = await new Deno.Command("taskset", { args: [...args], stdout: "null" }).output();
  if (!success) throw new Error("taskset failed: is there a second core?");
}

/** Runs a workload on both in turns, and prints medians and the ratio. */
async function compare(
  name: string,
  unit: string,
  rounds: number,
  run: (peer: Peer) => Promise<number>,
): Promise<void> {
  const results = PEERS.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [i, peer] of PEERS.entries()) results[i]?.push(await run(peer));
  }
  const [theirs = NaN, ours = NaN] = results.map(median);
  console.log(
    `${name.padEnd(34)} socat ${theirs.toFixed(0).padStart(7)}  podwire ${ours.toFixed(0).padStart(7)} ${
      unit.padEnd(8)
    }` +
      `ratio ${(ours / theirs).toFixed(3)}`,
  );
}

if (import.meta.main) {
  using sink = server(async (conn) => void await drain(conn));
  using source = server(fill);
  using echo = server(async (conn) => {
    const buffer = new Uint8Array(16);
    for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) {
      await conn.write(buffer.subarray(0, n));
    }
  });
  const over =
    (to: Deno.TcpListener, use: (port: number, pid: number) => Promise<number>, ...before: string[]) => (peer: Peer) =>
      relayed(peer, "tcp", to.addr.port, use, before);
  const withNone = async () => {
    const rate = await short(echo.addr.port);
    console.log(`${"  the same with no relay".padEnd(34)} ${rate.toFixed(0)} conn/s`);
  };
  await compare("one stream to the target", "MiB/s", ROUNDS, over(sink, up));
  await compare("one stream from the target", "MiB/s", ROUNDS, over(source, down));
  await compare("1,000 short connections", "conn/s", ROUNDS, over(echo, short));
  await withNone();
  await compare("CPU of a short connection", "µs", 1, over(echo, cpu));
  await compare("datagrams of 200 bytes, echoed", "per s", ROUNDS, async (peer) => {
    const target = datagramEcho();
    try {
      return await relayed(peer, "udp", (target.addr as Deno.NetAddr).port, datagrams);
    } finally {
      target.close();
    }
  });
  await compare("memory at 1,000 idle, PSS", "MiB", 1, over(echo, async (port, pid) => (await idle(port, pid)).pss));
  await compare("memory at 1,000 idle, RSS", "MiB", 1, over(echo, async (port, pid) => (await idle(port, pid)).rss));
  // Last, as this process stays where it is put.
  await taskset("--all-tasks", "--pid", "--cpu-list", "1", `${Deno.pid}`);
  await compare("1,000 short, a core for the relay", "conn/s", ROUNDS, over(echo, short, "taskset", "--cpu-list", "0"));
  await withNone();
}
