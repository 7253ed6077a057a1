/**
 * Many relays, and what becomes of them when the configuration changes.
 *
 * @module
 */
import { messageOf, tell } from "../bytes/mod.ts";
import { type Address, formatAddress, isDatagram } from "./address.ts";
import type { Relay } from "./config.ts";
import { Counters, formatMetrics, type Reloads } from "./counters.ts";
import { DatagramRelay } from "./datagram_relay.ts";
import type { RunningRelay } from "./running.ts";
import { StreamRelay } from "./stream_relay.ts";
import { readTlsFiles, type TlsFiles } from "./tls_files.ts";

/** How often relays are looked after, in milliseconds. */
const CARE = 1_000;

/** Every so many times their certificates are looked at too. */
const CARE_FOR_FILES = 10;

/** What happens to relays. */
export interface RelayEvent {
  /** The relay's name. */
  readonly relay: string;
  /**
   * What happened: it listens, does not, its target cannot be reached, or can again, it goes on with its old certificates
   * because the new ones cannot be used, or it has been stopped.
   */
  readonly type: "listening" | "failed" | "unreachable" | "reachable" | "outdated" | "stopped";
  /** Where it listens and where it goes, or why it does not. */
  readonly message: string;
}

/** Options of {@linkcode Relays}. */
export interface RelaysOptions {
  /** Told what happens. What it throws is reported, and changes nothing. */
  readonly onEvent?: (event: RelayEvent) => void;
  /** How often relays are looked after, in milliseconds; 1000 if absent. */
  readonly interval?: number;
}

/** One relay's state. */
export interface RelayState {
  /** Its name. */
  readonly name: string;
  /** Where it listens, with the port that it got; `undefined` while it does not. */
  readonly listening: Address | undefined;
  /** Connections or flows that are open. */
  readonly open: number;
}

/**
 * Relays that run.
 *
 * @example
 * ```ts
 * import { parseRelays } from "./parse_config.ts";
 * import { Relays } from "./relays.ts";
 *
 * async function serve(text: string): Promise<void> {
 *   await using relays = new Relays();
 *   await relays.apply(parseRelays([{ file: "relays.yaml", text }]));
 *   console.log(relays.state());
 * }
 * ```
 */
export class Relays implements AsyncDisposable {
  readonly #onEvent: (event: RelayEvent) => void;
  readonly #relays = new Map<string, Kept>();
  readonly #counters = new Map<string, Counters>();
  readonly #reloads: Reloads = { good: 0, bad: 0, lastGood: true };
  readonly #care: ReturnType<typeof setInterval>;
  #round = 0;
  #caring = false;
  /** One change after the other. */
  #turn: Promise<void> = Promise.resolve();
  #closed = false;
  #applied = false;

  /** No relays yet. */
  constructor(options: RelaysOptions = {}) {
    this.#onEvent = (event) => tell(options.onEvent, event);
    this.#care = setInterval(() => void this.#lookAfter(), options.interval ?? CARE);
  }

