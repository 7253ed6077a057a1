/**
 * The server's end of a port-forward over SPDY/3.1, frame by frame as the SPDY draft and the kubelet (`pkg/kubelet/server` and cri-streaming `portforward/httpstream.go`) have it, without any code of
 * podwire's but the pipe between the two.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { type Duplex, duplexPair } from "../../lib/bytes/mod.ts";
import { SpdyForwardSession } from "../../lib/client/forward_wire.ts";
import { ForwardedConnection } from "../../lib/client/forwarded_connection.ts";
import { BytePeer, data, fin, goAway, ping, type RawFrame, rstStream, synReply } from "../spdy/harness.ts";

/** What containerd 2.2.1 says of a port where nobody listens (recorded in `pf-spdy-refused-default`). */
export const REFUSED =
  'error forwarding port 9999 to pod 0123, uid : failed to execute portforward in network namespace "x": ' +
  "failed to connect to localhost:9999 inside namespace, IPv4: dial tcp4 127.0.0.1:9999: connect: connection refused ";

/** The types of frames that a client sends. */
export const FrameType = { DATA: 0, SYN_STREAM: 1, RST_STREAM: 3, GOAWAY: 7 } as const;

/** A frame of the client. */
export interface PeerFrame extends RawFrame {
  /** Of a SYN_STREAM. */
  readonly fields: Readonly<Record<string, string>>;
}

/** The streams of one forwarded connection, by their numbers. */
export interface PeerPair {
  readonly error: number;
  readonly data: number;
  readonly port: number;
}

/** How a stream stands. */
interface StreamState {
  ours: boolean;
  theirs: boolean;
}

/** Reads all the time and answers PINGs; the rest is what a test says. */
export class ForwardPeer {
  readonly #bytes: BytePeer;
  readonly #streams = new Map<number, StreamState>();
  readonly #unread: PeerFrame[] = [];
  #wake: (() => void) | undefined;
  #ended = false;
  #sent: Promise<void> = Promise.resolve();
  /** How many PINGs came. */
  pings = 0;
  /** Whether to leave them without an answer. */
  mute = false;
  /** Resolves when the client has ended. */
  readonly gone: Promise<void>;

  constructor(duplex: Duplex) {
    this.#bytes = new BytePeer(duplex);
    this.gone = this.#run();
  }

  /** Streams that one of the sides has not ended yet. */
  get openStreams(): number {
    return this.#streams.size;
  }

