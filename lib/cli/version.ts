/**
 * `podwire version`: which podwire this is, and which Kubernetes the server is.
 *
 * @module
 */
import { VERSION } from "../client/mod.ts";
import { defineCommand } from "./command.ts";
import { UsageError } from "./flags.ts";
import { writeText } from "./standard_streams.ts";

/** The command (kubectl `pkg/cmd/version`). */
export const command = defineCommand({
  name: "version",
  description: "Print the version of podwire and of the API server.",
  usage: "version [flags]",
  examples: [
    ["Both versions", "podwire version"],
    ["podwire's alone, without asking a server", "podwire version --client"],
  ],
  flags: {
    "client": { kind: "boolean", help: "Print podwire's version only; no server is asked" },
    "output": {
      kind: "string",
      short: "o",
      help: "Output format: json or yaml",
      reported: ["json", "yaml"],
    },
  },
  needsCluster: true,
  permissions: [],

  async run({ flags, words, connect, requestOptions }) {
    if (words.length > 0 && !flags.client) throw new UsageError(`extra arguments: [${words.join(" ")}]`);
    if (!["", "json", "yaml"].includes(flags.output)) {
      throw new UsageError(`--output must be 'yaml' or 'json', not ${JSON.stringify(flags.output)}`);
    }

    const arch = { x86_64: "amd64", aarch64: "arm64" }[Deno.build.arch]; // As Go, and so the server, names them.
    const clientVersion = {
      gitVersion: `v${VERSION}`,
      compiler: `deno ${Deno.version.deno}`,
      platform: `${Deno.build.os}/${arch}`,
    };
    let serverVersion: ServerVersion | undefined;
    let failure: { readonly error: unknown } | undefined;
    if (!flags.client) {
      try {
        await using cluster = await connect();
        serverVersion = await cluster.get<ServerVersion>("/version", requestOptions());
      } catch (error) {
        failure = { error }; // The client's version is printed all the same.
      }
    }
    const versions = { clientVersion, ...(serverVersion && { serverVersion }) };
    await writeText(Deno.stdout, await format(versions, flags.output));
    if (failure) throw failure.error;
    return 0;
  },
});

interface ServerVersion {
  readonly gitVersion: string;
}

async function format(
  versions: { readonly clientVersion: ServerVersion; readonly serverVersion?: ServerVersion },
  output: string,
): Promise<string> {
  if (output === "json") return JSON.stringify(versions, undefined, 2) + "\n";
  if (output === "yaml") {
    const { toYaml } = await import("./yaml_output.ts");
    return toYaml(versions) + "\n"; // kubectl ends it with an empty line.
  }
  const server = versions.serverVersion ? `Server Version: ${versions.serverVersion.gitVersion}\n` : "";
  return `Client Version: ${versions.clientVersion.gitVersion}\n${server}`;
}