  /**
   * Makes `relays` those that run. One that is the same as before keeps its listener and its connections; one that has changed is
   * ended and begun anew. One that cannot listen is tried again every second: {@linkcode RelaysOptions.onEvent} says why, and
   * it is among {@linkcode Relays.failures}. So is, the first time, one whose certificates cannot be used.
   *
   * @throws {TlsFileError} If, after the first time, the certificates of a relay that is new or has changed cannot be used; all
   * relays go on as they were.
   */
  apply(relays: readonly Relay[]): Promise<void> {
    return this.#inTurn(async () => {
      const wanted = new Map(relays.map((relay) => [relay.name, relay]));
      const files = this.#applied ? await this.#readFiles(relays) : new Map<string, TlsFiles>();
      this.#applied = true;
      const gone = [...this.#relays.values()].filter(({ relay, identity }) => {
        const now = wanted.get(relay.name);
        return !now || identityOf(now) !== identity;
      });
      // All that end do so first: a new relay may listen where an old one did.
      await Promise.all(gone.map((kept) => this.#stop(kept)));
      await Promise.all([...wanted.values()].map(async (relay) => {
        if (this.#relays.has(relay.name)) return;
        const kept: Kept = { relay, identity: identityOf(relay), running: undefined, failure: "", outdated: "" };
        this.#relays.set(relay.name, kept);
        await this.#start(kept, files.get(relay.name));
      }));
      for (const name of this.#counters.keys()) if (!wanted.has(name)) this.#counters.delete(name);
    });
  }

  /** Counts a configuration that was read while running, for the metrics. */
  countReload(good: boolean): void {
    this.#reloads[good ? "good" : "bad"]++;
    this.#reloads.lastGood = good;
  }

  /** What is wrong with relays that do not listen, a line each. */
  get failures(): string[] {
    return [...this.#relays.values()].flatMap(({ relay, running, failure }) =>
      running?.listening ? [] : [`${relay.name}: ${failure}`]
    );
  }

  /** Every relay's state. */
  state(): RelayState[] {
    return [...this.#relays.values()].map(({ relay: { name }, running }) => ({
      name,
      listening: running?.listening,
      open: running?.open ?? 0,
    }));
  }

  /** What the relays have counted, in Prometheus' text format. */
  metrics(): string {
    const measured = this.state().map(({ name, listening, open }) => ({
      name,
      up: listening !== undefined,
      open,
      counters: this.#countersOf(name),
    }));
    return formatMetrics(measured, this.#reloads);
  }

  /** Ends all relays and their connections, and removes their sockets. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearInterval(this.#care);
    await this.#inTurn(async () => {
      await Promise.all([...this.#relays.values()].map((kept) => this.#stop(kept)));
    });
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {}); // Whoever asked for it is told.
    return done;
  }

  /** The certificates of those relays that are not running as they are. */
  async #readFiles(relays: readonly Relay[]): Promise<Map<string, TlsFiles>> {
    const fresh = relays.filter((relay) => this.#relays.get(relay.name)?.identity !== identityOf(relay));
    return new Map(await Promise.all(fresh.map(async (relay) => [relay.name, await readTlsFiles(relay)] as const)));
  }

  #countersOf(name: string): Counters {
    let counters = this.#counters.get(name);
    if (!counters) this.#counters.set(name, counters = new Counters());
    return counters;
  }

  async #start(kept: Kept, files?: TlsFiles): Promise<void> {
    const { relay } = kept;
    try {
      const start = {
        relay,
        counters: this.#countersOf(relay.name),
        files: files ?? await readTlsFiles(relay),
        onTarget: this.#targetReporter(relay),
      };
      const running = isDatagram(relay.listen.address) ? new DatagramRelay(start) : new StreamRelay(start);
      await running.listen();
      kept.running = running;
      this.#listens(kept, running);
    } catch (error) {
      this.#failed(kept, error);
    }
  }

  #listens(kept: Kept, { listening = kept.relay.listen.address }: RunningRelay): void {
    kept.failure = "";
    const message = `${formatAddress(listening)} to ${formatAddress(kept.relay.target.address)}`;
    this.#onEvent({ relay: kept.relay.name, type: "listening", message });
  }

  /** Tells a failure, the same one only once. */
  #failed(kept: Kept, error: unknown): void {
    const message = messageOf(error);
    if (message !== kept.failure) this.#onEvent({ relay: kept.relay.name, type: "failed", message });
    kept.failure = message;
  }

  async #stop({ relay: { name }, running }: Kept): Promise<void> {
    this.#relays.delete(name);
    if (!running) return;
    await running.stopListening();
    await running.endSessions();
    this.#onEvent({ relay: name, type: "stopped", message: "stopped" });
  }

  /** Tells when a target is lost and when it is back, not each connection's failure. */
  #targetReporter(relay: Relay): (failure: Error | undefined) => void {
    let lost = false;
    return (failure) => {
      if (lost === (failure !== undefined)) return;
      lost = failure !== undefined;
      const message = failure?.message ?? `${formatAddress(relay.target.address)} can be reached again`;
      this.#onEvent({ relay: relay.name, type: lost ? "unreachable" : "reachable", message });
    };
  }

  async #lookAfter(): Promise<void> {
    if (this.#caring || this.#closed) return;
    this.#caring = true;
    const files = ++this.#round % CARE_FOR_FILES === 0;
    await this.#inTurn(async () => {
      for (const kept of this.#relays.values()) await this.#tend(kept, files);
    });
    this.#caring = false;
  }

  /** Begins a relay that failed, takes new certificates, and listens anew where a socket's file is gone. */
  async #tend(kept: Kept, files: boolean): Promise<void> {
    const { running, relay } = kept;
    if (!running) return await this.#start(kept);
    try {
      if (files && (relay.listen.tls || relay.target.tls)) await this.#renew(kept, running);
      if (await running.intact()) return;
      await running.stopListening();
      await running.listen();
      this.#listens(kept, running);
    } catch (error) {
      this.#failed(kept, error);
    }
  }

  /** Takes new certificates. Those that cannot be used, as a certificate before its key is written, are left alone. */
  async #renew(kept: Kept, running: RunningRelay): Promise<void> {
    try {
      running.renew(await readTlsFiles(kept.relay));
      kept.outdated = "";
    } catch (error) {
      const message = `goes on with its old certificates: ${messageOf(error)}`;
      if (message !== kept.outdated) this.#onEvent({ relay: kept.relay.name, type: "outdated", message });
      kept.outdated = message;
    }
  }
}

/** A relay that is wanted. */
interface Kept {
  readonly relay: Relay;
  /** Two relays with the same one are the same. */
  readonly identity: string;
  /** Missing while it cannot listen. */
  running: RunningRelay | undefined;
  /** Why it cannot; empty if it can. */
  failure: string;
  /** Why its new certificates cannot be used; empty if it has the newest. */
  outdated: string;
}

function identityOf(relay: Relay): string {
  return JSON.stringify(relay, (_, value) => value instanceof Uint8Array ? [...value] : value);
}
