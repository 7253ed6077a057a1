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
  const names = await naming(
    path,
    async () => (await Deno.stat(path)).isDirectory ? await listFolder(path) : undefined,
  );
  if (!names) return [await naming(path, () => readFile(path))];
  const files = names.map((name) => `${path.replace(/\/$/, "")}/${name}`);
  return await Promise.all(files.map((file) => naming(file, () => readFile(file))));
}

/** Does `work`, and names `path` if it fails: of a folder's files one alone may be a link that leads nowhere. */
async function naming<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof PodwireError) throw cause;
    throw new PodwireError(`cannot read the configuration ${path}: ${systemText(cause)}`, { cause });
  }
}

async function listFolder(path: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(path)) if (COUNTS.test(name)) names.push(name);
  return names.sort();
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
 * @param again Whether to yield it although it is the same as before.
 */
export async function* watchConfigFiles(
  path: string,
  last: readonly ConfigFile[],
  signal: AbortSignal,
  again: () => boolean = () => false,
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
    if (!settled || (text === known && !again())) continue;
    known = text;
    yield now;
  }
}
