/**
 * Port-forward from one wire to another: SPDY/3.1 goes as it is into a WebSocket or out of one, channels become its streams.
 *
 * @module
 */
import { type Duplex, PodwireError } from "../bytes/mod.ts";
import { SpdyForwardSession } from "../client/mod.ts";
import type { MessageSocket } from "../websocket/mod.ts";
import { joinDuplexes } from "./pass_through.ts";
import { servePortForwardChannels } from "./port_forward_channels.ts";

/** How long a tunnel stays after one side has ended, in milliseconds: what is on its way arrives, and there is no half-close. */
const LINGER = 1_000;

/**
 * Carries the SPDY frames of a port-forward between a client and an upstream, at least one of which has them in a
 * WebSocket (apiserver `pkg/util/proxy/streamtunnel.go`). A GOAWAY from either is the end; Kubernetes' tunnel waits for the
 * client's next frame then.
 *
 * @throws What broke a connection first.
 */
export async function tunnel(client: Duplex, upstream: Duplex, signal: AbortSignal): Promise<void> {
  const [fromClient, fromUpstream] = [new GoAwayWatch(), new GoAwayWatch()];
  await joinDuplexes(client, upstream, {
    signal,
    linger: LINGER,
    isLast: { fromClient: (bytes) => fromClient.see(bytes), fromUpstream: (bytes) => fromUpstream.see(bytes) },
  });
}

/**
 * Forwards a WebSocket's channels over SPDY/3.1.
 *
 * @param spdy What the upstream has upgraded.
 */
export async function forwardChannels(
  socket: MessageSocket,
  ports: readonly number[],
  spdy: Duplex,
  signal: AbortSignal,
): Promise<void> {
  const session = new SpdyForwardSession(spdy);
  const abort = () => {
    session.close(signal.reason);
    socket.abort(signal.reason);
  };
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    await servePortForwardChannels(socket, ports, async (port) => {
      const pair = session.open(port);
      await pair.opened;
      return {
        duplex: {
          read: (into) => pair.incoming.read(into),
          write: (data) => pair.write(data),
          closeWrite: () => pair.closeWrite(),
          close: () => pair.close(),
        },
        verdict: async (broken) => await pair.verdict.catch(() => "") || (broken?.message ?? ""),
      };
    });
  } finally {
    signal.removeEventListener("abort", abort);
    session.close(new PodwireError("the client is gone"));
    await session.closed.catch(() => {}); // The connections have told how it ended.
  }
}

/** Looks for a GOAWAY frame among bytes that come in any pieces (SPDY draft 3.1 section 2.6.6). */
class GoAwayWatch {
  readonly #head = new Uint8Array(HEAD_SIZE);
  #headSize = 0;
  /** What is left of the frame's payload, in bytes. */
  #left = 0;
  #found = false;

  /** Whether a whole GOAWAY has passed with `bytes`. */
  see(bytes: Uint8Array): boolean {
    for (let at = 0; at < bytes.length;) {
      if (this.#left > 0) {
        const n = Math.min(this.#left, bytes.length - at);
        this.#left -= n;
        at += n;
      } else {
        this.#head[this.#headSize++] = bytes[at++]!;
        if (this.#headSize === HEAD_SIZE) this.#readHead();
      }
      if (this.#found && this.#left === 0) return true;
    }
    return false;
  }

  #readHead(): void {
    const view = new DataView(this.#head.buffer);
    this.#headSize = 0;
    this.#left = view.getUint32(4) & 0xff_ffff;
    this.#found = (this.#head[0]! & CONTROL) !== 0 && view.getUint16(2) === GOAWAY;
  }
}

/** Every frame begins with so many bytes: its kind or stream, flags, and the length of the rest. */
const HEAD_SIZE = 8;
const CONTROL = 0x80;
const GOAWAY = 7;
