/**
 * Help pages, laid out as kubectl's.
 *
 * @module
 */
import type { Command } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import type { FlagDefinition, FlagDefinitions } from "./flags.ts";
import { GLOBAL_FLAGS } from "./global_flags.ts";

const OPTIONS_HINT = 'Use "podwire options" for a list of global command-line options (applies to all commands).\n';

/** The page of `podwire help`. */
export function programHelp(): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length)) + 4;
  return "podwire opens byte streams into Kubernetes pods.\n\n" +
    "Commands:\n" +
    COMMANDS.map(({ name, summary }) => `  ${name.padEnd(width)}${summary}\n`).join("") +
    "\nUsage:\n  podwire COMMAND [flags]\n\n" +
    'Use "podwire <command> --help" for more information about a given command.\n' + OPTIONS_HINT;
}

/** The page of `podwire options`. */
export function globalOptionsHelp(): string {
  const { help: _, ...flags } = GLOBAL_FLAGS;
  return `The following options can be passed to any command:\n\n${formatFlags(flags)}`;
}

/** The page of `podwire COMMAND --help`. */
export function commandHelp(command: Command): string {
  const examples = command.examples.map(([purpose, commandLine]) => `  # ${purpose}\n  ${commandLine}\n`);
  return `${command.description}\n\n` +
    `Examples:\n${examples.join("\n")}\n` +
    section("Options", formatFlags(command.flags)) +
    section("Deno's permissions", permissions(command).map((line) => `    ${line}\n`).join("")) +
    `Usage:\n  podwire ${command.usage}\n\n${OPTIONS_HINT}`;
}

/** A part of a page, left out if there is nothing to say. */
function section(title: string, text: string): string {
  return text === "" ? "" : `${title}:\n${text}\n`;
}

/** What reaching a cluster takes. */
const CLUSTER_PERMISSIONS = [
  "--allow-read=FILE of the kubeconfig and of the certificates, keys and tokens that it names",
  "--allow-net=SERVER:PORT or, with --via-unix-socket, --allow-net=unix:PATH --allow-read=PATH --allow-write=PATH",
  "--allow-run=PLUGIN if the kubeconfig has an exec credential plugin",
];

/** The environment that a cluster's commands heed. */
const VARIABLES = ["KUBECONFIG", "HOME", "KUBECTL_COMMAND_HEADERS"];

function permissions(command: Command): readonly string[] {
  if (!command.needsCluster) return command.permissions;
  const variables = [...VARIABLES, ...(command.webSocketSwitch ? [command.webSocketSwitch] : [])].join(",");
  return [
    ...CLUSTER_PERMISSIONS,
    `--allow-env=${variables} to have them read, and the KUBERNETES_ and proxy variables; what may not be read counts as unset`,
    ...command.permissions,
  ];
}

function formatFlags(flags: FlagDefinitions): string {
  return Object.entries(flags).sort(([a], [b]) => a < b ? -1 : 1).map(([name, definition]) => {
    const names = definition.short ? `-${definition.short}, --${name}` : `--${name}`;
    return `    ${names}=${defaultText(definition)}:\n\t${definition.help}\n`;
  }).join("\n");
}

function defaultText({ kind, default: value }: FlagDefinition): string {
  if (kind === "string") return `'${value ?? ""}'`;
  return value ?? { boolean: "false", list: "[]", integer: "0", duration: "0s" }[kind];
}
