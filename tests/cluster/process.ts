/**
 * Running other programs: to their end with what they printed, or until they are ended.
 *
 * @module
 */

import { GroundError } from "./errors.ts";

/** How to run a program. */
export interface RunOptions {
  /** What the program reads; nothing when left out. */
  readonly stdin?: string | Uint8Array;
  /** What the program must have printed on standard output before its input ends. */
  readonly endsAfter?: string;
  /** Variables on top of this process' own. */
  readonly env?: Readonly<Record<string, string>>;
  /** The folder it runs in. */
  readonly cwd?: string;
  /** Milliseconds until it is killed and {@linkcode run} throws; 60,000 when left out. */
  readonly timeout?: number;
}

/** How a program ended, and what it printed. */
export interface RunResult {
  /** The exit code; 128 and the signal's number for a program that a signal ended. */
  readonly code: number;
  /** Standard output as UTF-8 text. */
  readonly stdout: string;
  /** Standard error as UTF-8 text. */
  readonly stderr: string;
  /** Standard output, byte by byte. */
  readonly bytes: Uint8Array;
}

/** Runs a program to its end. Throws when it cannot be started or takes too long, not for an exit code. */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [program = "", ...args] = command;
  const timeout = options.timeout ?? 60_000;
  const child = new Deno.Command(program, {
    args,
    env: { ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, timeout);
  try {
    const [said, out] = options.endsAfter === undefined ? [undefined, child.stdout] : child.stdout.tee();
    if (options.stdin !== undefined) void write(child.stdin, options.stdin, said && says(said, options.endsAfter!));
    const [stdout, stderr, { code }] = await Promise.all([collect(out), collect(child.stderr), child.status]);
    const result = { code, stdout: text(stdout), stderr: text(stderr), bytes: stdout };
    if (late) {
      const tail = (result.stdout + result.stderr).slice(-2_000);
      throw new GroundError(`"${command.join(" ")}" was killed after ${timeout} ms. It had printed:\n${tail}`);
    }
    return result;
  } finally {
    clearTimeout(timer);
  }
}

/** Runs a program that must succeed, and gives what it printed. */
export async function must(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(command, options);
  if (code !== 0) {
    throw new GroundError(`"${command.join(" ")}" ended with exit code ${code}:\n${(stdout + stderr).slice(-4_000)}`);
  }
  return stdout;
}

/** Asks again until the answer is not `undefined`; throws after `timeout` milliseconds, saying what was waited for. */
export async function until<T>(what: string, timeout: number, ask: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + timeout;
  let pause = 20;
  while (true) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) throw new GroundError(`Waited ${timeout} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, 400);
  }
}

/** The arguments of all processes of this machine, by process id. A process that ended has none. */
export function* processes(): Generator<{ readonly pid: number; readonly args: readonly string[] }> {
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const line = readOrUndefined(`/proc/${name}/cmdline`);
    if (line) yield { pid: Number(name), args: line.replace(/\0$/, "").split("\0") };
  }
}

/** When a process was started, in ticks since the machine was; with the id it names one process for ever. */
export function startTime(pid: number, proc = "/proc"): string | undefined {
  // The second field is the program's name in brackets, which may hold blanks. Start time is field 22.
  return readOrUndefined(`${proc}/${pid}/stat`)?.split(") ").at(-1)?.split(" ")[19];
}

/** A file's text, or nothing if there is no such file (any more). */
export function readOrUndefined(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return undefined; // Gone, or never there: to the caller it is the same.
  }
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

async function collect(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return await new Response(stream).bytes();
}

/** Waits until a stream has said `words`, or has ended; reads on. */
async function says(stream: ReadableStream<Uint8Array>, words: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  void (async () => {
    let text = "";
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (text.includes(words)) resolve();
    }
    resolve();
  })();
  await promise;
}

async function write(stdin: WritableStream<Uint8Array>, data: string | Uint8Array, end?: Promise<void>): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(typeof data === "string" ? new TextEncoder().encode(data) : data);
    await end;
    await writer.close();
  } catch {
    // The program ended without reading everything: its exit code says whether that was wrong.
  }
}
