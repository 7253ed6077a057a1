/**
 * The client's side of a stream that passes through a gateway.
 *
 * @module
 */
import { type Duplex, within } from "../bytes/mod.ts";
import type { HeaderFields } from "../dial/mod.ts";
import type { HttpResponse, HttpServerConnection } from "./http.ts";
import type { UpgradableConnection } from "./upgrade.ts";

/** How long a client may take for an answer that is no upgrade, in milliseconds (apimachinery `upgradeaware.go`). */
const ANSWER_TIMEOUT = 10_000;

/** A client's connection that remembers what it was answered with, counts what passes, and can be dropped. */
export class StreamClient implements UpgradableConnection {
  /** The HTTP status of the answer; 0 before there is one. */
  status = 0;
  readonly #connection: HttpServerConnection;
  #duplex: CountingDuplex | undefined;

  /** The client of `connection`. */
  constructor(connection: HttpServerConnection) {
    this.#connection = connection;
  }

  /** Bytes that came from the client behind its request. */
  get bytesIn(): number {
    return this.#duplex?.bytesRead ?? 0;
  }

  /** Bytes that went to the client behind the 101. */
  get bytesOut(): number {
    return this.#duplex?.bytesWritten ?? 0;
  }

  /** Answers the request. A client that does not take the answer is not waited for: its connection ends with it. */
  async respond(response: HttpResponse): Promise<void> {
    this.status = response.status;
    await within(ANSWER_TIMEOUT, this.#connection.respond(response));
  }

  /** Answers with `101 Switching Protocols`. */
  async upgrade(headers: HeaderFields): Promise<Duplex> {
    this.status = 101;
    return this.#duplex = new CountingDuplex(await this.#connection.upgrade(headers));
  }

  /** The body of the request. */
  body(): Promise<Uint8Array> {
    return this.#connection.body();
  }

  /** Drops an upgraded connection. */
  drop(): void {
    this.#duplex?.close();
  }
}

class CountingDuplex implements Duplex {
  bytesRead = 0;
  bytesWritten = 0;
  readonly #duplex: Duplex;

  constructor(duplex: Duplex) {
    this.#duplex = duplex;
  }

  async read(into: Uint8Array): Promise<number | null> {
    const n = await this.#duplex.read(into);
    this.bytesRead += n ?? 0;
    return n;
  }

  async write(data: Uint8Array): Promise<void> {
    const { length } = data; // What is written may change once it is.
    await this.#duplex.write(data);
    this.bytesWritten += length;
  }

  closeWrite(): Promise<void> {
    return this.#duplex.closeWrite();
  }

  close(): void {
    this.#duplex.close();
  }
}
