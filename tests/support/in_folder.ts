/**
 * A folder of a test's own.
 *
 * @module
 */

/** Runs `use` with a new folder, and removes it with all that is in it. */
export async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "podwire-" });
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
