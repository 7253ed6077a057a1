/**
 * A relay that listens for datagrams.
 *
 * @module
 */
import { type Address, isDatagram } from "./address.ts";
import { listenOn } from "./any_address.ts";
import { Backlog } from "./backlog.ts";
import type { Counters } from "./counters.ts";
import { bindUdp, bindUnixDatagram, type DatagramSocket, openDatagram, type Peer, peerKey } from "./datagram_socket.ts";
import { type Reason, RelayError } from "./errors.ts";
import { FrameReader, FrameWriter } from "./frames.ts";
import { type RelayStart, type RunningRelay, telling } from "./running.ts";
import { type Session, Sessions } from "./sessions.ts";
import { bindSocket, type SocketFile } from "./socket_file.ts";
import { inRanges } from "./source_ranges.ts";
import { connectTarget } from "./target.ts";
import type { TlsFiles } from "./tls_files.ts";

/** A flow that was silent for so long, in milliseconds, makes room for a new one when there are too many. */
const EVICTABLE = 1_000;

/** Bytes of one flow that may wait for its target; what comes then is dropped, as a full socket does it. */
const MAX_FLOW = 256 * 1024;

/** Bytes of all flows together that may. */
const MAX_WAITING = 8 * 1024 * 1024;

/**
 * A relay that listens for datagrams. Those of one sender are one flow, with a socket or a stream of its own to the target, so that
 * the target's answers find their way back. A flow ends when it has been silent for the relay's idle time-out.
 */
export class DatagramRelay implements RunningRelay {
  readonly #start: RelayStart;
  readonly #sessions: Sessions;
  readonly #flows = new Map<string, Flow>();
  readonly #running = new Set<Promise<void>>();
  readonly #waiting = new Backlog(MAX_WAITING);
  readonly #onDrop: () => void;
  #files: TlsFiles;
  #socket: DatagramSocket | undefined;
  #file: SocketFile | undefined;
  #receiving: Promise<void> | undefined;

  /** A relay that does not listen yet. */
  constructor(start: RelayStart) {
    this.#start = start;
    this.#files = start.files;
    this.#onDrop = () => start.counters.fail("dropped");
    // A flow that has been silent is over; that is no error.
    this.#sessions = new Sessions(start.relay.maxConnections, start.relay.idleTimeout, () => {});
  }

  /** Flows that are open. */
  get open(): number {
    return this.#sessions.size;
  }

