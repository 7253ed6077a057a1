/**
 * One shell in a container, for everything of a copy but the data: it looks, makes folders, sums up, and puts in place.
 *
 * The shell reads its commands from stdin, so that names of any bytes reach it (arguments of an exec must be UTF-8: they go through
 * the container runtime's protobuf) and a question costs no new exec. Each command is followed by a mark on stdout and
 * stderr, which tells where its output ends.
 *
 * @module
 */
import { RemoteCommandError } from "../channels/mod.ts";
import type { RemoteProcess } from "./remote_command.ts";
import type { Pod } from "./pod.ts";
import { SEGMENT } from "./copy_check.ts";
import { type Digest, type Digests, loadDigests, type SumTool } from "./copy_digest.ts";
import { CopyError } from "./copy_error.ts";
import { bytesOf, byteString, quote, showName } from "./copy_names.ts";
import { Retries } from "./copy_retry.ts";

/** Where a copy goes on, and how long it tries. */
export interface CopyPlace {
  /** The pod. */
  readonly pod: Pod;
  /** The container; without it the server takes the pod's only one. */
  readonly container?: string | undefined;
  /** How many breaks of the connection in a row to survive; negative for any number. */
  readonly retries: number;
  /** Ends the copy. */
  readonly signal?: AbortSignal | undefined;
  /** Is told of every break that is survived. */
  readonly onRetry?: ((retry: number, limit: number, error: unknown) => void) | undefined;
}

/** What a command of the shell printed, as byte strings. */
export interface ShellOutput {
  /** Its exit code. */
  readonly code: number;
  /** Its output. */
  readonly stdout: string;
  /** Its errors. */
  readonly stderr: string;
}

/** What there is in the container. */
export interface ContainerTools {
  /** The programs found, of those that a copy can use. */
  readonly has: ReadonlySet<string>;
  /** Whether `tar` is GNU's. */
  readonly gnuTar: boolean;
  /** Whether `dd` is GNU's. */
  readonly gnuDd: boolean;
  /** The checksums that both ends can make, best first. */
  readonly sums: readonly SumTool[];
}

const MARK = "podwire-done";

/** The mark is the last that a command prints: it stands at the very end. */
const MARK_AT_END = new RegExp(`${MARK} ?(\\d*)\n$`);

/** Looks for programs; says what `tar` and `dd` are. */
const PROBE = `for t in tar sha256sum cksum wc dd; do
command -v "$t" >/dev/null 2>&1 && printf '%s\\n' "$t"; done
case "$(tar --version 2>&1)" in *GNU*) echo gnu-tar;; esac
case "$(dd --version 2>&1)" in *coreutils*) echo gnu-dd;; esac
:`;

/** What {@linkcode ContainerShell.commit} ends with if something is neither what it was nor what it should be. */
const DAMAGED = 3;

/**
 * Puts what was staged in place; see {@linkcode ContainerShell.commit}. `podwire_merge STAGED DESTINATION [root]` may run again
 * after it broke: what has been moved is there no more.
 */
const MERGE = `podwire_there() { [ -e "$1" ] || [ -L "$1" ]; }
podwire_fresh() {
podwire_d=$1; shift
podwire_there "$1" || return 0
mv -f "$@" "$podwire_d/" 2>/dev/null && return 0
for podwire_e in "$@"; do if podwire_there "$podwire_e"; then mv -f "$podwire_e" "$podwire_d/" || return 1; fi; done
}
podwire_merge() {
podwire_there "$1" || return 0
if [ -L "$2" ] && { [ -z "$3" ] || [ ! -d "$1" ] || [ -L "$1" ] || [ ! -d "$2" ]; }; then rm -f "$2" || return 1; fi
if [ -d "$1" ] && [ ! -L "$1" ]; then
if [ -d "$2" ]; then
for podwire_e in "$1"/* "$1"/.[!.]* "$1"/..?*; do
if podwire_there "$2/\${podwire_e##*/}"; then podwire_merge "$podwire_e" "$2/\${podwire_e##*/}" || return; fi
done
podwire_fresh "$2" "$1"/* && podwire_fresh "$2" "$1"/.[!.]* && podwire_fresh "$2" "$1"/..?* && rmdir "$1"
return
fi
if podwire_there "$2"; then printf '%s: Not a directory\\n' "$2" >&2; return 1; fi
else
if [ -d "$2" ]; then printf '%s: Is a directory\\n' "$2" >&2; return 1; fi
if [ -f "$1" ] && [ ! -L "$1" ] && [ -f "$2" ]; then
podwire_rewrite "$1" "$2" && rm -f "$1" && return 0
mv -f "$1" "$2" && return 0
[ -w "$2" ] && return ${DAMAGED}
return 1
fi
fi
mv -f "$1" "$2"
}
`;

