// What port-forward is made of: addresses, listening, lines. Expected texts are those of client-go 1.36.
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { PodwireError } from "../../lib/bytes/mod.ts";
import type { ForwardedPort } from "../../lib/client/mod.ts";
import { ListenError, type SocketAddress } from "../../lib/dial/mod.ts";
import { UsageError } from "../../lib/cli/flags.ts";
import { parseAddresses } from "../../lib/cli/forward_addresses.ts";
import { Lines } from "../../lib/cli/lines.ts";
import { listenOnPorts } from "../../lib/cli/forward_listen.ts";
import { ForwardReport } from "../../lib/cli/forward_report.ts";

const v4 = { hostname: "127.0.0.1", optional: true };
const v6 = { hostname: "::1", optional: true };

Deno.test("parseAddresses() sorts addresses as text and takes each once", () => {
  const rows: Array<[values: string[], expected: unknown]> = [
    [[], [v4, v6]],
    [["localhost"], [v4, v6]],
    [["10.0.0.9,10.0.0.10"], [{ hostname: "10.0.0.10", optional: false }, { hostname: "10.0.0.9", optional: false }]],
    [["::1", "127.0.0.2,127.0.0.2"], [{ hostname: "127.0.0.2", optional: false }, {
      hostname: "::1",
      optional: false,
    }]],
    [["localhost,127.0.0.1"], [{ hostname: "127.0.0.1", optional: false }, v6]],
    [["127.0.0.1,localhost"], [{ hostname: "127.0.0.1", optional: false }, v6]],
    [["unix:/run/db.sock"], [{ path: "/run/db.sock" }]],
    [["unix:db.sock", "localhost"], [v4, v6, { path: "db.sock" }]],
  ];
  for (const [values, expected] of rows) assertEquals(parseAddresses(values), expected);
});

Deno.test("parseAddresses() refuses what is no address", () => {
  const rows: Array<[values: string[], message: string]> = [
    [[""], "you must specify at least 1 address"],
    [[","], " is not a valid IP"],
    [["somewhere"], "somewhere is not a valid IP"],
    [["127.0.0.1,999.1.1.1"], "999.1.1.1 is not a valid IP"],
    [["fe80::1%eth0"], "fe80::1%eth0 is not a valid IP"],
    [["unix:"], "unix: is not a valid IP"],
  ];
  for (const [values, message] of rows) {
    assertEquals(assertThrows(() => parseAddresses(values), UsageError).message, message);
  }
});

/** Listens nowhere: addresses in `taken` are refused, and port 0 becomes 40000, 40001 … */
async function listenWithout(
  taken: readonly string[],
  ports: readonly ForwardedPort[],
  places: Parameters<typeof listenOnPorts>[1],
): Promise<{ opened: string[]; warnings: string[]; error: string | undefined }> {
  const opened: string[] = [];
  const warnings: string[] = [];
  let free = 40_000;
  const name = (address: SocketAddress) => "path" in address ? address.path : `${address.hostname} ${address.port}`;
  let error: string | undefined;
  try {
    await listenOnPorts(ports, places, {
      listen: (address) => {
        if (taken.includes(name(address))) {
          return Promise.reject(new ListenError(`cannot listen on ${name(address)}`, address, "EADDRINUSE"));
        }
        if ("path" in address || address.port !== 0) return Promise.resolve(address);
        return Promise.resolve({ ...address, port: free++ });
      },
      opened: (address, { remote }) => void opened.push(`${name(address)} -> ${remote}`),
      warn: (line) => void warnings.push(line),
    });
  } catch (cause) {
    if (!(cause instanceof PodwireError)) throw cause;
    error = cause.message;
  }
  return { opened, warnings, error };
}

const tcp = (local: number, remote: number): ForwardedPort => ({ protocol: "tcp", local, remote });

Deno.test("listenOnPorts() takes the first address's free port for the others", async () => {
  assertEquals(await listenWithout([], [tcp(0, 80), tcp(0, 81)], [v4, v6]), {
    opened: ["127.0.0.1 40000 -> 80", "::1 40000 -> 80", "127.0.0.1 40001 -> 81", "::1 40001 -> 81"],
    warnings: [],
    error: undefined,
  });
});

