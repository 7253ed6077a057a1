/**
 * The command line: finds the command, reads its flags, runs it, and says what went wrong.
 *
 * @module
 */
import { readEnvironment } from "../bytes/mod.ts";
import type { Cluster } from "../client/mod.ts";
import { BUILD } from "./build.ts";
import type { Command } from "./command.ts";
import { type CommandEntry, COMMANDS, suggest } from "./commands.ts";
import { findFirstWord, parseArguments, type ParsedArguments, UsageError } from "./flags.ts";
import { accessOptions, GLOBAL_FLAGS, type GlobalFlags, wireOption } from "./global_flags.ts";
import { parseRequestTimeout } from "./go_values.ts";
import { commandHeaders, commandHeadersEnabled } from "./headers.ts";
import { OutputClosedError, writeText } from "./standard_streams.ts";
import { readWarnings } from "./warnings.ts";

const PROGRAM = "podwire";

/**
 * What a shell reports of a program that a closed pipe ended, as it ends kubectl: 128 and SIGPIPE. Deno ignores that
 * signal, so podwire has to say it.
 */
const CLOSED_PIPE = 141;

/**
 * Runs podwire.
 *
 * @param args The command line without the program.
 * @returns The exit code.
 */
export async function main(args: readonly string[]): Promise<number> {
  const place: { server?: URL } = {};
  try {
    return await dispatch(args, place);
  } catch (error) {
    if (error instanceof OutputClosedError) return CLOSED_PIPE;
    const { errorText } = await import("./error_text.ts");
    await writeText(Deno.stderr, `${errorText(error, place.server)}\n`).catch(() => {}); // Nobody is left to be told.
    return 1;
  }
}

async function dispatch(args: readonly string[], place: { server?: URL }): Promise<number> {
  const at = findFirstWord(args, GLOBAL_FLAGS);
  if (at < 0) {
    parseArguments(args, GLOBAL_FLAGS, PROGRAM);
    return await showHelp([]);
  }
  const name = args[at] ?? "";
  const others = args.toSpliced(at, 1);
  if (name === "help") return await showHelp(parseArguments(others, GLOBAL_FLAGS, PROGRAM).words);
  if (name === "options") {
    const { globalOptionsHelp } = await import("./help.ts");
    await writeText(Deno.stdout, globalOptionsHelp());
    return 0;
  }
  return await runCommand(await findCommand(name).load(), others, place);
}

function findCommand(name: string): CommandEntry {
  const found = COMMANDS.find((command) => command.name === name);
  if (found) return found;
  const similar = suggest(name);
  throw new UsageError(
    `unknown command ${JSON.stringify(name)} for "${PROGRAM}"` +
      (similar.length > 0 ? `\n\nDid you mean this?\n${similar.map((name) => `\t${name}`).join("\n")}` : ""),
  );
}

async function showHelp(words: readonly string[]): Promise<number> {
  const { commandHelp, programHelp } = await import("./help.ts");
  const [name] = words;
  await writeText(Deno.stdout, name === undefined ? programHelp() : commandHelp(await findCommand(name).load()));
  return 0;
}

async function runCommand(command: Command, args: readonly string[], place: { server?: URL }): Promise<number> {
  const commandPath = `${PROGRAM} ${command.name}`;
  const parsed = parseArguments(args, { ...command.flags, ...GLOBAL_FLAGS }, commandPath);
  const globals = parsed.flags as GlobalFlags;
  if (globals.help) return await showHelp([command.name]);
  return await command.run({
    commandPath,
    flags: parsed.flags,
    words: parsed.words,
    rest: parsed.rest,
    verbosity: globals.v,
    requestOptions: () => {
      const timeout = parseRequestTimeout(globals["request-timeout"]);
      return timeout > 0 ? { signal: AbortSignal.timeout(timeout) } : {};
    },
    connect: async () => {
      const cluster = await connect(command, parsed, globals);
      place.server = cluster.server;
      return cluster;
    },
  });
}

async function connect(
  command: Command,
  { given }: Pick<ParsedArguments<Command["flags"]>, "given">,
  globals: GlobalFlags,
): Promise<Cluster> {
  parseRequestTimeout(globals["request-timeout"]); // What is wrong with it is told before anything is asked.
  const wire = wireOption(globals, command.webSocketSwitch && readEnvironment(command.webSocketSwitch));
  const { Cluster } = await import("../client/mod.ts");
  const { formatRequest } = globals.v >= 6 ? await import("./request_log.ts") : {};
  const warned = new Set<string>();
  return await Cluster.fromKubeconfig({
    ...accessOptions(globals),
    wire,
    onWarning: (message) => warn(`${message}\n`),
    ...(commandHeadersEnabled(readEnvironment("KUBECTL_COMMAND_HEADERS")) && {
      headers: commandHeaders({
        program: PROGRAM,
        path: [command.name],
        given,
        session: crypto.randomUUID(),
        ...(command.deprecated && { deprecated: command.deprecated }),
        build: BUILD,
      }),
    }),
    onRequest: (event) => {
      if (formatRequest) warn(formatRequest(event, globals.v));
      for (const text of readWarnings(event.responseHeaders)) {
        if (!warned.has(text)) warn(`Warning: ${text}\n`);
        warned.add(text);
      }
    },
  });
}

/** Writes at once: what is only queued would be lost at the process's end. */
function warn(text: string): void {
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(text));
  } catch {
    // Nobody is left to be told.
  }
}
