/**
 * This process's own standard streams, for `stdio: "inherit"`.
 *
 * @module
 */

/** Whether a command ended before its input did: what had been read for it is lost, and stdin is closed. */
let cut = false;

/**
 * Makes sure that standard input can be inherited.
 *
 * @throws {TypeError} If it cannot: outside Deno, while another reads it, or after another left it in the middle.
 */
export function checkStandardInput(): void {
  const { stdin } = standardStreams();
  if (cut) throw new TypeError('Cannot inherit stdin: a command that had it ended before its input did; use "piped"');
  if (stdin.readable.locked) throw new TypeError('Cannot inherit stdin: somebody else reads it; use "piped"');
}

/**
 * Makes sure that stdout and stderr can be inherited.
 *
 * @throws {TypeError} If they cannot: outside Deno.
 */
export function checkStandardOutput(): void {
  standardStreams();
}

/**
 * Copies this process's standard input to `sink` until it ends or is stopped. It is
 * cancelled then, so that a pending read does not keep the process alive.
 */
export function readStandardInput(sink: WritableStream<Uint8Array>): { stop(): Promise<void> } {
  checkStandardInput();
  const controller = new AbortController();
  const copied = standardStreams().stdin.readable
    .pipeTo(sink, { signal: controller.signal })
    .catch(() => {
      cut = true; // The session's status says what broke.
    });
  return {
    async stop() {
      controller.abort();
      await copied;
    },
  };
}

/** Copies `readable` to this process's stdout or stderr, which others may write to too; resolves when all of it is written. */
export async function writeStandardStream(
  name: "stdout" | "stderr",
  readable: ReadableStream<Uint8Array>,
): Promise<void> {
  const stream = standardStreams()[name];
  for await (const chunk of readable) {
    for (let written = 0; written < chunk.length;) written += await stream.write(chunk.subarray(written));
  }
}

function standardStreams(): Pick<typeof Deno, "stdin" | "stdout" | "stderr"> {
  if ("Deno" in globalThis) return Deno;
  throw new TypeError('Cannot inherit standard streams outside Deno: use "piped"');
}
