/**
 * What our `Duplex.read` costs over a bare `conn.read` loop on the same kind of connection.
 *
 *     deno run -A tests/bench/dial_bench.ts [MiB per run] [rounds]
 *
 * A second process sends over loopback. The rows take turns; a line has the medians of throughput and of this process's CPU, and
 * the ratio to the bare loop of its group: TCP to TCP, every kind of TLS to `Deno.connectTls`.
 *
 * @module
 */
import { cpuUsage } from "node:process";
import { createDialer, type DialerOptions } from "../../lib/dial/mod.ts";
import { portOf, testdata } from "../dial/harness.ts";
import { median } from "./median.ts";

const MIB = 1024 * 1024;
const CA = { caCerts: [testdata("ca.crt")] };
const CLIENT = { cert: testdata("client.crt"), key: testdata("client.key") };

/** What both a `Deno.Conn` and a duplex can do. */
interface Readable {
  read(into: Uint8Array): Promise<number | null>;
  close(): void;
}

interface Row {
  readonly name: string;
  readonly tls: boolean;
  readonly open: (port: number) => Promise<Readable>;
}

function dialed(name: string, tls: boolean, options: DialerOptions): Row {
  return { name, tls, open: (port) => createDialer(options)({ hostname: "127.0.0.1", port, tls }) };
}

const certificate = { clientCertificate: () => Promise.resolve(CLIENT) };

const ROWS: readonly Row[] = [
  { name: "bare TCP", tls: false, open: (port) => Deno.connect({ hostname: "127.0.0.1", port }) },
  dialed("TCP", false, {}),
  {
    name: "bare Deno.connectTls",
    tls: true,
    open: (port) => Deno.connectTls({ hostname: "127.0.0.1", port, ...CA, ...CLIENT }),
  },
  dialed("Deno.startTls", true, { tls: CA }),
  dialed("Deno.connectTls", true, { tls: CA, ...certificate }),
  dialed("node:tls", true, { tls: { ...CA, serverName: "localhost" }, ...certificate }),
];

/** The sending process: whoever connects gets `mib` MiB. */
async function serve(tls: boolean, mib: number): Promise<void> {
  const address = { hostname: "127.0.0.1", port: 0 };
  const listener: Deno.Listener<Deno.Conn> = tls
    ? Deno.listenTls({ ...address, cert: testdata("server.crt"), key: testdata("server.key") })
    : Deno.listen(address);
  await print(`${portOf(listener)}\n`);
  const block = new Uint8Array(MIB);
  for await (const conn of listener) {
    try {
      for (let i = 0; i < mib; i++) {
        for (let sent = 0; sent < MIB;) sent += await conn.write(block.subarray(sent));
      }
      conn.close();
    } catch {
      return; // The measuring process is done.
    }
  }
}

async function withServer(tls: boolean, mib: number, use: (port: number) => Promise<void>): Promise<void> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-config", import.meta.filename!, "serve", `${tls}`, `${mib}`],
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  try {
    await use(Number(new TextDecoder().decode((await reader.read()).value)));
  } finally {
    child.kill();
    await reader.cancel();
    await child.status;
  }
}

async function measure(row: Row, port: number, mib: number): Promise<{ mibPerSecond: number; cpuPerGib: number }> {
  const connection = await row.open(port);
  const buffer = new Uint8Array(64 * 1024);
  const cpu = cpuUsage();
  const start = performance.now();
  for (let left = mib * MIB; left > 0;) {
    const n = await connection.read(buffer);
    if (n === null) throw new Error(`${row.name}: ${left} bytes are missing`);
    left -= n;
  }
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = cpuUsage(cpu);
  connection.close();
  return { mibPerSecond: mib / seconds, cpuPerGib: (user + system) / 1e6 * 1024 / mib };
}

async function print(line: string): Promise<void> {
  await Deno.stdout.write(new TextEncoder().encode(line));
}

if (import.meta.main) {
  if (Deno.args[0] === "serve") {
    await serve(Deno.args[1] === "true", Number(Deno.args[2]));
  } else {
    const mib = Number(Deno.args[0] ?? 256);
    const rounds = Number(Deno.args[1] ?? 5);
    for (const tls of [false, true]) {
      await withServer(tls, mib, async (port) => {
        const rows = ROWS.filter((row) => row.tls === tls);
        const runs = rows.map((): Array<Awaited<ReturnType<typeof measure>>> => []);
        for (let round = 0; round < rounds; round++) {
          for (const [i, row] of rows.entries()) runs[i]!.push(await measure(row, port, mib));
        }
        const speed = runs.map((run) => median(run.map(({ mibPerSecond }) => mibPerSecond)));
        for (const [i, { name }] of rows.entries()) {
          const cpu = median(runs[i]!.map(({ cpuPerGib }) => cpuPerGib));
          const ratio = (speed[i]! / speed[0]!).toFixed(2);
          await print(
            `${name.padEnd(21)} ${speed[i]!.toFixed(0).padStart(5)} MiB/s  ${ratio} x bare  ${
              cpu.toFixed(2)
            } s CPU per GiB\n`,
          );
        }
      });
    }
  }
}