Deno.test("listenOnPorts() is content with one of localhost's two addresses", async () => {
  assertEquals(await listenWithout(["127.0.0.1 8080"], [tcp(8080, 80)], [v4, v6]), {
    opened: ["::1 8080 -> 80"],
    warnings: [],
    error: undefined,
  });
  assertEquals(await listenWithout(["127.0.0.1 8080", "::1 8080"], [tcp(8080, 80)], [v4, v6]), {
    opened: [],
    warnings: [
      "Unable to listen on port 8080: Listeners failed to create with the following errors: " +
      "[unable to create listener: Error listen tcp4 127.0.0.1:8080: bind: address already in use " +
      "unable to create listener: Error listen tcp6 [::1]:8080: bind: address already in use]",
    ],
    error: "unable to listen on any of the requested ports: [{8080 80}]",
  });
});

Deno.test("listenOnPorts() wants every address that is named, and goes on with other ports", async () => {
  const places = [{ hostname: "127.0.0.1", optional: false }, { hostname: "127.0.0.2", optional: false }];
  const warning = "Unable to listen on port 8080: Listeners failed to create with the following errors: " +
    "[unable to create listener: Error listen tcp4 127.0.0.2:8080: bind: address already in use]";
  assertEquals(await listenWithout(["127.0.0.2 8080"], [tcp(8080, 80)], places), {
    opened: ["127.0.0.1 8080 -> 80"],
    warnings: [warning],
    error: "unable to listen on any of the requested ports: [{8080 80}]",
  });
  const { opened, error } = await listenWithout(["127.0.0.2 8080"], [tcp(8080, 80), tcp(8081, 81)], places);
  assertEquals([opened, error], [["127.0.0.1 8080 -> 80", "127.0.0.1 8081 -> 81", "127.0.0.2 8081 -> 81"], undefined]);
});

Deno.test("listenOnPorts() passes on what has nothing to do with the address", async () => {
  const said: string[] = [];
  const failing: Parameters<typeof listenOnPorts>[2] = {
    opened: () => void said.push("opened"),
    warn: (line) => void said.push(line),
    listen: (address, { protocol }) =>
      protocol === "tcp" ? Promise.resolve(address) : Promise.reject(new PodwireError("no helper")),
  };
  const ports: ForwardedPort[] = [tcp(1, 1), { protocol: "udp", local: 2, remote: 2 }];
  const error = await assertRejects(() => listenOnPorts(ports, [v4], failing), PodwireError);
  assertEquals(error.message, "no helper");
  assertEquals(said, [], "nothing is announced that will not stay");
});

/** Takes what is written to it, as one text a write. */
class Writes {
  readonly texts: string[] = [];
  write(bytes: Uint8Array): Promise<number> {
    this.texts.push(new TextDecoder().decode(bytes));
    return Promise.resolve(bytes.length);
  }
}

Deno.test("Lines writes each line in one piece, in order", async () => {
  const sink = new Writes();
  const lines = new Lines(sink, { onFailure: () => {} });
  for (const line of ["one", "two", "three"]) lines.print(line);
  await lines.flush();
  assertEquals(sink.texts, ["one\n", "two\n", "three\n"]);
});

Deno.test("Lines drops what a reader is too slow for, and does not wait for it", async () => {
  const texts: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const slow = {
    write: async (bytes: Uint8Array) => {
      texts.push(new TextDecoder().decode(bytes));
      await promise;
      return bytes.length;
    },
  };
  const lines = new Lines(slow, { onFailure: () => {} });
  for (let i = 0; i < 100; i++) lines.print("x".repeat(1023)); // With its end, 1024 bytes.
  resolve();
  await lines.flush();
  assertEquals(texts.length, 64);
  lines.print("again");
  await lines.flush();
  assertEquals(texts.at(-1), "again\n");
});

Deno.test("Lines says why it cannot write, but not that the reader has gone", async () => {
  for (const [error, told] of [[new Deno.errors.BrokenPipe("gone"), 0], [new Error("disk full"), 1]] as const) {
    const failures: unknown[] = [];
    const lines = new Lines({ write: () => Promise.reject(error) }, {
      onFailure: (error) => failures.push(error),
    });
    lines.print("one");
    lines.print("two");
    await lines.flush();
    assertEquals(failures.length, told);
  }
});

