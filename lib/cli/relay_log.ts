/**
 * The relay's log, which nothing waits for.
 *
 * @module
 */
import { Lines } from "./lines.ts";
import type { ByteSink } from "./standard_streams.ts";

/** A log to `sink`: a reader that stalls (a full pipe, a stopped terminal) loses lines, is told how many, and stalls nothing. */
export function openRelayLog(sink: ByteSink): Lines {
  const log: Lines = new Lines(sink, {
    onLost: (lost) => log.print(`${lost} ${lost === 1 ? "line is" : "lines are"} missing here: the log was not read`),
  });
  return log;
}