/** A shell in a container. */
export class ContainerShell {
  /** What there is in the container. */
  readonly tools: ContainerTools;
  /** The checksums of this side. */
  readonly digests: Digests;
  /** The checksum in use. */
  sum: SumTool;
  readonly #place: CopyPlace;
  readonly #retries: Retries;
  #session: ShellSession;
  #closed = false;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(place: CopyPlace, session: ShellSession, tools: ContainerTools, digests: Digests) {
    this.#place = place;
    this.#session = session;
    this.#retries = retriesOf(place);
    this.tools = tools;
    this.digests = digests;
    this.sum = tools.sums[0]!;
  }

  /**
   * Starts one.
   *
   * @throws {CopyError} If the container has no shell, or nothing to check a copy with.
   */
  static async open(place: CopyPlace): Promise<ContainerShell> {
    const retries = retriesOf(place);
    const digests = await loadDigests();
    return await retries.run(async () => {
      const session = await ShellSession.open(place);
      try {
        const found = (await session.run(PROBE, place.signal)).stdout.split("\n");
        return new ContainerShell(place, session, readTools(new Set(found), digests), digests);
      } catch (error) {
        session.close();
        throw error;
      }
    });
  }

  /**
   * Runs a script that does no harm if it runs twice; what it prints is held in memory. One at a time: others wait.
   */
  run(script: string): Promise<ShellOutput> {
    return this.#queue(script, this.#place, this.#retries);
  }

  /** As {@linkcode ContainerShell.run}, to its end, even if the copy is aborted meanwhile. */
  runToEnd(script: string): Promise<ShellOutput> {
    const place = { ...this.#place, signal: undefined };
    return this.#queue(script, place, retriesOf(place));
  }

  /**
   * Runs a script that has to succeed.
   *
   * @throws {CopyError} With what it printed on stderr.
   */
  async must(script: string): Promise<string> {
    const { code, stdout, stderr } = await this.run(script);
    if (code !== 0) throw new CopyError(toolError(stderr, code), { code });
    return stdout;
  }

  /** A checksum in the making, of the kind in use. */
  digest(): Digest {
    return this.digests[this.sum]!();
  }

  /**
   * Uses the best checksum that another container knows as well, for a copy between the two.
   *
   * @throws {CopyError} If there is none.
   */
  agree(other: ContainerShell): void {
    const sum = this.tools.sums.find((tool) => other.tools.sums.includes(tool));
    if (!sum) throw new CopyError("the two containers have no checksum in common: copy by way of a local file");
    this.sum = other.sum = sum;
  }

  /** The checksums of files, by name; a file that is not there has none. */
  async sums(paths: readonly string[]): Promise<Map<string, string>> {
    const { sum } = this;
    const sums = new Map<string, string>();
    const odd = paths.filter((path) => ESCAPED.test(path));
    const plain = paths.filter((path) => !ESCAPED.test(path));
    for (let at = 0; at < plain.length; at += SUM_BATCH) {
      const batch = plain.slice(at, at + SUM_BATCH);
      const { stdout } = await this.run(`${sumCommand(sum)} ${batch.map(quote).join(" ")}`);
      for (const line of stdout.split("\n")) {
        const read = readSum(sum, line);
        if (read) sums.set(read.name, read.sum);
      }
    }
    for (const path of odd) {
      const { stdout } = await this.run(`${sumCommand(sum)} <${quote(path)}`);
      const read = readSum(sum, stdout.split("\n")[0] ?? "");
      if (read) sums.set(path, read.sum);
    }
    return sums;
  }

  /** How many bytes a checksum of a large file is of: without `dd` all of them. */
  get segment(): number {
    return this.tools.has.has("dd") ? SEGMENT : Infinity;
  }

  /**
   * The checksum of a segment of a file.
   *
   * @param length How much of it to take, if it has more: slow where `head` reads byte by byte, as busybox's does.
   */
  async segmentSum(path: string, index: number, length?: number): Promise<string | undefined> {
    const { sum } = this;
    const blocks = this.segment / BLOCK;
    const segment = this.segment === Infinity
      ? `cat <${quote(path)}`
      : `dd bs=${BLOCK} skip=${index * blocks} count=${blocks} <${quote(path)} 2>/dev/null`;
    const start = length === undefined ? "" : ` | head -c ${length}`;
    const { stdout } = await this.run(`${segment}${start} | ${sumCommand(sum)}`);
    return readSum(sum, stdout.split("\n")[0] ?? "")?.sum;
  }

  /** The size of a file in bytes; 0 if it is not there. */
  async size(path: string): Promise<number> {
    const file = quote(path);
    // busybox's `wc` reads all of it.
    const { stdout } = await this.run(`stat -c %s ${file} 2>/dev/null || wc -c <${file}`);
    return Number(stdout.trim()) || 0;
  }

  /**
   * Puts `tree` of the folder `stage` at `destination`. What is not there yet is renamed; a file that is there is rewritten in
   * place, so that it keeps its inode, and where that fails (disk full, a program that runs) replaced by the staged one as a
   * whole. Folders that are there keep what they have. Links are replaced, not followed, but for `destination` itself.
   *
   * @param keep Whether a file that is there keeps its owner and mode, or gets a certain mode; else it gets those of the staged one.
   * @throws {CopyError} With `staged`, if a file could be neither rewritten nor replaced: it may be cut by then.
   */
  async commit(stage: string, destination: string, keep?: { readonly mode?: number | undefined }): Promise<void> {
    const chmod = keep?.mode === undefined ? ":" : `chmod ${keep.mode.toString(8)} "$2"`;
    // Who may write into a file may not always set its time.
    const rewrite = keep ? `cp "$1" "$2" && { touch -r "$1" "$2"; ${chmod}; }` : 'cp -p "$1" "$2"';
    // A tree that is not there has been moved, unless all of the stage is gone: then this is another container by now.
    const { code, stderr } = await this.runToEnd(
      `${MERGE}podwire_rewrite() { { ${rewrite}; } 2>/dev/null; }
if [ -d ${quote(stage)} ]; then podwire_merge ${quote(`${stage}/tree`)} ${quote(destination)} root
else printf 'what was staged in %s is gone\\n' ${quote(stage)} >&2; (exit 1); fi`,
    );
    if (code === 0) return;
    const why = toolError(stderr, code);
    if (code !== DAMAGED) throw new CopyError(why, { code });
    const staged = showName(stage);
    throw new CopyError(`${why}\nIt may be damaged; what should be there lies in ${staged} of the container`, {
      code: 1,
      staged,
    });
  }

  /** Ends an exec that broke, with `mark` on its command line, and waits until it is gone: it must not write any more. */
  async waitGone(pid: string, mark: string): Promise<void> {
    if (pid === "") return;
    await this.run(
      `${endCommand(mark, pid)}
podwire_i=0; while ${aliveCommand(pid, mark)} && [ "$podwire_i" -lt 100 ]; do podwire_i=$((podwire_i + 1))
sleep 0.1 2>/dev/null || sleep 1; done; :`,
    );
  }

  /** Ends it. */
  close(): void {
    this.#closed = true;
    this.#session.close();
  }

  #queue(script: string, place: CopyPlace, retries: Retries): Promise<ShellOutput> {
    const result = this.#last.then(() => this.#run(script, place, retries));
    this.#last = result.catch(() => {});
    return result;
  }

  async #run(script: string, place: CopyPlace, retries: Retries): Promise<ShellOutput> {
    place.signal?.throwIfAborted();
    return await retries.run(async () => {
      if (this.#closed) throw new CopyError("the copy has ended");
      if (this.#session.broken) {
        const { pid } = this.#session;
        this.#session.close();
        this.#session = await ShellSession.open(place);
        // What the last shell was told may still run; not in a container that was started anew, where this one has its number.
        await this.#session.run(
          `podwire_i=0; while [ "$$" != ${pid} ] && kill -0 ${pid} 2>/dev/null && [ "$podwire_i" -lt 600 ]; do ` +
            `podwire_i=$((podwire_i + 1)); sleep 0.1 2>/dev/null || sleep 1; done; :`,
          place.signal,
        );
      }
      const output = await this.#session.run(script, place.signal);
      retries.progressed();
      return output;
    });
  }
}

