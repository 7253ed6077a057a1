/**
 * Asks a node's container runtime, as its kubelet does, for the URL of a stream (CRI: `runtime.v1.RuntimeService` over gRPC). Such a URL is good
 * for one request within a minute.
 *
 * @module
 */
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";

/** A container runtime. */
export class ContainerRuntime {
  readonly #socket: string;

  /** The runtime behind a unix socket. */
  constructor(socket: string) {
    this.#socket = socket;
  }

  /** A URL that runs a command in a container. */
  async exec(container: string, command: readonly string[], streams: Streams): Promise<URL> {
    const { stdin, stdout, stderr, tty } = streams;
    const flags = [tty, stdin, stdout, stderr].map((flag, i) => number(3 + i, Number(flag)));
    return await this.#url("Exec", [text(1, container), ...command.map((word) => text(2, word)), ...flags]);
  }

  /** A URL that attaches to a container's main process. */
  async attach(container: string, { stdin, stdout, stderr, tty }: Streams): Promise<URL> {
    const flags = [stdin, tty, stdout, stderr].map((flag, i) => number(2 + i, Number(flag)));
    return await this.#url("Attach", [text(1, container), ...flags]);
  }

  /** A URL that leads to the ports of the pod that a container belongs to. */
  async portForward(container: string): Promise<URL> {
    const filter = field(1, text(1, container));
    const [found] = fields(await this.#call("ListContainers", filter), 1);
    const [sandbox] = fields(found ?? new Uint8Array(), 2);
    return await this.#url("PortForward", [text(1, new TextDecoder().decode(sandbox))]);
  }

  async #url(method: string, message: readonly number[][]): Promise<URL> {
    const [url] = fields(await this.#call(method, message.flat()), 1);
    return new URL(new TextDecoder().decode(url));
  }

  /** One gRPC call: a message of five bytes of head and the rest, in each direction. */
  async #call(method: string, message: readonly number[]): Promise<Uint8Array> {
    const session = connectHttp2("http://localhost", { createConnection: () => connect(this.#socket) });
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    session.on("error", reject);
    const stream = session.request({
      ":method": "POST",
      ":path": `/runtime.v1.RuntimeService/${method}`,
      "content-type": "application/grpc",
      "te": "trailers",
    });
    const parts: Uint8Array[] = [];
    stream.on("data", (part: Uint8Array) => parts.push(part));
    stream.on("trailers", (trailers: Readonly<Record<string, unknown>>) => {
      if (trailers["grpc-status"] !== "0") reject(new Error(`${method}: ${trailers["grpc-message"]}`));
    });
    stream.on("error", reject);
    stream.on(
      "end",
      async () => resolve(new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer()).subarray(5)),
    );
    const head = new Uint8Array(5);
    new DataView(head.buffer).setUint32(1, message.length);
    stream.end(Uint8Array.of(...head, ...message));
    try {
      return await promise;
    } finally {
      session.destroy();
    }
  }
}

/** Which streams a command has. */
export interface Streams {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** A length-delimited field of a protocol buffer. */
function field(tag: number, bytes: Iterable<number>): number[] {
  const content = [...bytes];
  return [tag << 3 | 2, ...varint(content.length), ...content];
}

function text(tag: number, value: string): number[] {
  return field(tag, new TextEncoder().encode(value));
}

function number(tag: number, value: number): number[] {
  return [tag << 3, ...varint(value)];
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [value % 128 | 128, ...varint(Math.floor(value / 128))];
}

/** The values of a length-delimited field. */
function fields(message: Uint8Array, tag: number): Uint8Array[] {
  const found: Uint8Array[] = [];
  let at = 0;
  const next = () => {
    let value = 0;
    for (let scale = 1;; scale *= 128) {
      const byte = message[at++];
      if (byte === undefined) throw new Error("the message is cut short");
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = next();
    const value = next(); // Of a number the value, else the length: the answers have no other kinds.
    if ((key & 7) === 0) continue;
    if (key >> 3 === tag) found.push(message.subarray(at, at + value));
    at += value;
  }
  return found;
}