  /** Where it listens, with the port that it got. */
  get listening(): Address | undefined {
    if (!this.#socket) return undefined;
    const { address } = this.#start.relay.listen;
    const { peer } = this.#socket;
    return "port" in address && "port" in peer ? { ...address, port: peer.port } : address;
  }

  /** Whether it listens, and its socket's file is still there. */
  async intact(): Promise<boolean> {
    return this.#socket !== undefined && (await this.#file?.intact() ?? true);
  }

  /** Takes certificates that have changed. */
  renew(files: TlsFiles): void {
    this.#files = files;
  }

  /** Listens. */
  async listen(): Promise<void> {
    const { listen } = this.#start.relay;
    if ("path" in listen.address) {
      const bound = await bindSocket(listen.address.path, listen, (path) => bindUnixDatagram(path, this.#onDrop));
      this.#socket = bound.socket;
      this.#file = bound.file;
    } else {
      this.#socket = await listenOn(listen.address, ({ hostname, port }) => bindUdp(hostname, port, this.#onDrop));
    }
    this.#receiving = this.#receive(this.#socket);
  }

  /** Stops listening. */
  async stopListening(): Promise<void> {
    this.#socket?.close();
    this.#socket = undefined;
    await this.#receiving;
    await this.#file?.remove();
    this.#file = undefined;
  }

  /** Ends all flows. */
  async endSessions(): Promise<void> {
    this.#sessions.endAll();
    await Promise.all(this.#running);
  }

  async #receive(socket: DatagramSocket): Promise<void> {
    const { counters } = this.#start;
    for (;;) {
      let got;
      try {
        got = await socket.receive();
      } catch {
        counters.fail("broken");
        socket.close();
        this.#socket = undefined; // It is lost; whoever looks after the relay opens another one.
        return;
      }
      if (!got) return;
      const known = this.#flows.get(peerKey(got.from));
      const flow = known && !known.ended ? known : this.#begin(got.from);
      if (!flow) continue;
      flow.touched = performance.now();
      const sent = flow.send(got.data);
      if (sent) await sent;
    }
  }

  /** A new flow for `from`, unless it is refused. */
  #begin(from: Peer | undefined): Flow | undefined {
    const { relay: { allowFrom }, counters } = this.#start;
    if (allowFrom && !(from && "hostname" in from && inRanges(from.hostname, allowFrom))) {
      counters.fail("source");
      return undefined;
    }
    if (this.#sessions.full && !this.#sessions.evict(EVICTABLE)) {
      counters.fail("limit");
      return undefined;
    }
    counters.connections++;
    const key = peerKey(from);
    const flow = new Flow(counters, this.#waiting);
    this.#flows.set(key, flow);
    this.#sessions.add(flow);
    const served = this.#serve(flow, from).finally(() => {
      if (this.#flows.get(key) === flow) this.#flows.delete(key);
      this.#sessions.remove(flow);
      flow.end();
      this.#running.delete(served);
    });
    this.#running.add(served);
    return flow;
  }

  /** Serves one flow to its end; never fails. */
  async #serve(flow: Flow, from: Peer | undefined): Promise<void> {
    const { relay: { target } } = this.#start;
    try {
      await (isDatagram(target.address) ? this.#toDatagrams(flow, from) : this.#toStream(flow, from));
    } catch (error) {
      flow.fail(error instanceof RelayError && error.reason !== "listen" ? error.reason : "broken");
    }
  }

  async #toDatagrams(flow: Flow, from: Peer | undefined): Promise<void> {
    const { relay: { target, connectTimeout: timeout }, onTarget } = this.#start;
    const options = { timeout, attempt: flow.attempt, onDrop: this.#onDrop };
    const { socket, peer } = await telling(onTarget, () => openDatagram(target.address, options));
    const send = async (data: Uint8Array) => {
      try {
        await socket.send(data, peer);
        flow.passed(1, data.length);
      } catch {
        flow.lost(data.length); // Nobody is there, or it is too long: a datagram may get lost.
      }
    };
    await flow.open(socket, "path" in peer ? behind(flow, send) : send);
    const expected = peerKey(peer);
    for (let got = await socket.receive(); got; got = await socket.receive()) {
      if (peerKey(got.from) === expected) await this.#answer(flow, from, got.data);
    }
  }

  async #toStream(flow: Flow, from: Peer | undefined): Promise<void> {
    const { relay: { target, connectTimeout }, onTarget } = this.#start;
    const connect = () => connectTarget(target, this.#files, connectTimeout, flow.attempt);
    const stream = await telling(onTarget, connect);
    const writer = new FrameWriter(stream, {
      onWritten: (datagrams, bytes) => flow.passed(datagrams, bytes),
      onError: () => flow.fail("broken"),
    });
    await flow.open(stream, (data) => {
      if (!writer.push(data)) flow.lost(data.length);
    });
    const frames = new FrameReader(stream);
    for (let data = await frames.next(); data; data = await frames.next()) await this.#answer(flow, from, data);
  }

  async #answer(flow: Flow, to: Peer | undefined, data: Uint8Array): Promise<void> {
    const { counters } = this.#start;
    flow.touched = performance.now();
    try {
      if (!to || !this.#socket) throw new RelayError("nobody to answer", "dropped");
      await this.#socket.send(data, to);
      counters.datagramsBack++;
      counters.bytesBack += data.length;
    } catch {
      counters.fail("dropped"); // The sender has gone, or cannot be answered.
    }
  }
}

/** Sends one after the other, without keeping other flows waiting: a unix socket with a full queue makes its senders wait. */
function behind(flow: Flow, send: (data: Uint8Array) => Promise<void>): (data: Uint8Array) => void {
  let last = Promise.resolve();
  return (data) => {
    const copy = data.slice();
    last = last.then(() => flow.ended ? undefined : send(copy));
  };
}

/** One sender's datagrams: each is counted once, when the target has it or when it is lost. */
class Flow implements Session {
  touched = performance.now();
  /** The attempt to connect to its target, aborted when it ends. */
  readonly attempt: AbortController = new AbortController();
  readonly #counters: Counters;
  /** All that the target has not got yet. */
  readonly #backlog: Backlog;
  #ended = false;
  #waiting: Uint8Array[] = [];
  #target: { close(): void } | undefined;
  #send: ((data: Uint8Array) => Promise<void> | void) | undefined;

  constructor(counters: Counters, waiting: Backlog) {
    this.#counters = counters;
    this.#backlog = new Backlog(MAX_FLOW, waiting);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Sends `data` to the target, or keeps a copy until it is there. */
  send(data: Uint8Array): Promise<void> | void {
    if (!this.#backlog.take(data.length)) return this.#counters.fail("dropped");
    if (this.#send) return this.#send(data);
    this.#waiting.push(data.slice());
  }

  /** The target has so many datagrams, with so many bytes together. */
  passed(datagrams: number, bytes: number): void {
    if (this.#ended) return; // Counted as lost by then.
    this.#backlog.give(datagrams, bytes);
    this.#counters.datagramsOut += datagrams;
    this.#counters.bytesOut += bytes;
  }

  /** The target does not get a datagram of so many bytes. */
  lost(bytes: number): void {
    if (this.#ended) return; // Counted by then.
    this.#backlog.give(1, bytes);
    this.#counters.fail("dropped");
  }

  /** The target is there: what waited goes first. */
  async open(target: { close(): void }, send: (data: Uint8Array) => Promise<void> | void): Promise<void> {
    this.#target = target;
    if (this.#ended) return target.close();
    for (let data = this.#waiting.shift(); data; data = this.#waiting.shift()) await send(data);
    this.#send = send;
  }

  end(): void {
    this.#end("dropped");
  }

  /** Ends it because of a failure, which is counted for each datagram that is lost by it, or for the flow itself. */
  fail(reason: Reason): void {
    if (!this.#ended && this.#end(reason) === 0) this.#counters.fail(reason);
  }

  /** Returns how many datagrams are lost. */
  #end(reason: Reason): number {
    if (this.#ended) return 0;
    this.#ended = true;
    this.attempt.abort();
    this.#target?.close();
    this.#waiting = [];
    const lost = this.#backlog.clear();
    if (lost > 0) this.#counters.fail(reason, lost);
    return lost;
  }
}
