/**
 * `podwire with`: runs a program with a kubeconfig that leads to a private gateway.
 *
 * @module
 */
import { systemText } from "../bytes/mod.ts";
import type { ClusterAccess } from "../kubeconfig/mod.ts";
import { selfSignedCertificate, serveGateway } from "../server/mod.ts";
import { defineCommand } from "./command.ts";
import { UsageError } from "./flags.ts";
import { reportBug, writePrivately } from "./serve.ts";
import { writeText } from "./standard_streams.ts";

/** What running a program behind a gateway takes. */
export const WITH_PERMISSIONS: readonly string[] = [
  "--allow-net=127.0.0.1 for the gateway",
  "--allow-read=FOLDER --allow-write=FOLDER of temporary files, /tmp, for the gateway's kubeconfig",
  "--allow-run=COMMAND",
];

/** The command. */
export const command = defineCommand({
  name: "with",
  description:
    "Run a program that goes to a cluster (kubectl, helm, k9s) through podwire: by a unix socket, with any credentials, " +
    "to any server that podwire can reach.\n\n" +
    "While the program runs, a private gateway does, and KUBECONFIG names a kubeconfig that leads there. podwire ends as the program does.",
  usage: "with -- COMMAND [ARGS...]",
  examples: [
    ["helm, to a cluster behind a unix socket", "podwire --via-unix-socket ~/.myunixsocket with -- helm ls"],
    ["A shell whose kubectl goes there", "podwire --context prod with -- bash"],
  ],
  flags: {},
  needsCluster: true,
  permissions: WITH_PERMISSIONS,

  async run({ words, rest, access }) {
    if (words.length > 0 || !rest?.length) {
      throw new UsageError("with needs a command after --, for example: podwire with -- kubectl get pods");
    }
    return await runWithGateway(rest, await access());
  },
});

/**
 * Runs a program whose `KUBECONFIG` leads to a gateway of its own.
 *
 * @returns Its exit code: 128 and the signal if that ended it, 127 if there is no such program, 126 if it cannot be run.
 */
export async function runWithGateway(command: readonly string[], access: ClusterAccess): Promise<number> {
  const folder = await Deno.makeTempDir({ prefix: "podwire-" });
  try {
    // Over TLS, because client-go has no credentials for a server without.
    const certificate = await selfSignedCertificate();
    await using gateway = await serveGateway({ access, listen: { port: 0 }, certificate, onBug: reportBug });
    const kubeconfig = `${folder}/kubeconfig`;
    await writePrivately(kubeconfig, gateway.kubeconfig);
    return await run(command, { KUBECONFIG: kubeconfig });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function run([program = "", ...args]: readonly string[], env: Record<string, string>): Promise<number> {
  const stdio = { stdin: "inherit", stdout: "inherit", stderr: "inherit" } as const;
  const passing = new SignalPassing();
  try {
    const child = new Deno.Command(program, { args, env, ...stdio }).spawn();
    passing.to(child);
    return (await child.status).code;
  } catch (error) {
    const reason = error instanceof Deno.errors.NotFound
      ? "there is no such program; is it installed, and in PATH?"
      : systemText(error);
    await writeText(Deno.stderr, `error: cannot run ${program}: ${reason}\n`);
    return error instanceof Deno.errors.NotFound ? 127 : 126;
  } finally {
    passing.end();
  }
}

/**
 * Passes on the signals that podwire gets, and so outlives them. What is typed at a terminal (Ctrl-C, Ctrl-\) the program
 * gets by itself.
 */
class SignalPassing {
  readonly #listeners = new Map<Deno.Signal, () => void>();
  #child: Deno.ChildProcess | undefined;

  constructor() {
    const typed = Deno.stdin.isTerminal() || Deno.stdout.isTerminal() || Deno.stderr.isTerminal();
    for (const signal of PASSED) {
      const pass = typed && TYPED.includes(signal) ? () => {} : () => this.#pass(signal);
      this.#listeners.set(signal, pass);
      Deno.addSignalListener(signal, pass);
    }
  }

  /** Passes signals to `child`. */
  to(child: Deno.ChildProcess): void {
    this.#child = child;
  }

  /** Signals do again what they did before. */
  end(): void {
    for (const [signal, listener] of this.#listeners) Deno.removeSignalListener(signal, listener);
  }

  #pass(signal: Deno.Signal): void {
    try {
      this.#child?.kill(signal);
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error; // Else it has ended.
    }
  }
}

const TYPED: readonly Deno.Signal[] = ["SIGINT", "SIGQUIT"];
const PASSED: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : [...TYPED, "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"];
