import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ConfigError, CredentialsError, type HostEnvironment, loadAccess } from "../../lib/kubeconfig/mod.ts";
import { denoHost } from "../../lib/kubeconfig/deno_host.ts";
import { errorCode, MAX_PLUGIN_OUTPUT } from "../../lib/kubeconfig/host.ts";
import { nodeHost } from "../../lib/kubeconfig/node_host.ts";

const HOSTS: Record<string, () => HostEnvironment | Promise<HostEnvironment>> = { denoHost, nodeHost };

/** A folder for one test, with a kubeconfig whose user has this shell script for a plugin. */
async function withPlugin(script: string, test: (folder: string, kubeconfig: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/plugin`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const exec =
      "{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: ./plugin, args: [an argument], env: [{name: FROM_CONFIG, value: set}]}";
    const kubeconfig = [
      "current-context: x",
      "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1', certificate-authority: ca.crt}}]",
      `users: [{name: u, user: {exec: ${exec}}}]`,
      "contexts: [{name: x, context: {cluster: c, user: u}}]",
    ].join("\n");
    await Deno.writeTextFile(`${folder}/config`, kubeconfig);
    await Deno.writeTextFile(`${folder}/ca.crt`, "-----BEGIN CERTIFICATE-----\n");
    await test(folder, `${folder}/config`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Prints a credential with this token, the shell's way. */
const credential = (token: string) =>
  `printf '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"%s"}}' "${token}"`;

/** Asks the plugin, and leaves once it has told a process id in `plugin.pid`; gives that. */
async function startAndLeave(folder: string, kubeconfig: string, host: HostEnvironment): Promise<number> {
  const { credentials } = await loadAccess({ kubeconfig }, host);
  const leaving = new AbortController();
  const asked = assertRejects(() => credentials.headers({ signal: leaving.signal }), Error, "enough");
  const pid = Number(await eventually(() => Deno.readTextFile(`${folder}/plugin.pid`)));
  leaving.abort(new Error("enough"));
  await asked;
  return pid;
}

for (const [name, make] of Object.entries(HOSTS)) {
  Deno.test(`${name}() runs a plugin with its argument and environment, without standard input`, async () => {
    const script = `read line && exit 9; ${credential("$1/$FROM_CONFIG/${HOME:+inherited}/${#KUBERNETES_EXEC_INFO}")}`;
    await withPlugin(script, async (_, kubeconfig) => {
      const access = await loadAccess({ kubeconfig }, await make());
      const info =
        '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"interactive":false}}';
      assertEquals(await access.credentials.headers(), [
        ["Authorization", `Bearer an argument/set/inherited/${info.length}`],
      ]);
    });
  });

  Deno.test(`${name}() tells exit codes and missing programs apart`, async () => {
    await withPlugin("exit 7", async (folder, kubeconfig) => {
      const { credentials } = await loadAccess({ kubeconfig }, await make());
      const command = `${folder}/plugin`;
      await assertRejects(
        () => credentials.headers(),
        CredentialsError,
        `executable ${command} failed with exit code 7`,
      );
      await Deno.remove(command);
      await assertRejects(() => credentials.headers(), CredentialsError, `executable ${command} not found`);
      await Deno.writeTextFile(command, "", { mode: 0o600 });
      await assertRejects(() => credentials.headers(), CredentialsError, `exec: ${command}: permission denied`);
    });
  });

  Deno.test(`${name}() ends a plugin that nobody waits for, with what it started`, async () => {
    await withPlugin(
      'mkfifo "$0.go"; echo $$ > "$0.tmp"; mv "$0.tmp" "$0.pid"; read never < "$0.go"',
      async (folder, kubeconfig) => {
        const pid = await startAndLeave(folder, kubeconfig, await make());
        await eventually(() => {
          const state = readState(pid);
          return state === undefined || state === "Z" ? "gone" : "";
        });
      },
    );
  });

  Deno.test(`${name}() lets go of a plugin that ended and left its output open`, async () => {
    const script = 'exec sleep 1000 & echo $! > "$0.tmp"; mv "$0.tmp" "$0.pid"';
    await withPlugin(script, async (folder, kubeconfig) => {
      const pid = await startAndLeave(folder, kubeconfig, await make());
      Deno.kill(pid, "SIGKILL");
    });
  });

  Deno.test(`${name}() bounds what a plugin may write`, async () => {
    await withPlugin(`head -c ${MAX_PLUGIN_OUTPUT + 1} /dev/zero; exec sleep 1000`, async (_, kubeconfig) => {
      const { credentials } = await loadAccess({ kubeconfig }, await make());
      await assertRejects(() => credentials.headers(), CredentialsError, `wrote more than ${MAX_PLUGIN_OUTPUT} bytes`);
    });
  });

  Deno.test(`${name}() reads files, and says with a code that there is none`, async () => {
    const host = await make();
    await withPlugin("", async (folder) => {
      assertEquals(await host.readTextFile(`${folder}/ca.crt`), "-----BEGIN CERTIFICATE-----\n");
      const code = (path: string) => host.readTextFile(path).then(() => "read", errorCode);
      assertEquals(await code(`${folder}/none`), "ENOENT");
      assertEquals(await code(folder), "EISDIR");
      assertEquals(await code(`${folder}/ca.crt/none`), "ENOTDIR");
    });
    assertEquals([host.env("HOME"), host.homeDirectory()], [Deno.env.get("HOME"), Deno.env.get("HOME")]);
    assertEquals(host.workingDirectory?.(), Deno.cwd());
    assertEquals(host.stdinIsTerminal(), Deno.stdin.isTerminal());
    assert(Math.abs(host.now() - Date.now()) < 10_000);
  });
}

const DATA = new URL("testdata/", import.meta.url).pathname;

Deno.test({
  name: "loadAccess() needs no permission but to read the files that are named",
  permissions: {
    read: ["paths.kubeconfig", "pki/ca.crt", "pki/client.crt", "pki/client.key"].map((file) => DATA + file),
  },
  async fn() {
    const { credentials, tls } = await loadAccess({ kubeconfig: `${DATA}paths.kubeconfig` });
    assertStringIncludes(tls.caCerts?.[0] ?? "", "-----BEGIN CERTIFICATE-----");
    assertStringIncludes((await credentials.clientCertificate())?.key ?? "", "-----BEGIN FAKE KEY-----");
  },
});

Deno.test({
  name: "loadAccess() names the permission that is missing",
  permissions: { env: ["KUBECONFIG", "HOME"] },
  async fn() {
    const error = await assertRejects(() => loadAccess({ kubeconfig: "/some/config" }), ConfigError);
    assertStringIncludes(error.message, "--allow-read");
  },
});

function readState(pid: number): string | undefined {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1]?.[0];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Looks until there is something, for at most ten seconds. */
async function eventually(look: () => string | Promise<string>): Promise<string> {
  for (const end = Date.now() + 10_000; Date.now() < end;) {
    try {
      const found = await look();
      if (found) return found;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error("nothing came in ten seconds");
}
