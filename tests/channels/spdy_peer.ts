/**
 * A SPDY/3.1 server of exec that says just what a test tells it to, frame by frame, by the SPDY draft and without any code of podwire's.
 *
 * @module
 */
import { concat } from "../../lib/bytes/mod.ts";
import { parseSpdy, type SpdyFrame, SpdyType } from "../captures/spdy_recording.ts";

/** What carries the bytes. */
export interface PeerTransport {
  /** The next bytes, or `undefined` at the end. */
  read(): Promise<Uint8Array | undefined>;
  /** Writes all of them. */
  write(data: Uint8Array): Promise<void>;
}

/** The header blocks of empty replies as moby/spdystream sends them: the first one, and every later one. */
const FIRST_BLOCK = "78f9e3c6a7c26260606000000000ffff";
const NEXT_BLOCK = "026100000000ffff";

/** A DATA frame. */
export function dataFrame(id: number, data: string | Uint8Array, fin = false): Uint8Array {
  const body = typeof data === "string" ? new TextEncoder().encode(data) : data;
  return concat([words(id, (fin ? 0x0100_0000 : 0) | body.length), body]);
}

/** A RST_STREAM frame; CANCEL without a status. */
export function resetFrame(id: number, status = 5): Uint8Array {
  return words(0x8003_0003, 8, id, status);
}

/** A GOAWAY frame. */
export function goAwayFrame(last: number, status = 0): Uint8Array {
  return words(0x8003_0007, 8, last, status);
}

/** A PING frame. */
export function pingFrame(id: number): Uint8Array {
  return words(0x8003_0006, 4, id);
}

function words(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  values.forEach((value, i) => new DataView(bytes.buffer).setUint32(4 * i, value));
  return bytes;
}

/** The server's end. */
export class SpdyPeer {
  readonly #transport: PeerTransport;
  readonly #received: Uint8Array[] = [];
  #ended = false;
  #replies = 0;

  constructor(transport: PeerTransport) {
    this.#transport = transport;
  }

  /** All frames of the client so far. */
  get frames(): SpdyFrame[] {
    return parseSpdy(concat(this.#received));
  }

  /** Reads until `enough` holds of the client's frames, or the client has ended; gives the frames. */
  async until(enough: (frames: SpdyFrame[]) => boolean): Promise<SpdyFrame[]> {
    while (!this.#ended && !enough(this.frames)) {
      const bytes = await this.#transport.read();
      if (bytes) this.#received.push(bytes);
      else this.#ended = true;
    }
    return this.frames;
  }

  /** Reads until the client has opened so many streams; gives their ids by type. */
  async opened(count: number): Promise<Record<string, number>> {
    const isOpen = ({ type }: SpdyFrame) => type === SpdyType.SYN_STREAM;
    const frames = await this.until((frames) => frames.filter(isOpen).length >= count);
    return Object.fromEntries(frames.filter(isOpen).map(({ id, headers }) => [headers.streamtype, id]));
  }

  /** Waits for the client's streams, and accepts them. */
  async accept(count: number): Promise<Record<string, number>> {
    const ids = await this.opened(count);
    await this.write(...Object.values(ids).map((id) => this.reply(id)));
    return ids;
  }

  /** The next SYN_REPLY frame. */
  reply(id: number): Uint8Array {
    const block = Uint8Array.fromHex(this.#replies++ === 0 ? FIRST_BLOCK : NEXT_BLOCK);
    return concat([words(0x8003_0002, 4 + block.length, id), block]);
  }

  /** Writes frames, all at once. */
  write(...frames: Uint8Array[]): Promise<void> {
    return this.#transport.write(concat(frames));
  }
}
