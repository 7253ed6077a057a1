/**
 * Programs that the tests build for themselves, in the cache. Their tools notice when nothing changed.
 *
 * @module
 */
import { assert } from "@std/assert";

/** Where built programs stay. */
export const CACHE: string = `${Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`}/podwire`;

/** Builds the Go package in `folder` as `name`, and returns the program's path. */
export async function buildGo(name: string, folder: URL, options: {
  /** More arguments. */
  readonly args?: readonly string[];
  readonly env?: Record<string, string>;
} = {}): Promise<string> {
  const { args = [], env = {} } = options;
  const path = `${CACHE}/${name}`;
  const needed = "Go: install Debian's golang-go or put go on the PATH";
  await build("go", ["build", ...args, "-o", path, "."], { cwd: folder, env }, needed);
  return path;
}

/** Runs a program that builds another; `needed` says what is missing when there is none. */
export async function build(
  program: string,
  args: string[],
  options: Deno.CommandOptions,
  needed: string,
): Promise<void> {
  try {
    const { success } = await new Deno.Command(program, { ...options, args, stdout: "null", stderr: "inherit" })
      .output();
    assert(success, `${program} failed: see above`);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new Error(`this test needs ${needed}`, { cause });
  }
}
