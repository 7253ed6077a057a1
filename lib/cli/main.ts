/**
 * The command line: finds the command, reads its flags, runs it, and says what went wrong.
 *
 * @module
 */
import { readEnvironment } from "../bytes/mod.ts";
import type { Cluster, Wire } from "../client/mod.ts";
import { BUILD } from "./build.ts";
import type { Command } from "./command.ts";
import { type CommandEntry, COMMANDS, suggest } from "./commands.ts";
import { findFirstWord, parseArguments, type ParsedArguments, UsageError } from "./flags.ts";
import { accessOptions, GLOBAL_FLAGS, type GlobalFlags, wireOption } from "./global_flags.ts";
import { parseRequestTimeout } from "./go_values.ts";
import { commandHeaders, commandHeadersEnabled } from "./headers.ts";
import { OutputClosedError, warn, writeText } from "./standard_streams.ts";
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
  const command = await findCommand(name).load();
  const within = command.subcommands ? findFirstWord(others, GLOBAL_FLAGS) : -1;
  const subcommand = command.subcommands?.find(({ name }) => name === others[within]);
  if (subcommand) return await runCommand(await subcommand.load(), others.toSpliced(within, 1), place, [name]);
  if (command.ownArguments !== false) return await runCommand(command, others, place);
  return await runCommand(command, [...args.slice(0, at), "--", ...args.slice(at + 1)], place);
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
  const [name, within] = words;
  const command = name === undefined ? undefined : await findCommand(name).load();
  const subcommand = await command?.subcommands?.find(({ name }) => name === within)?.load();
  await writeText(Deno.stdout, command ? commandHelp(subcommand ?? command) : programHelp());
  return 0;
}

async function runCommand(
  command: Command,
  args: readonly string[],
  place: { server?: URL },
  parents: readonly string[] = [],
): Promise<number> {
  const path = [...parents, command.name];
  const commandPath = [PROGRAM, ...path].join(" ");
  const parsed = parseArguments(args, { ...command.flags, ...GLOBAL_FLAGS }, commandPath);
  const globals = parsed.flags as GlobalFlags;
  if (globals.help) return await showHelp(path);
  const wire = () => wireOption(globals, command.webSocketSwitch && readEnvironment(command.webSocketSwitch));
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
    wire,
    connect: async () => {
      const cluster = await connect(command, path, parsed, globals, wire());
      place.server = cluster.server;
      return cluster;
    },
    access: async () => {
      const { loadAccess } = await import("../kubeconfig/mod.ts");
      return await loadAccess({ ...accessOptions(globals), onWarning: (message) => warn(`${message}\n`) });
    },
  });
}

async function connect(
  command: Command,
  path: readonly string[],
  { given }: Pick<ParsedArguments<Command["flags"]>, "given">,
  globals: GlobalFlags,
  wire: Wire,
): Promise<Cluster> {
  parseRequestTimeout(globals["request-timeout"]); // What is wrong with it is told before anything is asked.
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
        path,
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
