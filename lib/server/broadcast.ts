/**
 * One output of a process, for everybody who is attached.
 *
 * @module
 */
import { ByteQueue } from "../bytes/mod.ts";

/** One output, for everybody who is there: the slowest holds it up, as in Kubernetes. */
export class Broadcast {
  /** With each, its write under way. */
  readonly #members = new Map<ByteQueue, Promise<void> | void>();
  #ended = false;

  /** A queue that gets what comes from now on. */
  join(): ByteQueue {
    const queue = new ByteQueue();
    if (this.#ended) queue.close();
    else this.#members.set(queue, undefined);
    return queue;
  }

  /** Ends the queue, which gets nothing more but what is being written to it. */
  leave(member: ByteQueue | undefined): void {
    if (!member) return;
    const writing = this.#members.get(member);
    if (!this.#members.delete(member)) return;
    if (writing) void writing.then(() => member.close());
    else member.close();
  }

  /** Reads `output` to its end; `log` hears it first. */
  async pump(output: AsyncIterable<Uint8Array> | undefined, log: (data: Uint8Array) => void): Promise<void> {
    for await (const data of output ?? []) {
      log(data);
      for (const member of this.#members.keys()) this.#members.set(member, member.write(data.slice()));
      await Promise.all(this.#members.values());
      for (const member of this.#members.keys()) this.#members.set(member, undefined);
    }
    this.#ended = true;
    for (const member of this.#members.keys()) this.leave(member);
  }
}
