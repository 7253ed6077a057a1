/**
 * A full run from the command line, in tenths: memory must not grow with the number of inputs.
 *
 * @module
 */
import { assert } from "@std/assert";

/** What became of the inputs. */
export interface Tally {
  /** Decoded to their end. */
  whole: number;
  /** Ended in an error of the protocol. */
  refused: number;
  /** What was decoded: frames, messages, streams. */
  events: number;
}

/** Runs `fuzz` as the arguments `[inputs] [seed]` say, and prints what became of the inputs. */
export async function runInTenths(fuzz: (count: number, seed: number) => Tally | Promise<Tally>): Promise<void> {
  const count = Number(Deno.args[0] ?? 20_000);
  const seed = Number(Deno.args[1] ?? 1);
  const start = performance.now();
  const total: Tally = { whole: 0, refused: 0, events: 0 };
  const resident: number[] = [];
  const step = Math.ceil(count / 10);
  for (let done = 0; done < count; done += step) {
    const { whole, refused, events } = await fuzz(Math.min(step, count - done), seed + done);
    total.whole += whole;
    total.refused += refused;
    total.events += events;
    resident.push(Deno.memoryUsage().rss / 2 ** 20);
  }
  const seconds = (performance.now() - start) / 1000;
  const line = `${count} inputs from seed ${seed}: ${total.whole} whole, ${total.refused} refused, ` +
    `${total.events} events; ${seconds.toFixed(1)} s; MiB resident after each tenth: ` +
    `${resident.map((mib) => mib.toFixed(0)).join(" ")}\n`;
  Deno.stdout.writeSync(new TextEncoder().encode(line));
  // The garbage of the first tenths has reached its level by then.
  assert(resident.at(-1)! < 128 + 1.5 * resident[2]!, "memory grows with the number of inputs");
}
