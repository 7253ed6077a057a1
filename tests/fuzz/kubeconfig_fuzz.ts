/**
 * Damaged kubeconfigs: `deno run -A tests/fuzz/kubeconfig_fuzz.ts [COUNT [SEED]]`.
 *
 * Whatever the text, the loader gives an access or a ConfigError, soon, and keeps nothing.
 *
 * @module
 */
import { ConfigError, CredentialsError, loadAccess } from "../../lib/kubeconfig/mod.ts";
import { FakeHost } from "../kubeconfig/fake_host.ts";

const DATA = new URL("../kubeconfig/testdata/", import.meta.url);

/** No input may take longer, in milliseconds. */
const SLOW = 1000;
/** Of memory that stays between inputs, in bytes. */
const GROWTH = 16 * 1024 * 1024;

/** What breaks parsers: YAML's own signs, and values of other types. */
const PIECES = [
  ..."&*!|>%@`\"'#{}[],?:-~\t\r\n\0\u0001\u0085\u2028\ufeff",
  ..."&a |*a |!!binary |!!str |!<x> |<<: |<<: *a |- |? |: |---\n|...\n|%YAML 1.2\n|{}|[]|null|5|1e999|yes|\\x|\\u12|  "
    .split("|"),
  ..."name|cluster|server|user|exec|extensions|__proto__|constructor|as-user-extra|https://|http://a@b:c|@|~/".split(
    "|",
  ),
  "[".repeat(200),
  "x".repeat(5000),
  "{a: ".repeat(150),
];

/** What a run found out. */
export interface FuzzResult {
  /** How many inputs gave an access. */
  readonly accepted: number;
  /** How many gave an error of ours. */
  readonly refused: number;
  /** The longest time for one input, in milliseconds. */
  readonly slowest: number;
}

/**
 * Loads `count` damaged files.
 *
 * @throws {Error} with the seed and the text, when one breaks the loader.
 */
export async function fuzzKubeconfig(count: number, seed: number): Promise<FuzzResult> {
  const random = generator(seed);
  const texts = await corpus();
  const any = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const heap: number[] = [];
  let accepted = 0;
  let slowest = 0;
  for (let i = 0; i < count; i++) {
    let text = any(texts);
    for (let rounds = 1 + Math.floor(random() * 4); rounds > 0; rounds--) text = mutate(text, any, random, texts);
    const start = performance.now();
    try {
      if (await load(text)) accepted++;
    } catch (error) {
      throw new Error(`input ${i} of seed ${seed} broke the loader: ${JSON.stringify(text)}`, { cause: error });
    }
    const took = performance.now() - start;
    slowest = Math.max(slowest, took);
    if (took > SLOW) throw new Error(`input ${i} of seed ${seed} took ${took} ms: ${JSON.stringify(text)}`);
    if (i % 100 === 0) heap.push(Deno.memoryUsage().heapUsed);
  }
  // The lowest points of the first and the last half: what garbage collection does not get rid of.
  const half = heap.length >> 1;
  const grown = Math.min(...heap.slice(half)) - Math.min(...heap.slice(0, half));
  if (grown > GROWTH) throw new Error(`${grown} bytes more in use at the end`);
  return { accepted, refused: count - accepted, slowest };
}

async function load(text: string): Promise<boolean> {
  const host = new FakeHost({ "/home/me/.kube/config": text });
  host.readTextFile = (path) => Promise.resolve(path === "/home/me/.kube/config" ? text : "-----BEGIN X-----");
  host.program = () => Promise.resolve({ code: 0, stdout: text });
  try {
    const { credentials, server, proxy } = await loadAccess({}, host);
    if (!/^https?:$/.test(server.protocol) || (proxy && !proxy.hostname)) throw new TypeError(`${server} ${proxy}`);
    try {
      await credentials.headers();
      await credentials.clientCertificate();
    } catch (error) {
      if (!(error instanceof CredentialsError)) throw error;
    }
    return true;
  } catch (error) {
    if (!(error instanceof ConfigError) || (error.file !== undefined && !error.message)) throw error;
    if (error.line !== undefined && !(error.line >= 1 && error.line <= text.split("\n").length)) throw error;
    return false;
  }
}

function mutate(
  text: string,
  any: <T>(list: readonly T[]) => T,
  random: () => number,
  texts: readonly string[],
): string {
  const at = Math.floor(random() * (text.length + 1));
  const lines = text.split("\n");
  const line = Math.floor(random() * lines.length);
  switch (Math.floor(random() * 8)) {
    case 0: // Something in between.
      return text.slice(0, at) + any(PIECES) + text.slice(at);
    case 1: // Something instead.
      return text.slice(0, at) + any(PIECES) + text.slice(at + 1 + Math.floor(random() * 8));
    case 2: // Cut off.
      return text.slice(0, at);
    case 3: // A line less.
      return lines.toSpliced(line, 1).join("\n");
    case 4: // A line twice.
      return lines.toSpliced(line, 0, lines[line] ?? "").join("\n");
    case 5: // Another indentation.
      return lines.with(line, " ".repeat(Math.floor(random() * 6)) + (lines[line] ?? "").trim()).join("\n");
    case 6: // Another value.
      return lines.with(line, (lines[line] ?? "").replace(/: .*/, () => `: ${any(PIECES)}`)).join("\n");
    default: // The end of another file.
      return text.slice(0, at) + any(texts).slice(at);
  }
}

async function corpus(): Promise<string[]> {
  const texts: string[] = [];
  for (const folder of [DATA, new URL("broken/", DATA)]) {
    for await (const { name, isFile } of Deno.readDir(folder)) {
      if (isFile) texts.push(await Deno.readTextFile(new URL(name, folder)));
    }
  }
  return texts.toSorted();
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function generator(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

if (import.meta.main) {
  const [count = "5000", seed = String(Date.now() % 2 ** 31)] = Deno.args;
  const start = performance.now();
  const { accepted, refused, slowest } = await fuzzKubeconfig(Number(count), Number(seed));
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(
    `seed ${seed}: ${accepted} accepted, ${refused} refused, slowest ${slowest.toFixed(1)} ms, ${seconds} s in all`,
  );
}