/** What `dd` reads at once, in bytes. */
const BLOCK = 65536;

/** In names that `sha256sum` writes otherwise than they are, or on two lines. */
export const ESCAPED: RegExp = /[\n\r\\]/;

/** Names to one call of a checksum program: with names of 100 bytes far below what Linux takes for arguments. */
const SUM_BATCH = 500;

/** How a program for checksums is called. */
export function sumCommand(sum: SumTool): string {
  return sum === "wc" ? "wc -c" : sum;
}

/** Reads a line of a checksum program; `undefined` if it is none. */
export function readSum(sum: SumTool, line: string): { readonly name: string; readonly sum: string } | undefined {
  if (sum === "sha256sum") {
    const found = /^([0-9a-f]{64}) [ *](.*)$/.exec(line);
    return found ? { sum: found[1]!, name: found[2]! } : undefined;
  }
  const found = (sum === "cksum" ? /^(\d+ \d+)(?: (.*))?$/ : /^ *(\d+)(?: (.*))?$/).exec(line);
  return found ? { sum: found[1]!, name: found[2] ?? "" } : undefined;
}

function readTools(found: ReadonlySet<string>, digests: Digests): ContainerTools {
  const sums = (["sha256sum", "cksum", "wc"] as const).filter((tool) => found.has(tool) && digests[tool] !== undefined);
  if (sums.length === 0) {
    throw new CopyError(
      `the container has none of sha256sum, cksum and wc: a copy could not be checked. ${DEBUG_HINT}`,
    );
  }
  return { has: found, gnuTar: found.has("gnu-tar"), gnuDd: found.has("gnu-dd"), sums };
}

