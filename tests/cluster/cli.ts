/**
 * The command line of the test cluster; see {@linkcode USAGE}.
 *
 * @module
 */

import { build, exclusively } from "./build.ts";
import { down, runningPrograms, status, up } from "./cluster.ts";
import { GroundError } from "./errors.ts";
import { Layout, stateDir } from "./shape.ts";

const USAGE = `A real Kubernetes for the tests, in namespaces of its own.

deno task cluster build          build its programs into the cache, unless they are there
deno task cluster up             bring it up (and build it first); does nothing if it is up and well
deno task cluster down           take it down, whatever state it is in; nothing is left
deno task cluster status         say how each part is; exit code 1 unless all are well
deno task cluster env            print variables for a shell: eval "$(deno task --quiet cluster env)"
deno task cluster kubectl ARGS…  run kubectl 1.36 against it as admin (or as KUBECONFIG says)

Its state is in PODWIRE_CLUSTER_DIR, or in podwire-cluster in the temporary folder.
`;

async function main([command, ...args]: string[]): Promise<number> {
  const layout = new Layout(stateDir());
  switch (command) {
    case "build":
      await exclusively(say, () => build(say));
      return 0;
    case "up":
      await exclusively(say, () => up(layout, say));
      return 0;
    case "down":
      await exclusively(say, () => down(layout));
      return 0;
    case "status": {
      const parts = await status(layout);
      if (parts.length === 0) print("down\n");
      for (const { name, ok } of parts) print(`${ok ? "ok  " : "FAIL"}  ${name}\n`);
      return parts.length > 0 && parts.every(({ ok }) => ok) ? 0 : 1;
    }
    case "env": {
      const programs = await runningPrograms(layout);
      print(`export PODWIRE_CLUSTER_DIR='${layout.dir}'
export PODWIRE_CLUSTER_ENTER='${layout.enter.join(" ")}'
export KUBECACHEDIR='${layout.kubectlCache}'
export KUBECONFIG='${layout.kubeconfig("default", "admin")}'
export PATH='${programs.dir}/kube':"$PATH"
`);
      return 0;
    }
    case "kubectl": {
      const programs = await runningPrograms(layout);
      const [program = "", ...rest] = [...layout.enter, programs.kubectl("1.36"), ...args];
      const KUBECONFIG = Deno.env.get("KUBECONFIG") ?? layout.kubeconfig("default", "admin");
      const KUBECACHEDIR = layout.kubectlCache;
      return (await new Deno.Command(program, { args: rest, env: { KUBECONFIG, KUBECACHEDIR } }).spawn().status).code;
    }
    default:
      Deno.stderr.writeSync(new TextEncoder().encode(USAGE));
      return command === undefined || command === "--help" ? 0 : 2;
  }
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}

function say(line: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`cluster: ${line}\n`));
}

try {
  Deno.exitCode = await main(Deno.args);
} catch (error) {
  if (!(error instanceof GroundError)) throw error;
  const cause = error.cause instanceof Error ? `\n${error.cause.message}` : "";
  say(`${error.message}${cause}`);
  Deno.exitCode = 1;
}
