/**
 * Where a configuration lies: one file, or a folder such as a mounted ConfigMap.
 *
 * @module
 */
import { pause, PodwireError, systemText } from "../bytes/mod.ts";
import type { ConfigFile } from "./parse_config.ts";

/** Which files of a folder count. What begins with a dot does not: a ConfigMap's `..data` is reached by its links. */
const COUNTS = /^[^.].*\.(ya?ml|json)$/;

/** More than this is no configuration of relays, in bytes; a ConfigMap holds 1 MiB. */
const MAX_FILE = 4 * 1024 * 1024;

/**
 * Reads the configuration's files, in the order of their names.
 *
 * @throws {PodwireError} If the path or one of the files cannot be read, or a file is too large.
 */
export async function readConfigFiles(path: string): Promise<ConfigFile[]> {
  try {
    return await readAll(path);
  } catch (cause) {
    if (cause instanceof PodwireError) throw cause;
    throw new PodwireError(`cannot read the configuration ${path}: ${systemText(cause)}`, { cause });
  }
}

async function readAll(path: string): Promise<ConfigFile[]> {
  if (!(await Deno.stat(path)).isDirectory) return [await readFile(path)];
  const names: string[] = [];
  for await (const { name } of Deno.readDir(path)) if (COUNTS.test(name)) names.push(name);
  return await Promise.all(names.sort().map((name) => readFile(`${path.replace(/\/$/, "")}/${name}`)));
}

async function readFile(file: string): Promise<ConfigFile> {
  const { size } = await Deno.stat(file);
  if (size > MAX_FILE) {
    throw new PodwireError(
      `${file}: ${size} bytes are too many for a configuration of relays, which has ${MAX_FILE} at most`,
    );
  }
  return { file, text: await Deno.readTextFile(file) };
}

/** How often a configuration is looked at, in milliseconds. */
const INTERVAL = 500;

/**
 * Yields the configuration whenever it has changed and is at rest: a file that is being written looks the same twice only when it
 * is whole. It compares what the files say, so it sees every way of changing them (a ConfigMap swaps a link), and no way of doing
 * so escapes it, as some do a file system's notices.
 *
 * @param last What was read before.
 */
export async function* watchConfigFiles(
  path: string,
  last: readonly ConfigFile[],
  signal: AbortSignal,
): AsyncGenerator<ConfigFile[] | Error> {
  let known = JSON.stringify(last);
  let seen = known;
  for (;;) {
    await pause(INTERVAL, signal);
    if (signal.aborted) return;
    const now = await readConfigFiles(path).catch((error: Error) => error);
    const text = now instanceof Error ? now.message : JSON.stringify(now);
    const settled = text === seen;
    seen = text;
    if (!settled || text === known) continue;
    known = text;
    yield now;
  }
}