const DEBUG_HINT =
  "Use a container that has them, beside it: kubectl debug POD -it --image=busybox --target=CONTAINER, " +
  "where the files are under /proc/1/root";

/** What a program of the container printed, for an error. */
export function toolError(stderr: string, code: number): string {
  return showName(stderr.trim()) || `command terminated with exit code ${code}`;
}

/** Starts a command in the container. */
export async function startIn(
  { pod, container, signal }: CopyPlace,
  command: readonly string[],
  stdin: "piped" | "null",
): Promise<RemoteProcess> {
  return await pod.exec(command, { stdin, ...(container && { container }), ...(signal && { signal }) }).spawn();
}

/**
 * Whether a process is still the exec that has `mark`, a plain word, on its command line: in a container that was started anew its
 * number may be another one's. Without `/proc` nobody knows.
 */
function aliveCommand(pid: string, mark: string): string {
  return `{ kill -0 ${pid} && case "$(cat /proc/${pid}/cmdline)" in *${mark}*|'') ;; *) false;; esac; } 2>/dev/null`;
}

/**
 * Ends the groups of all other processes that have `mark`, a plain word, on their command lines: what they have started has it not, and
 * outlives an exec's first process, which a container runtime may kill when its connection breaks. Where all are of one group, as on
 * the embedded host, it ends only themselves; where there is no `/proc`, nothing.
 *
 * @param pid Of an exec's first process, to end only its group: container runtimes make each exec one of its own.
 */
export function endCommand(mark: string, pid?: string): string {
  const ofExec = pid === undefined ? "" : `[ "$group" = ${pid} ] && `;
  return `{ read -r _ _ _ _ own _ </proc/$$/stat; for p in /proc/[0-9]*; do [ "$p" = "/proc/$$" ] ||
case "$(cat "$p/cmdline")" in *${mark}*) read -r _ _ _ _ group _ <"$p/stat" && ${ofExec}
if [ "$group" = "$own" ]; then kill -9 "\${p##*/}"; else kill -9 "-$group"; fi;; esac; done; } 2>/dev/null`;
}

/** Counts the breaks of one part of a copy. */
export function retriesOf({ retries, signal, onRetry }: CopyPlace): Retries {
  return new Retries(retries, signal, onRetry);
}

