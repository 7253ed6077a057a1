/**
 * A relay that listens for streams.
 *
 * @module
 */
import { type Duplex, pause } from "../bytes/mod.ts";
import { acceptTls } from "../dial/mod.ts";
import { type Address, isDatagram } from "./address.ts";
import { listenOn } from "./any_address.ts";
import { openDatagram, peerKey } from "./datagram_socket.ts";
import { RelayError } from "./errors.ts";
import { encodeFrame, FrameReader } from "./frames.ts";
import { filterHttp } from "./http_filter.ts";
import { type IpPort, proxyHeader } from "./proxy_protocol.ts";
import { discard, pump } from "./pump.ts";
import { type RelayStart, type RunningRelay, telling } from "./running.ts";
import { type Session, Sessions } from "./sessions.ts";
import { SocketDuplex } from "./socket_duplex.ts";
import { bindSocket, type SocketFile } from "./socket_file.ts";
import { inRanges } from "./source_ranges.ts";
import { connectTarget, quicken } from "./target.ts";
import type { TlsFiles } from "./tls_files.ts";

/** How many connections may wait to be accepted; the system cuts it to its own limit. */
const BACKLOG = 4096;

/** How long to wait after accepting has failed, as it does without file descriptors, in milliseconds. */
const ACCEPT_PAUSE = 50;

/**
 * How long, in milliseconds, answers to a client's datagrams may come after the end of its stream; and how long a side is listened
 * to for nothing, when the other takes no more: closing at once would reset the connection, and what is under way would be lost.
 */
const LINGER = 2_000;

/** A relay that listens for streams and goes on to streams or datagrams. */
export class StreamRelay implements RunningRelay {
  readonly #start: RelayStart;
  readonly #sessions: Sessions;
  readonly #running = new Set<Promise<void>>();
  #files: TlsFiles;
  #listener: Deno.Listener | undefined;
  #file: SocketFile | undefined;
  #accepting: Promise<void> | undefined;

  /** A relay that does not listen yet. */
  constructor(start: RelayStart) {
    this.#start = start;
    this.#files = start.files;
    const { maxConnections, idleTimeout, target } = start.relay;
    // A flow of datagrams that has been silent is over; that is no error.
    const onIdle = isDatagram(target.address) ? () => {} : () => start.counters.fail("idle");
    this.#sessions = new Sessions(maxConnections, idleTimeout, onIdle);
  }

  /** Connections that are open. */
  get open(): number {
    return this.#sessions.size;
  }

  /** Where it listens, with the port that it got. */
  get listening(): Address | undefined {
    if (!this.#listener) return undefined;
    const { address } = this.#start.relay.listen;
    const { addr } = this.#listener;
    return "port" in address && addr.transport === "tcp" ? { ...address, port: addr.port } : address;
  }

  /** Whether it listens, and its socket's file is still there. */
  async intact(): Promise<boolean> {
    return this.#listener !== undefined && (await this.#file?.intact() ?? true);
  }

  /** Takes certificates that have changed. */
  renew(files: TlsFiles): void {
    this.#files = files;
  }

  /** Listens. */
  async listen(): Promise<void> {
    const { listen } = this.#start.relay;
    if ("path" in listen.address) {
      const bound = await bindSocket(listen.address.path, listen, (path) => Deno.listen({ transport: "unix", path }));
      this.#listener = bound.socket;
      this.#file = bound.file;
    } else {
      this.#listener = await listenOn(listen.address, (options) => Deno.listen({ ...options, tcpBacklog: BACKLOG }));
    }
    this.#accepting = this.#accept(this.#listener);
  }

  /** Stops listening. */
  async stopListening(): Promise<void> {
    const listener = this.#listener;
    this.#listener = undefined;
    listener?.close();
    await this.#accepting;
    await this.#file?.remove();
    this.#file = undefined;
  }

  /** Ends all connections. */
  async endSessions(): Promise<void> {
    this.#sessions.endAll();
    await Promise.all(this.#running);
  }

  async #accept(listener: Deno.Listener): Promise<void> {
    const { counters } = this.#start;
    while (this.#listener === listener) {
      let conn: Deno.Conn;
      try {
        conn = await listener.accept();
      } catch {
        if (this.#listener !== listener) return;
        counters.fail("accept");
        await pause(ACCEPT_PAUSE);
        continue;
      }
      const refused = this.#refuse(conn);
      if (refused) {
        counters.fail(refused);
        conn.close();
        continue;
      }
      counters.connections++;
      const served = this.#serve(conn);
      this.#running.add(served);
      void served.then(() => this.#running.delete(served));
    }
  }

  #refuse({ remoteAddr }: Deno.Conn): "source" | "limit" | undefined {
    const { allowFrom } = this.#start.relay;
    if (allowFrom && !("hostname" in remoteAddr && inRanges(remoteAddr.hostname, allowFrom))) return "source";
    return this.#sessions.full ? "limit" : undefined;
  }

  /** Serves one connection to its end; never fails. */
  async #serve(conn: Deno.Conn): Promise<void> {
    const session = new StreamSession(new SocketDuplex(conn));
    this.#sessions.add(session);
    try {
      await this.#relay(session, conn);
    } catch (error) {
      if (!session.ended) {
        this.#start.counters.fail(error instanceof RelayError && error.reason !== "listen" ? error.reason : "broken");
      }
    } finally {
      this.#sessions.remove(session);
      session.end();
    }
  }

  async #relay(session: StreamSession, conn: Deno.Conn): Promise<void> {
    const { relay, counters } = this.#start;
    const client = relay.listen.tls ? await this.#acceptTls(session) : session.own;
    if ("setNoDelay" in conn) quicken(conn as Deno.TcpConn);
    if (isDatagram(relay.target.address)) return await this.#relayDatagrams(session, client);
    const connect = () => this.#connect(session, conn);
    const out = (bytes: number) => {
      counters.bytesOut += bytes;
      session.touched = performance.now();
    };
    const back = (bytes: number) => {
      counters.bytesBack += bytes;
      session.touched = performance.now();
    };
    if (relay.paths) {
      const fail = counters.fail.bind(counters);
      return await filterHttp({ client, connect, paths: relay.paths, out, back, fail, signal: session.signal });
    }
    const target = await connect();
    await this.#passBoth(session, [client, target, out], [target, client, back]);
  }

