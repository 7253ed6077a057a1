/**
 * Listening on a unix socket or a loopback port.
 *
 * @module
 */
import { pause, systemText } from "../bytes/mod.ts";
import { bindWithMode, cannotListen, formatAddress, freePath, ListenError, removeSocket } from "../dial/mod.ts";
import { SocketDuplex } from "./socket.ts";

/** Where to listen. */
export type ListenAddress =
  | { readonly transport: "unix"; readonly path: string }
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number };

/** Where a server's options say to listen: a port is one of 127.0.0.1 unless they name another address. */
export function listenAddress(
  listen: { readonly path: string } | { readonly port: number; readonly hostname?: string },
): ListenAddress {
  return "path" in listen
    ? { transport: "unix", path: listen.path }
    : { transport: "tcp", hostname: "127.0.0.1", ...listen };
}

/** What a server shows its clients over TLS. */
export interface ServerCertificate {
  /** The certificate chain, PEM. */
  readonly cert: string;
  /** The private key, PEM. */
  readonly key: string;
}

/** A listening socket that hands out {@linkcode SocketDuplex} connections. */
export class SocketListener {
  /** Where it listens, with the port that it got. */
  readonly address: ListenAddress;
  readonly #listener: Deno.Listener<Deno.Conn<Deno.Addr>, Deno.Addr>;
  #wake: (() => void) | undefined;
  #closed = false;

  private constructor(listener: Deno.Listener<Deno.Conn<Deno.Addr>, Deno.Addr>, address: ListenAddress) {
    this.#listener = listener;
    this.address = address;
  }

  /**
   * Listens.
   *
   * A unix socket is for its owner alone, mode 0600 from its first moment. One that is left from before is
   * removed, but only when nobody answers on it. An abstract one (an empty path, or one that begins with NUL) is refused:
   * it has no file mode, so anybody could open it.
   *
   * @param certificate Speaks TLS with it, over TCP, which may then be that of any address: what is said there can be kept secret.
   * @throws {ListenError} If the address is in use, is none of the loopback, is an abstract socket, or cannot be had.
   */
  static async listen(address: ListenAddress, certificate?: ServerCertificate): Promise<SocketListener> {
    if (address.transport === "unix") {
      if (address.path === "" || address.path.includes("\0")) {
        const path = JSON.stringify(address.path);
        const why = "a unix socket needs a path, for example /run/user/1000/podwire.sock";
        throw new ListenError(`cannot listen on ${path}: ${why}`, address, "EINVAL");
      }
      await freePath(address.path);
      const bind = (path: string) => Deno.listen({ transport: "unix", path });
      return new SocketListener(await orExplain(address, () => bindWithMode(address.path, 0o600, bind)), address);
    }
    const { hostname, port } = address;
    if (!certificate && !isLoopback(hostname)) {
      throw new ListenError(
        `cannot listen on ${hostname}: it is not an address of this machine's loopback (127.0.0.1, ::1, localhost), ` +
          "and whoever reaches it from elsewhere could do what you can",
        address,
        "EACCES",
      );
    }
    const listener = await orExplain(
      address,
      () =>
        certificate
          ? Deno.listenTls({ hostname, port, ...certificate, alpnProtocols: ["http/1.1"] })
          : Deno.listen({ hostname, port }),
    );
    return new SocketListener(listener, { ...address, port: listener.addr.port });
  }

  /** Accepts connections until {@linkcode SocketListener.close}, at most `limit` open at a time: further ones wait. */
  async *connections(limit: number): AsyncGenerator<SocketDuplex> {
    let open = 0;
    const release = () => {
      open--;
      this.#wake?.();
    };
    while (!this.#closed) {
      if (open >= limit) {
        await new Promise<void>((resolve) => this.#wake = resolve);
        continue;
      }
      let connection: Deno.Conn<Deno.Addr>;
      try {
        connection = await this.#listener.accept();
      } catch (error) {
        if (this.#closed) return;
        if (error instanceof Deno.errors.ConnectionAborted || error instanceof Deno.errors.ConnectionReset) continue;
        if (["EMFILE", "ENFILE"].includes((error as { code?: string }).code ?? "")) {
          await pause(EXHAUSTED_PAUSE); // Others' ends make room.
          continue;
        }
        const what = `cannot accept connections on ${formatAddress(this.address)} any more: ${systemText(error)}`;
        throw new ListenError(what, this.address, (error as { code?: string }).code ?? "", { cause: error });
      }
      open++;
      yield new SocketDuplex(connection, "the client's connection broke", release);
    }
  }

  /** Stops listening, and removes a unix socket. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener.close();
    this.#wake?.();
    if (this.address.transport === "unix") await removeSocket(this.address.path);
  }
}

/** How long no connection is taken when the process, or the machine, has no file descriptor left, in milliseconds. */
const EXHAUSTED_PAUSE = 100;

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "::1" || /^127(\.\d{1,3}){3}$/.test(hostname);
}

async function orExplain<T>(address: ListenAddress, listen: () => T | Promise<T>): Promise<T> {
  try {
    return await listen();
  } catch (cause) {
    throw cannotListen(address, cause);
  }
}