/** One exec of `sh`. */
class ShellSession {
  /** The shell's process id in its container. */
  pid = "";
  /** Whether nothing can be asked of it any more. */
  broken = false;
  readonly #process: RemoteProcess;
  readonly #ending: AbortController;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #stdout: MarkedOutput;
  readonly #stderr: MarkedOutput;

  private constructor(process: RemoteProcess, ending: AbortController) {
    this.#process = process;
    this.#ending = ending;
    this.#stdin = process.stdin.getWriter();
    this.#stdin.closed.catch(() => {}); // What reads the output learns of it.
    this.#stdout = new MarkedOutput(process.stdout);
    this.#stderr = new MarkedOutput(process.stderr);
  }

  static async open(place: CopyPlace): Promise<ShellSession> {
    const ending = new AbortController();
    return await endOnAbort(ending, place.signal, async () => {
      const process = await startIn({ ...place, signal: ending.signal }, ["sh"], "piped");
      const session = new ShellSession(process, ending);
      const { stdout } = await session.run("echo $$", undefined);
      session.pid = stdout.trim();
      return session;
    });
  }

  /** Runs a script; the session ends if the signal aborts before the script has ended. */
  async run(script: string, signal: AbortSignal | undefined): Promise<ShellOutput> {
    try {
      // `{` on a line of its own: what follows is read whole before any of it runs.
      const text =
        `{\n${script}\n} </dev/null\npodwire_c=$?\nprintf '${MARK} %s\\n' "$podwire_c"; printf '${MARK}\\n' >&2\n`;
      return await endOnAbort(this.#ending, signal, async () => {
        // The output says what went wrong, if the write does.
        this.#stdin.write(bytesOf(text)).catch(() => {});
        const [out, err] = await Promise.all([this.#stdout.next(), this.#stderr.next()]);
        return { code: Number(out.mark), stdout: out.text, stderr: err.text };
      });
    } catch (error) {
      this.broken = true;
      throw await this.#explain(error);
    }
  }

  close(): void {
    this.broken = true;
    this.#process.close();
  }

  /** Why there is no answer: no shell, or no connection. */
  async #explain(error: unknown): Promise<unknown> {
    if (!(error instanceof EndOfOutput)) return error;
    try {
      const { code } = await this.#process.status;
      const said = showName(this.#stderr.rest.trim());
      return new CopyError(`the shell in the container ended with exit code ${code}${said && `: ${said}`}`, { code });
    } catch (cause) {
      if (!(cause instanceof RemoteCommandError)) return cause;
      return new CopyError(`cannot copy without a shell (sh) in the container. ${DEBUG_HINT}`, { cause });
    }
  }
}

/** Does some work, and aborts `ending` if `signal` aborts before it is done. */
async function endOnAbort<T>(
  ending: AbortController,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  const end = () => ending.abort(signal?.reason);
  signal?.addEventListener("abort", end, { once: true });
  try {
    return await work();
  } finally {
    signal?.removeEventListener("abort", end);
  }
}

/** More than this in front of a mark answers no question, in bytes: a list of a million files is shorter. */
const MAX_OUTPUT = 256 * 1024 * 1024;

/** The output ended before its mark. */
class EndOfOutput extends Error {}

/** Output that is cut into pieces by marks. */
class MarkedOutput {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #chunks: string[] = [];
  #size = 0;
  #tail = "";

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }

  /** What has come since the last mark. */
  get rest(): string {
    return this.#chunks.join("") + this.#tail;
  }

  /** Everything up to the next mark, and what stands behind that. */
  async next(): Promise<{ readonly text: string; readonly mark: string }> {
    for (;;) {
      const found = MARK_AT_END.exec(this.#tail);
      if (found) {
        const text = this.#chunks.join("") + this.#tail.slice(0, found.index);
        this.#chunks = [];
        this.#size = 0;
        this.#tail = "";
        return { text, mark: found[1]! };
      }
      const { done, value } = await this.#reader.read();
      if (done) throw new EndOfOutput();
      const text = this.#tail + byteString(value);
      const keep = Math.max(0, text.length - 64);
      this.#chunks.push(text.slice(0, keep));
      this.#size += keep;
      if (this.#size > MAX_OUTPUT) {
        throw new CopyError(`the shell in the container prints more than ${MAX_OUTPUT} bytes`);
      }
      this.#tail = text.slice(keep);
    }
  }
}
