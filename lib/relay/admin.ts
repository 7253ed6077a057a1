/**
 * What an operator and Prometheus ask a process of relays: `/metrics`, `/healthz`, `/readyz`.
 *
 * @module
 */
import { pause, systemText, within } from "../bytes/mod.ts";
import { type Address, formatAddress } from "./address.ts";
import { listenOn } from "./any_address.ts";
import { Counters } from "./counters.ts";
import { RelayError } from "./errors.ts";
import { encodeAnswer, type OwnAnswer } from "./http_answer.ts";
import { BadRequestError, HTTP_DEADLINES, type HttpDeadlines, RequestReader } from "./http_request.ts";
import type { Relays } from "./relays.ts";
import { type Session, Sessions } from "./sessions.ts";
import { SocketDuplex } from "./socket_duplex.ts";
import { bindSocket } from "./socket_file.ts";

/** The endpoint. */
export interface Admin extends AsyncDisposable {
  /** Where it listens, with the port that it got. */
  readonly address: Address;
}

/** The most connections at once: more than any probes and scrapers have. */
const MAX_CONNECTIONS = 64;

/** How long to wait after accepting has failed, as it does without file descriptors, in milliseconds. */
const ACCEPT_PAUSE = 50;

/**
 * Serves the endpoint on `tcp:` or `unix:`; a unix socket is for its owner alone.
 *
 * Not by `Deno.serve`: that ends when there is no file descriptor left, and has no limits.
 *
 * @throws {RelayError} If nobody can listen there.
 */
export async function serveAdmin(
  relays: Relays,
  address: Address,
  deadlines: HttpDeadlines = HTTP_DEADLINES,
): Promise<Admin> {
  if (address.kind === "unix") {
    const { path } = address;
    const { socket, file } = await bindSocket(
      path,
      { mode: 0o600 },
      (path) => Deno.listen({ transport: "unix", path }),
    );
    const server = new AdminServer(relays, socket, deadlines);
    return {
      address,
      [Symbol.asyncDispose]: async () => {
        await server.end();
        await file.remove();
      },
    };
  }
  if (address.kind !== "tcp") {
    throw new RelayError(`the admin endpoint is tcp: or unix:, not ${formatAddress(address)}`, "listen");
  }
  let listener: Deno.TcpListener;
  try {
    const { hostname, port } = address;
    listener = await listenOn(hostname, (hostname) => Deno.listen({ hostname, port }));
  } catch (cause) {
    throw new RelayError(`cannot listen on ${formatAddress(address)}: ${systemText(cause)}`, "listen", { cause });
  }
  const server = new AdminServer(relays, listener, deadlines);
  return {
    address: { ...address, port: listener.addr.port },
    [Symbol.asyncDispose]: () => server.end(),
  };
}

class AdminServer {
  readonly #relays: Relays;
  readonly #listener: Deno.Listener;
  readonly #deadlines: HttpDeadlines;
  readonly #sessions = new Sessions(MAX_CONNECTIONS, 0, () => {});
  readonly #running = new Set<Promise<void>>();
  readonly #ended = new AbortController();
  readonly #accepting: Promise<void>;
  readonly #counters = new Counters();

  constructor(relays: Relays, listener: Deno.Listener, deadlines: HttpDeadlines) {
    this.#relays = relays;
    this.#listener = listener;
    this.#deadlines = deadlines;
    this.#accepting = this.#accept();
  }

  async end(): Promise<void> {
    this.#ended.abort();
    this.#listener.close();
    await this.#accepting;
    this.#sessions.endAll();
    await Promise.all(this.#running);
  }

  async #accept(): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted) {
      let conn: Deno.Conn;
      try {
        conn = await this.#listener.accept();
      } catch {
        if (signal.aborted) return;
        this.#counters.fail("accept");
        await pause(ACCEPT_PAUSE, signal);
        continue;
      }
      // Whoever has been silent for the longest makes room: a probe gets its answer even if others hold connections.
      if (this.#sessions.full && this.#sessions.evict(0)) this.#counters.fail("limit");
      const served = this.#serve(new AdminSession(conn));
      this.#running.add(served);
      void served.then(() => this.#running.delete(served));
    }
  }

  /** Serves one connection to its end; never fails. */
  async #serve(session: AdminSession): Promise<void> {
    this.#sessions.add(session);
    try {
      await this.#answerAll(session);
      await session.client.closeWrite();
    } catch (error) {
      if (!session.ended) this.#counters.fail(error instanceof RelayError ? "idle" : "broken");
    } finally {
      this.#sessions.remove(session);
      session.end();
    }
  }

  async #answerAll(session: AdminSession): Promise<void> {
    const { client } = session;
    const reader = new RequestReader(client, this.#deadlines);
    for (let keepAlive = true; keepAlive;) {
      let [method, answer]: [string, OwnAnswer] = ["", NOT_FOUND];
      try {
        const request = await reader.next();
        if (!request) return;
        ({ method, keepAlive } = request);
        answer = this.#respond(method, request.path);
      } catch (error) {
        if (!(error instanceof BadRequestError)) throw error;
        this.#counters.fail("bad_request");
        answer = { status: [400, "Bad Request"], text: `${error.message}\n` };
        keepAlive = false;
      }
      session.touched = performance.now();
      await within(this.#deadlines.write, client.write(encodeAnswer(answer, method, keepAlive)), () => {
        throw new RelayError("the client takes no answer", "idle");
      });
    }
  }

  #respond(method: string, path: string): OwnAnswer {
    if (method !== "GET" && method !== "HEAD") return NOT_ALLOWED;
    switch (path) {
      case "/metrics":
        return { status: OK, text: this.#metrics(), type: "text/plain; version=0.0.4; charset=utf-8" };
      case "/healthz":
        return HEALTHY;
      case "/readyz": {
        const { failures } = this.#relays;
        if (failures.length === 0) return HEALTHY;
        return { status: [503, "Service Unavailable"], text: `${failures.join("\n")}\n` };
      }
    }
    return NOT_FOUND;
  }

  #metrics(): string {
    const name = "podwire_relay_admin_errors_total";
    const lines = [...this.#counters.errors].map(([reason, count]) => `${name}{reason="${reason}"} ${count}\n`);
    return `${this.#relays.metrics()}# HELP ${name} Connections to this endpoint that did not get through.\n` +
      `# TYPE ${name} counter\n${lines.join("")}`;
  }
}

class AdminSession implements Session {
  readonly client: SocketDuplex;
  touched = performance.now();
  ended = false;

  constructor(conn: Deno.Conn) {
    this.client = new SocketDuplex(conn);
  }

  end(): void {
    this.ended = true;
    this.client.close();
  }
}

const OK = [200, "OK"] as const;
const HEALTHY: OwnAnswer = { status: OK, text: "ok\n" };
const NOT_FOUND: OwnAnswer = { status: [404, "Not Found"], text: "there are /metrics, /healthz and /readyz\n" };
const NOT_ALLOWED: OwnAnswer = { status: [405, "Method Not Allowed"], text: "only GET and HEAD\n" };
