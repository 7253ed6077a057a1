/**
 * This process's own standard streams, for `stdio: "inherit"`.
 *
 * @module
 */

/**
 * Copies this process's standard input to `sink` until it ends or is stopped. It is
 * cancelled then, so that a pending read does not keep the process alive.
 */
export function readStandardInput(sink: WritableStream<Uint8Array>): { stop(): Promise<void> } {
  const controller = new AbortController();
  const copied = standardStreams().stdin.readable
    .pipeTo(sink, { signal: controller.signal })
    .catch(() => {}); // The session's status says what broke.
  return {
    async stop() {
      controller.abort();
      await copied;
    },
  };
}

/** Copies `readable` to this process's stdout or stderr; resolves when all of it is written. */
export function writeStandardStream(
  name: "stdout" | "stderr",
  readable: ReadableStream<Uint8Array>,
): Promise<void> {
  return readable.pipeTo(standardStreams()[name].writable, { preventClose: true });
}

function standardStreams(): Pick<typeof Deno, "stdin" | "stdout" | "stderr"> {
  if ("Deno" in globalThis) return Deno;
  throw new TypeError('Cannot inherit standard streams outside Deno: use "piped"');
}