  /** The next frame that is no PING; fails at the end of the client. */
  async next(): Promise<PeerFrame> {
    while (this.#unread.length === 0) {
      assert(!this.#ended, "the client has ended");
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return this.#unread.shift()!;
  }

  /** Frames that came and were not looked at yet. */
  take(): PeerFrame[] {
    return this.#unread.splice(0);
  }

  /** Takes the two SYN_STREAMs of a connection, in whatever order. */
  async opened(): Promise<PeerPair> {
    const ids: Record<string, number> = {};
    const asked = new Set<string>();
    for (let i = 0; i < 2; i++) {
      const { type, id, flags, fields } = await this.next();
      const { streamtype = "", port, requestid, ...rest } = fields;
      assertEquals([type, flags, rest], [FrameType.SYN_STREAM, 0, {}], "a SYN_STREAM with the headers of D.1 alone");
      ids[streamtype] = id;
      asked.add(`${port} ${requestid}`);
    }
    assertEquals(asked.size, 1, "one port and one requestid");
    const { error, data, ...rest } = ids;
    assert(error !== undefined && data !== undefined, `streams ${JSON.stringify(rest)}`);
    return { error, data, port: Number([...asked][0]!.split(" ")[0]) };
  }

  /** Accepts every connection and gives it to `answer`, until the client ends; other frames are dropped. */
  async serve(answer: (pair: PeerPair) => Promise<void>): Promise<void> {
    const halves = new Map<string, Record<string, number>>();
    for (;;) {
      const frame = await this.next().catch(() => undefined);
      if (!frame) return;
      const { streamtype = "", port = "", requestid = "" } = frame.fields;
      if (frame.type !== FrameType.SYN_STREAM) continue;
      const { error, data } = { ...halves.get(requestid), [streamtype]: frame.id } as Record<string, number>;
      halves.set(requestid, { ...halves.get(requestid), [streamtype]: frame.id });
      if (error === undefined || data === undefined) continue;
      await this.reply(error);
      await this.reply(data);
      await answer({ error, data, port: Number(port) });
    }
  }

  /** Accepts the next connection, and sees the client end the error stream. */
  async accept(headers: Readonly<Record<string, string>> = {}): Promise<PeerPair> {
    const pair = await this.opened();
    await this.reply(pair.error);
    await this.reply(pair.data, headers);
    await this.expectFin(pair.error);
    return pair;
  }

  /** SYN_REPLY. */
  reply(id: number, headers: Readonly<Record<string, string>> = {}): Promise<void> {
    return this.send(synReply(id, this.#bytes.blocks.of(...Object.entries(headers))));
  }

  /** DATA. */
  data(id: number, bytes: Uint8Array | string): Promise<void> {
    return this.send(data(id, bytes));
  }

  /** FIN. */
  fin(id: number): Promise<void> {
    this.#end(id, "ours");
    return this.send(fin(id));
  }

  /** RST_STREAM. */
  reset(id: number): Promise<void> {
    this.#streams.delete(id);
    return this.send(rstStream(id));
  }

  /** The end of a connection that went well: FIN data, FIN error. */
  async finish({ error, data }: PeerPair): Promise<void> {
    await this.fin(data);
    await this.fin(error);
  }

  /** The end of a connection that failed: FIN data, text, RST error. */
  async fail({ error, data }: PeerPair, text: string): Promise<void> {
    await this.fin(data);
    await this.data(error, text);
    await this.reset(error);
  }

  /** GOAWAY. */
  goAway(status = 0): Promise<void> {
    return this.send(goAway(0, status));
  }

  /** Any bytes, after those before. */
  send(bytes: Uint8Array): Promise<void> {
    const sent = this.#sent.then(() => this.#bytes.send(bytes));
    this.#sent = sent.catch(() => {}); // Whoever sent it is told.
    return sent;
  }

  /** The end of the transport, without a word. */
  closeWrite(): Promise<void> {
    return this.#bytes.duplex.closeWrite();
  }

  /** Drops the transport. */
  close(): void {
    this.#bytes.duplex.close();
  }

  /** Takes the next frame, which is DATA of `id`; gives its bytes. */
  async expectData(id: number): Promise<string> {
    const frame = await this.next();
    assertEquals([frame.type, frame.id, frame.flags], [FrameType.DATA, id, 0]);
    return new TextDecoder().decode(frame.body);
  }

  /** Takes the next frame, which is the FIN of `id`. */
  async expectFin(id: number): Promise<void> {
    const { type, flags, body, id: stream } = await this.next();
    assertEquals([type, stream, flags, body.length], [FrameType.DATA, id, 1, 0], "a FIN");
  }

  /** Takes the next frame, which is RST_STREAM CANCEL for `id`. */
  async expectReset(id: number): Promise<void> {
    const { type, body, id: stream } = await this.next();
    assertEquals([type, stream, body.at(-1)], [FrameType.RST_STREAM, id, 5], "RST_STREAM CANCEL");
  }

  /** Drops the frames up to the first that `is` what is looked for; gives that. */
  async skipTo(is: (frame: PeerFrame) => boolean): Promise<PeerFrame> {
    for (;;) {
      const frame = await this.next();
      if (is(frame)) return frame;
    }
  }

  async #run(): Promise<void> {
    for (;;) {
      let frame: RawFrame;
      try {
        frame = await this.#bytes.frame();
      } catch {
        break; // No frame any more.
      }
      const { type, id, flags, body } = frame;
      if (type === 6) {
        this.pings++;
        if (id % 2 === 1 && !this.mute) this.send(ping(id)).catch(() => {}); // The client may have gone.
        continue;
      }
      if (type === FrameType.SYN_STREAM) this.#streams.set(id, { ours: false, theirs: false });
      if (type === FrameType.RST_STREAM) this.#streams.delete(id);
      if (type === FrameType.DATA && (flags & 1) === 1) this.#end(id, "theirs");
      const fields = type === FrameType.SYN_STREAM ? this.#bytes.received.fields(body.subarray(10)) : {};
      this.#unread.push({ ...frame, fields });
      this.#wake?.();
    }
    this.#ended = true;
    this.#wake?.();
  }

  #end(id: number, side: keyof StreamState): void {
    const state = this.#streams.get(id);
    if (!state) return;
    state[side] = true;
    if (state.ours && state.theirs) this.#streams.delete(id);
  }
}

/** A session and its other end. `capacity` is what the pipe holds in each direction, in bytes. */
export function withSession(capacity = 1 << 20): { session: SpdyForwardSession; peer: ForwardPeer } {
  const [near, far] = duplexPair({ capacity });
  return { session: new SpdyForwardSession(near), peer: new ForwardPeer(far) };
}

/** A connection and its other end. */
export interface Forwarded {
  readonly connection: ForwardedConnection;
  readonly session: SpdyForwardSession;
  readonly peer: ForwardPeer;
  readonly pair: PeerPair;
}

/** One more connection over a session, accepted with `headers`. */
export async function forwardOver(
  { session, peer }: { readonly session: SpdyForwardSession; readonly peer: ForwardPeer },
  { headers = {}, ...options }: { readonly headers?: Record<string, string>; readonly finDelay?: number } = {},
): Promise<Forwarded> {
  const connection = new ForwardedConnection(session.open(8080), { port: 8080, ...options });
  return { connection, session, peer, pair: await peer.accept(headers) };
}

/** Runs `work` with an accepted connection; ends its session then. */
export async function withForwarded(
  options: { readonly headers?: Record<string, string>; readonly finDelay?: number },
  work: (forwarded: Forwarded) => Promise<void>,
): Promise<void> {
  const ends = withSession();
  try {
    await work(await forwardOver(ends, options));
  } finally {
    ends.peer.close();
    await ends.session.closed.catch(() => {}); // However it ended.
    await ends.peer.gone;
  }
}

/** Everything that a connection gives, as text. */
export async function readText(connection: Pick<ForwardedConnection, "read">): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(4096);
  let text = "";
  for (let n = await connection.read(buffer); n !== null; n = await connection.read(buffer)) {
    text += decoder.decode(buffer.subarray(0, n), { stream: true });
  }
  return text;
}