Deno.test("ForwardReport tells what happens, with -v=6 in detail", async () => {
  for (const verbosity of [0, 6]) {
    const [stdout, stderr] = [new Writes(), new Writes()];
    const report = new ForwardReport(verbosity, { stdout, stderr });
    report.event({ type: "dialed", wire: "tunnel", pod: "web-1" });
    report.forwarding("127.0.0.1:8080", 80, "tcp");
    report.forwarding("[::1]:8080", 80, "tcp");
    report.forwarding("127.0.0.1:5353", 53, "udp");
    report.handling("8080");
    report.event({ type: "connected", connection: 1, port: 80 });
    report.event({
      type: "failed",
      connection: 1,
      port: 80,
      local: { hostname: "127.0.0.1", port: 8080 },
      error: new Error("connection refused"),
    });
    report.event({ type: "lost", reason: new Error("pod web-1 is gone") });
    report.event({ type: "retry", attempt: 1, delay: 0, reason: new Error("not yet") });
    report.event({ type: "dialed", wire: "spdy", pod: "web-2" });
    report.event({ type: "unwatched", pod: "web-2", reason: new Error("getting credentials: exec: it failed") });
    report.event({ type: "connected", connection: 2, port: 80 });
    report.event({ type: "closed", connection: 2, port: 80, bytesReceived: 5, bytesSent: 7 });
    report.event({ type: "lost", reason: new Error("reset") });
    report.event({ type: "dialed", wire: "v4", pod: "web-2" });
    for (const port of [9, 10]) {
      report.udpEvent({ type: "failed", peer: `127.0.0.1:${port}`, error: new Error("no exec") }, "5353", 53);
    }
    report.udpEvent({ type: "opened", peer: "127.0.0.1:9" }, "5353", 53);
    report.udpEvent({ type: "failed", peer: "127.0.0.1:9", error: new Error("no exec") }, "5353", 53);
    report.summary({ connections: 2, active: 0, failed: 1, bytesReceived: 5, bytesSent: 7, redials: 2 });
    await report.flush();
    assertEquals(stdout.texts, [
      "Forwarding from 127.0.0.1:8080 -> 80\n",
      "Forwarding from [::1]:8080 -> 80\n",
      "Forwarding from 127.0.0.1:5353 -> 53/udp\n",
      "Handling connection for 8080\n",
    ]);
    const detail = (line: string) => verbosity === 0 ? [] : [line];
    assertEquals(stderr.texts.map((text) => text.replace(/\d+ ms/, "N ms")), [
      ...detail("session with pod web-1 opened, SPDY/3.1 in a WebSocket\n"),
      ...detail("connection 1 to port 80 opened\n"),
      "error: an error occurred forwarding 8080 -> 80: connection refused\n",
      ...detail("connection 1 to port 80 failed after N ms\n"),
      "lost connection to pod web-1: pod web-1 is gone; connecting again\n",
      ...detail("attempt 1 to connect again failed: not yet\n"),
      "connected to pod web-2 instead of web-1\n",
      ...detail("session with pod web-2 opened, SPDY/3.1\n"),
      "cannot see whether pod web-2 still runs: getting credentials: exec: it failed\n",
      ...detail("connection 2 to port 80 opened\n"),
      ...detail("connection 2 to port 80 closed after N ms: 5 bytes received, 7 bytes sent\n"),
      "lost connection to pod web-2: reset; connecting again\n",
      "connected to pod web-2 again\n",
      ...detail("session with pod web-2 opened, WebSocket channels\n"),
      "error: an error occurred forwarding 5353 -> 53/udp: no exec\n",
      ...detail("datagrams of 127.0.0.1:9 for port 53/udp: failed\n"),
      ...detail("datagrams of 127.0.0.1:10 for port 53/udp: failed\n"),
      ...detail("datagrams of 127.0.0.1:9 for port 53/udp: opened\n"),
      "error: an error occurred forwarding 5353 -> 53/udp: no exec\n",
      ...detail("datagrams of 127.0.0.1:9 for port 53/udp: failed\n"),
      "connections: 2, failed: 1, received: 5 bytes, sent: 7 bytes, re-dials: 2\n",
    ]);
  }
});