  /** Passes on both directions, each to its own end: if one side takes no more, what it says is still passed on. */
  async #passBoth(session: StreamSession, ...directions: Array<Parameters<typeof pump>>): Promise<void> {
    let [ended, broken] = [false, false];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const linger = () => {
      if (broken && ended) timer ??= setTimeout(() => session.end(), LINGER);
    };
    await Promise.all(directions.map(async ([from, to, passed]) => {
      if (!await pump(from, to, passed)) {
        if (!broken && !session.ended) this.#start.counters.fail("broken");
        broken = true;
        linger();
        await discard(from);
      }
      ended = true;
      linger();
    }));
    clearTimeout(timer);
  }

  async #acceptTls(session: StreamSession): Promise<Duplex> {
    const { relay: { listen: { tls }, connectTimeout } } = this.#start;
    const timer = setTimeout(() => session.end(), connectTimeout);
    try {
      const file = (path = "") => this.#files.get(path) ?? "";
      const options = {
        cert: file(tls?.certFile),
        key: file(tls?.keyFile),
        ...(tls?.clientCaFile !== undefined && { clientCa: file(tls.clientCaFile) }),
      };
      const client = await acceptTls(session.own, options, session.signal);
      session.secure = client;
      return client;
    } catch (cause) {
      if (session.ended) this.#start.counters.fail("client_tls");
      throw new RelayError("no TLS with the client", "client_tls", { cause });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Connects to the target for `session`, and says who connected if it is to be told. */
  async #connect(session: StreamSession, conn: Deno.Conn): Promise<Duplex> {
    const { relay, onTarget } = this.#start;
    const attempt = new AbortController();
    session.target = { close: () => attempt.abort() };
    const connect = () => connectTarget(relay.target, this.#files, relay.connectTimeout, attempt);
    const target = await telling(onTarget, connect);
    session.target = target;
    const version = relay.target.proxyProtocol;
    if (version) await target.write(proxyHeader(version, ipPort(conn.remoteAddr), ipPort(conn.localAddr)));
    return target;
  }

  /** Datagrams come and go over the client's stream, each after its length. */
  async #relayDatagrams(session: StreamSession, client: Duplex): Promise<void> {
    const { relay, counters, onTarget } = this.#start;
    const attempt = new AbortController();
    session.target = { close: () => attempt.abort() };
    const options = { timeout: relay.connectTimeout, attempt, onDrop: () => counters.fail("dropped") };
    const { socket, peer } = await telling(onTarget, () => openDatagram(relay.target.address, options));
    session.target = socket;
    const frames = new FrameReader(client);
    const out = async () => {
      for (let data = await frames.next(); data; data = await frames.next()) {
        session.touched = performance.now();
        try {
          await socket.send(data, peer);
          counters.datagramsOut++;
          counters.bytesOut += data.length;
        } catch {
          counters.fail("dropped"); // Nobody is there, or it is too long.
        }
      }
      await pause(LINGER, session.signal);
      session.end();
    };
    const back = async () => {
      const expected = peerKey(peer);
      for (let got = await socket.receive(); got; got = await socket.receive()) {
        if (peerKey(got.from) !== expected) continue; // Not the target: it has no business here.
        session.touched = performance.now();
        await client.write(encodeFrame(got.data));
        counters.datagramsBack++;
        counters.bytesBack += got.data.length;
      }
    };
    await Promise.all([out(), back()]);
  }
}

function ipPort(address: Deno.Addr): IpPort | undefined {
  return address.transport === "tcp" ? address : undefined;
}

/** A connection, and all that is closed with it. */
class StreamSession implements Session {
  touched = performance.now();
  readonly own: Duplex;
  #target: { close(): void } | undefined;
  #secure: Duplex | undefined;
  #ended = false;
  #aborting: AbortController | undefined;

  constructor(own: Duplex) {
    this.own = own;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Aborts when the session ends; made when it is asked for, as most sessions need none, and to abort is dear. */
  get signal(): AbortSignal {
    this.#aborting ??= new AbortController();
    if (this.#ended) this.#aborting.abort();
    return this.#aborting.signal;
  }

  /** Its TLS, which is closed with it. */
  set secure(secure: Duplex) {
    this.#secure = secure;
    if (this.#ended) secure.close();
  }

  /** Its target or the attempt to connect to it, which is closed with it; the one before it is closed already. */
  set target(target: { close(): void }) {
    this.#target = target;
    if (this.#ended) target.close();
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#aborting?.abort();
    this.#target?.close();
    this.#secure?.close();
    this.own.close();
  }
}
