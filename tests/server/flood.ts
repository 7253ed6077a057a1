/**
 * A command that writes much, and tells how far it got.
 *
 * @module
 */

/** Writes 64 MiB to its stdout, and for each MiB that it got rid of one byte to the file at `log`. */
export function floods(log: string): string[] {
  return ["sh", "-c", `for i in $(seq 64); do head -c 1048576 /dev/zero; printf . >> ${log}; done`];
}
