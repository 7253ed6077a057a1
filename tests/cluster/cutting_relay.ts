/**
 * A TCP relay to an API server whose connections can be cut, or left open without a word.
 *
 * @module
 */
import { connect, createServer, type Socket } from "node:net";

/** Listens on loopback, outside of the cluster's network namespace. */
export class CuttingRelay implements AsyncDisposable {
  readonly #server;
  readonly #pairs = new Set<readonly [near: Socket, far: Socket]>();
  #closed = 0;

  private constructor(target: string) {
    this.#server = createServer({ noDelay: true }, (near) => {
      const far = connect(target);
      const pair = [near, far] as const;
      this.#pairs.add(pair);
      for (const [from, to] of [pair, [far, near] as const]) {
        from.pipe(to);
        from.on("error", () => {}); // "close" follows.
        from.on("close", () => {
          to.destroy();
          if (this.#pairs.delete(pair)) this.#closed++;
        });
      }
    });
  }

  /** Starts one that leads to a unix socket. */
  static async start(target: string): Promise<CuttingRelay> {
    const relay = new CuttingRelay(target);
    await new Promise<void>((resolve) => relay.#server.listen(0, "127.0.0.1", resolve));
    return relay;
  }

  /** The URL to use instead of the API server's. */
  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the relay does not listen");
    return `https://127.0.0.1:${address.port}`;
  }

  /** How many connections there are. */
  get connections(): number {
    return this.#pairs.size;
  }

  /** How many connections have ended so far. */
  get ended(): number {
    return this.#closed;
  }

  /** Cuts all connections: with a reset, or with an end in the middle of whatever there was. */
  cut(how: "reset" | "end"): void {
    for (const [near, far] of this.#pairs) {
      if (how === "reset") near.resetAndDestroy();
      else near.destroy();
      far.destroy();
    }
  }

  /** From now on the connections that there are pass nothing on, and stay open. */
  swallow(): void {
    for (const [near, far] of this.#pairs) {
      near.unpipe(far).resume();
      far.unpipe(near).resume();
    }
  }

  /** Ends everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.cut("end");
    await closed;
  }
}
