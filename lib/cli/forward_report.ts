/**
 * What port-forward says: kubectl's lines on stdout, what went wrong and what `-v` shows on stderr.
 *
 * @module
 */
import { messageOf } from "../bytes/mod.ts";
import type { PortForwardEvent, PortForwardStats, UdpForwardEvent, UdpForwardStats } from "../client/mod.ts";
import { localName } from "./forward_addresses.ts";
import { Lines } from "./lines.ts";
import type { ByteSink } from "./standard_streams.ts";

/** From which `-v` on each connection is told of. */
const DETAIL = 6;

/** Where a {@linkcode ForwardReport} writes. */
export interface ReportSinks {
  /** For the lines that kubectl has. */
  readonly stdout: ByteSink;
  /** For everything else. */
  readonly stderr: ByteSink;
}

/** Tells a person, and the scripts that read kubectl's lines, what happens. */
export class ForwardReport {
  readonly #stdout: Lines;
  readonly #stderr: Lines;
  readonly #detail: boolean;
  /** When the connections that are open were opened, for `-v`. */
  readonly #opened = new Map<number, number>();
  /** The pod of the sessions, and whether they are lost. */
  #pod = "";
  #lost = false;
  /** How a UDP peer failed last: what ends the places of all of them is said once. */
  #udpFailure: string | undefined;

  /** A report with the detail of `-v=verbosity`. */
  constructor(verbosity: number, { stdout, stderr }: ReportSinks = Deno) {
    this.#stderr = new Lines(stderr, { onFailure: () => {} }); // Nobody is left to be told.
    this.#stdout = new Lines(stdout, {
      onFailure: (error) => this.warn(`error: cannot write to stdout: ${messageOf(error)}`),
    });
    this.#detail = verbosity >= DETAIL;
  }

  /** A port is open. */
  forwarding(from: string, remote: number, protocol: "tcp" | "udp"): void {
    this.#stdout.print(`Forwarding from ${from} -> ${remote}${protocol === "udp" ? "/udp" : ""}`);
  }

  /** Somebody has connected. */
  handling(local: string): void {
    this.#stdout.print(`Handling connection for ${local}`);
  }

  /** A connection could not be forwarded. */
  failed(local: string, remote: number | string, error: unknown): void {
    this.warn(`error: an error occurred forwarding ${local} -> ${remote}: ${messageOf(error)}`);
  }

  /** Anything else that has to be said. */
  warn(line: string): void {
    this.#stderr.print(line);
  }

  /** Something happened to the port-forward. */
  event(event: PortForwardEvent): void {
    switch (event.type) {
      case "dialed":
        this.#dialed(event.pod);
        return this.#tell(`session with pod ${event.pod} opened, ${WIRES[event.wire]}`);
      case "lost":
        this.#lost = true;
        return this.warn(`lost connection to pod ${this.#pod}: ${messageOf(event.reason)}; connecting again`);
      case "retry":
        return this.#tell(`attempt ${event.attempt} to connect again failed: ${messageOf(event.reason)}`);
      case "unwatched":
        return this.warn(`cannot see whether pod ${event.pod} still runs: ${messageOf(event.reason)}`);
      case "connected":
        if (this.#detail) this.#opened.set(event.connection, performance.now());
        return this.#tell(`connection ${event.connection} to port ${event.port} opened`);
      case "closed": {
        const bytes = `${event.bytesReceived} bytes received, ${event.bytesSent} bytes sent`;
        return this.#tell(`connection ${event.connection} to port ${event.port} closed${this.#age(event)}: ${bytes}`);
      }
      case "failed":
        this.failed(event.local ? localName(event.local) : "", event.port, event.error);
        return this.#tell(`connection ${event.connection} to port ${event.port} failed${this.#age(event)}`);
    }
  }

  /** Something happened to the UDP port `remote`, which is `local` here. */
  udpEvent(event: UdpForwardEvent, local: string, remote: number): void {
    if (event.type === "helper") return this.#tell(`datagrams for port ${remote}/udp go through ${event.name}`);
    if (event.type === "failed") {
      const failure = `${local} ${messageOf(event.error)}`;
      if (failure !== this.#udpFailure) this.failed(local, `${remote}/udp`, event.error);
      this.#udpFailure = failure;
    } else if (event.type === "opened") this.#udpFailure = undefined;
    this.#tell(`datagrams of ${event.peer} for port ${remote}/udp: ${event.type}`);
  }

  /** The summary at the end. */
  summary(stats: PortForwardStats): void {
    const { connections, failed, bytesReceived, bytesSent, redials } = stats;
    this.warn(
      `connections: ${connections}, failed: ${failed}, received: ${bytesReceived} bytes, sent: ${bytesSent} bytes, ` +
        `re-dials: ${redials}`,
    );
  }

  /** The summary of the UDP port `remote`. */
  udpSummary(remote: number, stats: UdpForwardStats): void {
    const { peers, failed, datagramsReceived, bytesReceived, datagramsSent, bytesSent, dropped } = stats;
    this.warn(
      `port ${remote}/udp: peers: ${peers}, failed: ${failed}, received: ${datagramsReceived} datagrams of ` +
        `${bytesReceived} bytes, sent: ${datagramsSent} datagrams of ${bytesSent} bytes, dropped: ${dropped}`,
    );
  }

  /** Waits for the lines that are still on their way to a reader. */
  async flush(): Promise<void> {
    await Promise.all([this.#stdout.flush(), this.#stderr.flush()]);
  }

  #dialed(pod: string): void {
    if (this.#lost) this.warn(`connected to pod ${pod} ${pod === this.#pod ? "again" : `instead of ${this.#pod}`}`);
    this.#lost = false;
    this.#pod = pod;
  }

  #tell(line: string): void {
    if (this.#detail) this.#stderr.print(line);
  }

  #age({ connection }: { readonly connection: number }): string {
    const opened = this.#opened.get(connection);
    this.#opened.delete(connection);
    return opened === undefined ? "" : ` after ${Math.round(performance.now() - opened)} ms`;
  }
}

const WIRES = {
  tunnel: "SPDY/3.1 in a WebSocket",
  spdy: "SPDY/3.1",
  v4: "WebSocket channels",
} as const;
