/**
 * One local peer of a UDP forward, and its helper in the pod.
 *
 * @module
 */
import { concat, MAX_DELAY, PodwireError } from "../bytes/mod.ts";
import type { Pod } from "./pod.ts";
import type { RemoteProcess } from "./remote_command.ts";
import { DatagramDecoder, encodeDatagram, UdpForwardError, type UdpHelper } from "./udp_helper.ts";

/** Where a helper runs. */
export interface UdpPlace {
  /** The pod. */
  readonly pod: Pod;
  /** Its container; without it the server takes the only one. */
  readonly container?: string;
  /** What runs there. */
  readonly helper: UdpHelper;
}

/** What a {@linkcode UdpPeer} needs to know. */
export interface UdpPeerOptions {
  /** Where, and what runs there. Datagrams wait until that is known. */
  readonly place: Promise<UdpPlace>;
  /** The port in the pod. */
  readonly target: number;
  /** After how many milliseconds without a datagram in either direction the peer is forgotten; `Infinity` for never. */
  readonly idleTimeout: number;
  /** How many bytes may wait for the transport. */
  readonly maxQueued: number;
  /** Takes a datagram from the pod; the next one is taken when it has resolved. */
  readonly deliver: (data: Uint8Array) => Promise<void>;
}

/** How long a helper may take to end after its input has, in milliseconds. */
const END_WITHIN = 5_000;

/** How much is written at once, unless a single datagram is larger: client-go's largest message, in bytes. */
const MAX_WRITE = 32 * 1024;

/** How much of what a helper says on its stderr goes into an error, in characters. */
const MAX_COMPLAINT = 1_000;

/** A local peer. Its helper is started at once; what is sent before that runs waits. */
export class UdpPeer {
  /** Resolves when nothing of the peer is left; rejects if something broke before {@linkcode UdpPeer.close} was called. */
  readonly finished: Promise<void>;
  readonly #options: UdpPeerOptions;
  readonly #abort = new AbortController();
  readonly #boundary = crypto.randomUUID(); // 122 random bits: in no datagram but by intent.
  #queue: Uint8Array[] = [];
  #queued = 0;
  #lastDatagram = performance.now();
  #idleTimer: ReturnType<typeof setTimeout> | undefined;
  #endTimer: ReturnType<typeof setTimeout> | undefined;
  #started = false;
  /** Whether the helper can send empty datagrams; until it is known, no. */
  #sendsEmpty = false;
  #closed = false;
  #wake = Promise.withResolvers<void>();

  /** Starts a helper for a new peer. */
  constructor(options: UdpPeerOptions) {
    this.#options = options;
    this.#watchIdle();
    this.finished = this.#run();
    this.finished.catch(() => {}); // The listener looks at it.
  }

  /** Whether it ends or has ended. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Milliseconds since the last datagram in either direction. */
  get quietFor(): number {
    return performance.now() - this.#lastDatagram;
  }

  /** Sends a datagram to the pod, if there is room for it and the helper can. */
  send(data: Uint8Array): boolean {
    const { maxQueued } = this.#options;
    if (this.#closed || this.#queued + data.length > maxQueued || (data.length === 0 && !this.#sendsEmpty)) {
      return false;
    }
    this.#lastDatagram = performance.now();
    this.#queue.push(data);
    this.#queued += cost(data);
    this.#wake.resolve();
    return true;
  }

  /** Ends the helper's input; it has {@linkcode END_WITHIN} to end. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#idleTimer);
    const drop = () => this.#abort.abort(new PodwireError("the helper did not end in time"));
    if (this.#started) this.#endTimer = setTimeout(drop, END_WITHIN);
    else drop();
    this.#wake.resolve();
  }

  #watchIdle(): void {
    const left = this.#options.idleTimeout - this.quietFor;
    if (left <= 0) this.close();
    else this.#idleTimer = setTimeout(() => this.#watchIdle(), Math.min(left, MAX_DELAY));
  }

  async #run(): Promise<void> {
    const { place, target } = this.#options;
    try {
      const { pod, container, helper } = await place;
      this.#sendsEmpty = helper.sendsEmpty;
      const process = await pod.exec([...helper.command, this.#boundary, String(target)], {
        ...(container !== undefined && { container }),
        stdin: "piped",
        signal: this.#abort.signal,
      }).spawn();
      this.#started = true;
      try {
        const [, , complaint, { code }] = await Promise.all([
          this.#sendAll(process),
          this.#deliverAll(process.stdout),
          readSome(process.stderr),
          process.status,
        ]);
        if (!this.#closed) throw new UdpForwardError(endText(helper, code, complaint));
      } finally {
        process.close();
      }
    } catch (error) {
      if (!this.#closed) throw error; // Else whoever closed it has what it wanted.
    } finally {
      this.#closed = true;
      clearTimeout(this.#idleTimer);
      clearTimeout(this.#endTimer);
    }
  }

  async #sendAll(process: RemoteProcess): Promise<void> {
    const writer = process.stdin.getWriter();
    const ended = writer.closed.catch(() => {}); // The status says why.
    let running = true;
    ended.then(() => running = false);
    while (running && !this.#closed) {
      await Promise.race([this.#wake.promise, ended]);
      this.#wake = Promise.withResolvers();
      while (running && this.#queue.length > 0) {
        const batch = this.#takeBatch();
        await writer.write(concat(batch.flatMap(encodeDatagram))).catch(() => running = false);
        for (const data of batch) this.#queued -= cost(data);
      }
    }
    await writer.close().catch(() => {}); // Broken, or ended.
  }

  #takeBatch(): Uint8Array[] {
    let bytes = 0;
    let count = 0;
    for (const data of this.#queue) {
      if (count > 0 && bytes + data.length > MAX_WRITE) break;
      bytes += data.length;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  async #deliverAll(output: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new DatagramDecoder(this.#boundary);
    for await (const chunk of output) {
      for (const data of decoder.decode(chunk)) {
        this.#lastDatagram = performance.now();
        await this.#options.deliver(data);
      }
    }
  }
}

/** What a datagram in the queue is reckoned at, in bytes: even an empty one takes memory. */
function cost(data: Uint8Array): number {
  return data.length + 64;
}

/** Reads a stream to its end, and gives its beginning. */
async function readSome(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    if (text.length < MAX_COMPLAINT) text += decoder.decode(chunk, { stream: true });
  }
  return text.slice(0, MAX_COMPLAINT).trim();
}

function endText({ name }: UdpHelper, code: number, complaint: string): string {
  return `the UDP helper (${name}) ended with exit code ${code}${complaint && `: ${complaint}`}`;
}
