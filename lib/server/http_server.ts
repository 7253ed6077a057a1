/**
 * Connections, their requests one after the other, and an end that lets those under way finish.
 *
 * @module
 */
import { checkDuration, MAX_DELAY, PodwireError, tell } from "../bytes/mod.ts";
import { type HttpLimits, type HttpRequest, HttpRequestError, HttpServerConnection } from "./http.ts";
import type { SocketListener } from "./listener.ts";
import type { SocketDuplex } from "./socket.ts";
import { StatusError } from "./status_error.ts";

/** One request to answer. */
export interface Exchange {
  /** The connection to answer on. */
  readonly connection: HttpServerConnection;
  /** The request. */
  readonly request: HttpRequest;
  /** The client's address, where it has one. */
  readonly client: string | undefined;
  /** Aborts when the server ends at once. */
  readonly signal: AbortSignal;
}

/** Options of an {@linkcode HttpServer}. */
export interface HttpServerOptions {
  /** Connections at a time, at least one; further ones wait. Default 256. */
  readonly maxConnections?: number;
  /** What a request may take. */
  readonly limits?: HttpLimits;
  /**
   * Is told of a bug, podwire's or that of a function it was given, which has ended one connection. Default: it is thrown where nobody
   * catches it, which ends the process.
   */
  readonly onBug?: (error: unknown) => void;
}

/**
 * Serves HTTP to whoever connects to a listener. What goes wrong on one connection ends that connection.
 */
export class HttpServer {
  /** Resolves once no further connection is taken. */
  readonly stopped: Promise<void>;
  /** Resolves once the server has ended: no connection and no socket is left. */
  readonly finished: Promise<void>;
  readonly #listener: SocketListener;
  readonly #answer: (exchange: Exchange) => Promise<void>;
  readonly #open = new Set<OpenConnection>();
  readonly #sessions = new Set<Promise<void>>();
  readonly #ended = new AbortController();
  #draining = false;

  /**
   * Answers requests by `answer`; a {@linkcode StatusError} that it throws is answered as such.
   *
   * @throws {RangeError} If `maxConnections` lets nobody in, or a limit's time is none.
   */
  constructor(
    listener: SocketListener,
    answer: (exchange: Exchange) => Promise<void>,
    options: HttpServerOptions = {},
  ) {
    const { maxConnections = 1, limits: { first = 0, idle = 0, request = 0 } = {} } = options;
    if (!(maxConnections >= 1)) throw new RangeError(`maxConnections: ${maxConnections} would let nobody in`);
    for (const [name, time] of Object.entries({ first, idle, request })) checkDuration(`limits.${name}`, time);
    this.#listener = listener;
    this.#answer = answer;
    const accepting = this.#accept(options);
    this.stopped = accepting.catch(() => {}); // `finished` tells of it.
    this.finished = this.#finish(accepting);
  }

  /** How many connections are open. */
  get connections(): number {
    return this.#open.size;
  }

  /** Whether no further connection is taken. */
  get draining(): boolean {
    return this.#draining;
  }

  /**
   * Ends: takes no further connection and no further request, and gives those under way as many milliseconds. Another call can make
   * that less.
   *
   * @throws {RangeError} If that is no time.
   */
  async drain(milliseconds: number): Promise<void> {
    checkDuration("drain", milliseconds);
    this.#draining = true;
    const timer = setTimeout(() => void this.#end(), Math.min(milliseconds, MAX_DELAY));
    try {
      await this.#listener.close();
      for (const { busy, connection, duplex } of this.#open) {
        if (busy) connection.finish();
        else duplex.close();
      }
      await this.finished;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends at once: drops every connection. */
  async close(): Promise<void> {
    this.#draining = true;
    await this.#listener.close();
    this.#ended.abort(ended());
    for (const { duplex } of this.#open) duplex.close();
    await this.finished;
  }

  /** Tells what is under way to end; what has not by itself a moment later is cut off, such as a client that reads nothing. */
  async #end(): Promise<void> {
    this.#ended.abort(ended());
    const timer = setTimeout(() => {
      for (const { duplex } of this.#open) duplex.close();
    }, LAST_MOMENT);
    await this.finished.catch(() => {}); // Whoever drains it is told.
    clearTimeout(timer);
  }

  async #accept({ maxConnections = 256, limits, onBug }: HttpServerOptions): Promise<void> {
    try {
      for await (const duplex of this.#listener.connections(maxConnections)) {
        const session = this.#serve(duplex, limits).catch((error) => {
          if (!onBug) throw error;
          tell(onBug, error);
        });
        this.#sessions.add(session);
        session.finally(() => this.#sessions.delete(session));
      }
    } finally {
      await this.#listener.close();
    }
  }

  async #finish(accepting: Promise<void>): Promise<void> {
    try {
      await accepting;
    } finally {
      await Promise.all(this.#sessions);
    }
  }

  /** Serves a connection to its end. */
  async #serve(duplex: SocketDuplex, limits: HttpLimits | undefined): Promise<void> {
    const connection = new HttpServerConnection(duplex, limits);
    const open: OpenConnection = { connection, duplex, busy: false };
    this.#open.add(open);
    try {
      for (let request = await connection.next(); request; request = await connection.next()) {
        open.busy = true;
        if (this.#draining) connection.finish();
        try {
          await this.#answer({ connection, request, client: duplex.peer, signal: this.#ended.signal });
        } catch (error) {
          if (!(error instanceof StatusError)) throw error;
          await connection.respond(error.response);
        }
        open.busy = false;
      }
    } catch (error) {
      if (error instanceof HttpRequestError) await refuse(connection, error);
      // Else the client has gone, or the server is ending. What is no error of podwire's is a bug, and is heard of.
      else if (!(error instanceof PodwireError)) throw error;
    } finally {
      duplex.close();
      this.#open.delete(open);
    }
  }
}

interface OpenConnection {
  readonly connection: HttpServerConnection;
  readonly duplex: SocketDuplex;
  busy: boolean;
}

function ended(): PodwireError {
  return new PodwireError("the server has ended");
}

/** How long what is told to end may take, in milliseconds. */
const LAST_MOMENT = 1_000;

/** Answers a request that HTTP itself forbids. */
async function refuse(connection: HttpServerConnection, error: HttpRequestError): Promise<void> {
  try {
    const headers = [["Content-Type", "text/plain; charset=utf-8"]] as const;
    await connection.respond({ status: error.status, headers, body: error.message, close: true });
    await connection.next(); // Until what the client still sends has been read.
  } catch (error) {
    if (!(error instanceof PodwireError)) throw error; // Else the client has gone: it needs no answer.
  }
}
