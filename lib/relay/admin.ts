/**
 * What an operator and Prometheus ask a process of relays: `/metrics`, `/healthz`, `/readyz`.
 *
 * @module
 */
import { pause, within } from "../bytes/mod.ts";
import { type Address, formatAddress } from "./address.ts";
import { listenOn } from "./any_address.ts";
import { Counters } from "./counters.ts";
import { RelayError } from "./errors.ts";
import { encodeAnswer, type OwnAnswer } from "./http_answer.ts";
import { BadRequestError, HTTP_DEADLINES, type HttpDeadlines, RequestReader } from "./http_request.ts";
import type { Relays } from "./relays.ts";
import { type Session, Sessions } from "./sessions.ts";
import { SocketDuplex } from "./socket_duplex.ts";
import { bindSocket, NO_FILE, type SocketFile } from "./socket_file.ts";

/** The endpoint. */
export interface Admin extends AsyncDisposable {
  /** Where it listens, with the port that it got. */
  readonly address: Address;
}

/** The most connections at once: more than any probes and scrapers have. */
const MAX_CONNECTIONS = 64;

/** How often the socket's file is looked after, in milliseconds. */
const CARE = 1_000;

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
  if (address.kind !== "tcp" && address.kind !== "unix") {
    throw new RelayError(`the admin endpoint is tcp: or unix:, not ${formatAddress(address)}`, "listen");
  }
  const bind = () => "path" in address ? bindUnix(address.path) : bindTcp(address);
  const bound = await bind();
  const { addr } = bound.socket;
  const server = new AdminServer(relays, bound, bind, deadlines);
  return {
    address: "port" in address && addr.transport === "tcp" ? { ...address, port: addr.port } : address,
    [Symbol.asyncDispose]: () => server.end(),
  };
}

/** A listener, and its file. */
interface Bound {
  readonly socket: Deno.Listener;
  readonly file: SocketFile;
}

function bindUnix(path: string): Promise<Bound> {
  return bindSocket(path, { mode: 0o600 }, (path) => Deno.listen({ transport: "unix", path }));
}

async function bindTcp(address: Extract<Address, { readonly port: number }>): Promise<Bound> {
  return { socket: await listenOn(address, (options) => Deno.listen(options)), file: NO_FILE };
}

class AdminServer {
  readonly #relays: Relays;
  #bound: Bound;
  readonly #deadlines: HttpDeadlines;
  readonly #sessions = new Sessions(MAX_CONNECTIONS, 0, () => {});
  readonly #running = new Set<Promise<void>>();
  readonly #ended = new AbortController();
  readonly #caring: Promise<void>;
  readonly #accepting: Promise<void>;
  readonly #counters = new Counters();

  constructor(relays: Relays, bound: Bound, bind: () => Promise<Bound>, deadlines: HttpDeadlines) {
    this.#relays = relays;
    this.#bound = bound;
    this.#deadlines = deadlines;
    this.#caring = bound.file === NO_FILE ? Promise.resolve() : this.#care(bind);
    this.#accepting = this.#accept();
  }

  async end(): Promise<void> {
    this.#ended.abort();
    await this.#caring;
    this.#bound.socket.close();
    await this.#accepting;
    await this.#bound.file.remove();
    this.#sessions.endAll();
    await Promise.all(this.#running);
  }

  /** Listens anew where the socket's file is gone, as relays do: the cluster's half asks the node's by it for its health. */
  async #care(bind: () => Promise<Bound>): Promise<void> {
    const { signal } = this.#ended;
    for (;;) {
      await pause(CARE, signal);
      if (signal.aborted) return;
      if (await this.#bound.file.intact()) continue;
      try {
        const lost = this.#bound.socket;
        this.#bound = await bind();
        lost.close();
      } catch {
        this.#counters.fail("accept"); // Something else is there, or the folder has gone too.
      }
    }
  }

  async #accept(): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted) {
      let conn: Deno.Conn;
      const { socket } = this.#bound;
      try {
        conn = await socket.accept();
      } catch {
        if (signal.aborted) return;
        if (socket !== this.#bound.socket) continue;
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
