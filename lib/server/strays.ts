/**
 * Processes that a command leaves behind.
 *
 * @module
 */
import { readEnvironment } from "../bytes/mod.ts";

/**
 * What the leader of a session leaves behind: its background jobs, in whatever process group, as long as they have not begun sessions of
 * their own. To be made right after the leader's end, while its id can be nobody else's.
 *
 * Without `/proc` (other systems, or Deno without `--allow-all`) it is the leader's process group alone.
 */
export class SessionRest {
  readonly #id: number;
  /** Who was there at the leader's end. */
  readonly #members: ReadonlyMap<string, Process> | undefined;
  /** Without `/proc`: whether anybody was. */
  readonly #inGroup: boolean;
  #killed = false;

  /** What is left of the session, and process group, that the process `id` has led. */
  constructor(id: number) {
    this.#id = id;
    const all = listProcesses();
    const members = all?.filter(({ session }) => session === id);
    this.#members = members && new Map(members.map((process) => [nameOf(process), process]));
    // A signal that does nothing to those who run tells whether there is anybody.
    this.#inGroup = all === undefined && signalGroup(id, "SIGCONT");
  }

  /**
   * Kills all of it, once. The id stands for the same session as long as somebody is there who was there at the beginning; after that the
   * system may give it to anybody.
   */
  kill(): void {
    if (this.#killed) return;
    this.#killed = true;
    if (!this.#members) {
      if (this.#inGroup) signalGroup(this.#id, "SIGKILL");
      return;
    }
    // To look at those who were there costs little; to look at all, once more per round, grows with the machine.
    for (const [name, { pid }] of this.#members) {
      const process = readProcess(pid);
      if (process?.session !== this.#id || nameOf(process) !== name) continue;
      killAll(() => listProcesses()?.filter(({ session }) => session === this.#id) ?? []);
      return;
    }
  }
}

/** Names a container in the environment of all that runs in it, by which they are found wherever they have gone. */
export class Mark {
  readonly #id = crypto.randomUUID();
  readonly #since = ticksNow();

  /** The variable to set. A host that runs in a container of another one leaves that one's mark in place. */
  get variable(): Readonly<Record<string, string>> {
    return { [VARIABLE]: `${readEnvironment(VARIABLE) ?? ""} ${this.#id}`.trim() };
  }

  /**
   * Kills all that bears the mark, daemons with sessions of their own included. Who has written over the environment that it was started
   * with, as some servers do, bears none.
   */
  kill(): void {
    killAll(() => listProcesses()?.filter((process) => this.#isOn(process)) ?? []);
  }

  #isOn({ pid, startedAt }: Process): boolean {
    if (pid === Deno.pid || Number(startedAt) < this.#since) return false; // Who was there before cannot have it.
    return readProc(pid, "environ").includes(this.#id);
  }
}

const VARIABLE = "PODWIRE_CONTAINER";

/**
 * Sends a signal to a process group.
 *
 * @returns Whether anybody was in it; not where Deno does not permit to ask.
 */
export function signalGroup(id: number, signal: Deno.Signal): boolean {
  return send(-id, signal);
}

/** A process that has not ended. */
interface Process {
  readonly pid: number;
  readonly session: number;
  /** In clock ticks since the machine's start: another process that gets the same id has another time. */
  readonly startedAt: string;
}

function nameOf({ pid, startedAt }: Process): string {
  return `${pid} ${startedAt}`;
}

/** Kills whom `find` finds, and whom they have started meanwhile. */
function killAll(find: () => readonly Process[]): void {
  const killed = new Set<string>();
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const found = find().filter((process) => !killed.has(nameOf(process)));
    if (found.length === 0) return;
    for (const process of found) {
      killed.add(nameOf(process));
      send(process.pid, "SIGKILL");
    }
  }
}

/** Who multiplies faster than that is more than a host can end. */
const MAX_ROUNDS = 50;

function send(id: number, signal: Deno.Signal): boolean {
  try {
    Deno.kill(id, signal);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    // Deno has --allow-run=LIST, not --allow-run: nobody is for us to end, and who is there cannot be known.
    if (error instanceof Deno.errors.NotCapable) return false;
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
    // It has taken on other rights, as sudo does: not for us to end.
  }
  return true;
}

/** All processes that have not ended (proc(5)); `undefined` where that cannot be known. */
function listProcesses(): Process[] | undefined {
  let names: string[];
  try {
    names = [...Deno.readDirSync("/proc")].map(({ name }) => name).filter((name) => /^\d+$/.test(name));
  } catch {
    return undefined; // There is none, or Deno does not permit to look: it takes --allow-all.
  }
  if (names.length === 0) return undefined;
  return names.flatMap((name) => readProcess(Number(name)) ?? []);
}

/** A process, unless it has ended. */
function readProcess(pid: number): Process | undefined {
  const text = readProc(pid, "stat");
  // The program's name is in brackets, and may have any characters.
  const [state = "Z", , , session, ...more] = text.slice(text.lastIndexOf(")") + 2).split(" ");
  if (text === "" || state === "Z" || state === "X") return undefined;
  return { pid, session: Number(session), startedAt: more[15] ?? "" };
}

/** The time as {@linkcode Process.startedAt} has it, never late: on all that Deno is built for a tick is 10 ms, as is the last digit there. */
function ticksNow(): number {
  try {
    const [seconds = ""] = Deno.readTextFileSync("/proc/uptime").split(" ");
    return Math.floor(parseFloat(seconds) * 100) - 1;
  } catch {
    return 0; // Not known: all are looked at.
  }
}

function readProc(pid: number, file: "stat" | "environ"): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/${file}`);
  } catch {
    return ""; // It has ended, or is somebody else's.
  }
}
