/**
 * What a dialed duplex costs over a bare `conn.read` loop on the same kind of connection.
 *
 *     deno run -A tests/bench/dial_bench.ts [MiB per run] [rounds]
 *
 * A second process sends over loopback TCP and TLS. In each round every reader takes its turn; a line has the median
 * throughput, the ratio to the bare loop over the same transport, and the CPU of this process per MiB.
 *
 * @module
 */
import { cpuUsage } from "node:process";
import type { Duplex } from "../../lib/bytes/mod.ts";
import { createDialer, type DialerOptions } from "../../lib/dial/mod.ts";

const TESTDATA = new URL("../dial/testdata/", import.meta.url);
const MIB = 1024 * 1024;

type Read = (into: Uint8Array) => Promise<number | null>;

interface Run {
  readonly mibPerSecond: number;
  readonly microsPerMib: number;
}

interface Reader {
  readonly transport: "tcp" | "tls";
  readonly open: (port: number) => Promise<{ read: Read; close(): void }>;
}

function text(name: string): string {
  return Deno.readTextFileSync(new URL(name, TESTDATA));
}

function dialed(transport: "tcp" | "tls", options: DialerOptions): Reader {
  const dial = createDialer(options);
  return {
    transport,
    open: async (port) => {
      const duplex: Duplex = await dial({ hostname: "127.0.0.1", port, tls: transport === "tls" });
      return { read: (into) => duplex.read(into), close: () => duplex.close() };
    },
  };
}

/** The sending process: whoever connects gets zeros until it leaves. */
async function serve(): Promise<void> {
  const plain = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const tls = Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert: text("server.crt"), key: text("server.key") });
  print(`${plain.addr.port} ${tls.addr.port}`);
  const block = new Uint8Array(MIB);
  const send = async (listener: Deno.Listener) => {
    for await (const conn of listener) {
      try {
        for (;;) {
          for (let sent = 0; sent < block.length;) sent += await conn.write(block.subarray(sent));
        }
      } catch {
        conn.close(); // The reader has what it wants.
      }
    }
  };
  await Promise.all([send(plain), send(tls)]);
}

async function measure({ open }: Reader, port: number, total: number): Promise<Run> {
  const { read, close } = await open(port);
  const buffer = new Uint8Array(256 * 1024);
  const before = cpuUsage();
  const start = performance.now();
  for (let received = 0; received < total;) {
    const n = await read(buffer);
    if (n === null) throw new Error(`the sender ended after ${received} bytes`);
    received += n;
  }
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = cpuUsage(before);
  close();
  return { mibPerSecond: total / MIB / seconds, microsPerMib: (user + system) / (total / MIB) };
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

function median(runs: readonly Run[], key: keyof Run): number {
  const values = runs.map((run) => run[key]).sort((a, b) => a - b);
  return values[values.length >> 1]!;
}

/** Starts the sending process; its first line has its ports. */
async function startSender(): Promise<{ child: Deno.ChildProcess; ports: Record<"tcp" | "tls", number> }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-config", "--no-lock", "--no-check", import.meta.url, "serve"],
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  await reader.cancel();
  const [tcp = 0, tls = 0] = new TextDecoder().decode(value).split(" ").map(Number);
  return { child, ports: { tcp, tls } };
}

async function main(mib: number, rounds: number): Promise<void> {
  const ca = text("ca.crt");
  const clientCertificate = () => Promise.resolve({ cert: text("client.crt"), key: text("client.key") });
  const readers: Record<string, Reader> = {
    "tcp, bare loop": {
      transport: "tcp",
      open: async (port) => {
        const conn = await Deno.connect({ hostname: "127.0.0.1", port });
        return { read: (into) => conn.read(into), close: () => conn.close() };
      },
    },
    "tcp, duplex": dialed("tcp", {}),
    "tls, bare loop": {
      transport: "tls",
      open: async (port) => {
        const conn = await Deno.connectTls({ hostname: "127.0.0.1", port, caCerts: [ca] });
        await conn.handshake();
        return { read: (into) => conn.read(into), close: () => conn.close() };
      },
    },
    "tls, duplex": dialed("tls", { tls: { caCerts: [ca] } }),
    "tls, duplex, client certificate": dialed("tls", { tls: { caCerts: [ca] }, clientCertificate }),
    "tls, duplex, by node:tls": dialed("tls", { tls: { insecureSkipVerify: true } }),
  };
  const { child, ports } = await startSender();
  const runs: Record<string, Run[]> = {};
  for (let round = 0; round < rounds + 1; round++) {
    for (const [name, reader] of Object.entries(readers)) {
      const run = await measure(reader, ports[reader.transport], mib * MIB);
      if (round > 0) (runs[name] ??= []).push(run); // The first round warms up.
    }
  }
  child.kill();
  await child.status;
  for (const [name, measured] of Object.entries(runs)) {
    const speed = median(measured, "mibPerSecond");
    const bare = median(runs[`${readers[name]!.transport}, bare loop`]!, "mibPerSecond");
    print(
      `${name}: ${speed.toFixed(0)} MiB/s, ratio ${(speed / bare).toFixed(2)}, ` +
        `${median(measured, "microsPerMib").toFixed(0)} us of CPU per MiB`,
    );
  }
}

if (import.meta.main) {
  if (Deno.args[0] === "serve") await serve();
  else await main(Number(Deno.args[0] ?? 512), Number(Deno.args[1] ?? 5));
}
