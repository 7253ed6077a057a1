import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type AccessOptions, CredentialsError, loadAccess, type RunResult } from "../../lib/kubeconfig/mod.ts";
import { FakeHost, hostWith, kubeconfig, systemError } from "./fake_host.ts";

const V1 = "client.authentication.k8s.io/v1";

function config(exec = "", apiVersion = V1, cluster = "{server: https://h}"): string {
  const mode = apiVersion === V1 && !exec.includes("interactiveMode") ? "interactiveMode: Never, " : "";
  return kubeconfig(cluster, `{exec: {apiVersion: ${apiVersion}, ${mode}command: plugin, ${exec}}}`);
}

function credential(status: unknown, apiVersion = V1): RunResult {
  return { code: 0, stdout: JSON.stringify({ kind: "ExecCredential", apiVersion, status }) };
}

/** A host whose plugin answers this. */
function answering(answer: RunResult | Error, text = config()): FakeHost {
  const host = hostWith(text);
  host.program = () => answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  return host;
}

async function credentials(host: FakeHost, options: AccessOptions = {}) {
  return (await loadAccess(options, host)).credentials;
}

const told = (host: FakeHost, run = 0) => JSON.parse(host.runs[run]?.options.env["KUBERNETES_EXEC_INFO"] ?? "null");

Deno.test("an exec plugin gives a token, and is run once", async () => {
  const host = answering(credential({ token: "abc" }), config("args: [a, 'b c'], env: [{name: A, value: v}]"));
  const found = await credentials(host);
  assertEquals(host.runs, [], "loading runs nothing");
  assertEquals(await found.headers(), [["Authorization", "Bearer abc"]]);
  assertEquals(await found.headers(), [["Authorization", "Bearer abc"]]);
  assertEquals(await found.clientCertificate(), undefined);
  assertEquals(host.runs.length, 1);
  const { command, options } = host.runs[0] ?? {};
  assertEquals([command, options?.args, options?.stdin, options?.env["A"]], ["plugin", ["a", "b c"], "null", "v"]);
  assertEquals(told(host), { kind: "ExecCredential", apiVersion: V1, spec: { interactive: false } });
});

Deno.test("an exec plugin gives a certificate, with or without a token", async () => {
  const pair = { clientCertificateData: "-----BEGIN CERT", clientKeyData: "-----BEGIN KEY" };
  const both = await credentials(answering(credential({ ...pair, token: "t" })));
  assertEquals(await both.clientCertificate(), { cert: "-----BEGIN CERT", key: "-----BEGIN KEY" });
  assertEquals(await both.headers(), [["Authorization", "Bearer t"]]);
  const only = await credentials(answering(credential(pair)));
  assertEquals([await only.headers(), await only.clientCertificate()], [[], {
    cert: "-----BEGIN CERT",
    key: "-----BEGIN KEY",
  }]);
});

Deno.test("an exec plugin is asked again after its credentials expire, and after invalidate()", async () => {
  const host = answering(credential({ token: "one", expirationTimestamp: "2026-01-01T01:00:00+01:00" }));
  const found = await credentials(host); // That is the host's very time: not over yet.
  await found.headers();
  await found.headers();
  assertEquals(host.runs.length, 1);
  host.time++;
  await found.headers();
  assertEquals(host.runs.length, 2);
  host.program = () => Promise.resolve(credential({ token: "two" }));
  found.invalidate();
  assertEquals(await found.headers(), [["Authorization", "Bearer two"]]);
  host.time += 1e12;
  assertEquals(await found.headers(), [["Authorization", "Bearer two"]], "without a timestamp they last");
  assertEquals(host.runs.length, 3);
});

Deno.test("an exec plugin is asked once for all who were refused with the same credentials, however late they learn it", async () => {
  const pair = { clientCertificateData: "-----BEGIN CERT", clientKeyData: "-----BEGIN KEY" };
  for (const status of [{ token: "one" }, pair]) {
    const host = answering(credential(status));
    const found = await credentials(host);
    const refused = await Promise.all([found.headers(), found.headers(), found.headers()]);
    assertEquals(host.runs.length, 1);
    found.invalidate(refused[0]);
    const renewed = await found.headers();
    assertEquals(host.runs.length, 2);
    for (const headers of refused) found.invalidate(headers); // They say so late: it has been seen to.
    await found.headers();
    assertEquals(host.runs.length, 2);
    found.invalidate(renewed);
    await found.headers();
    assertEquals(host.runs.length, 3);
  }
});

Deno.test("an exec plugin is told about the cluster when it wants to be", async () => {
  const pem = "-----BEGIN CERTIFICATE-----é\n";
  const data = btoa(String.fromCharCode(...new TextEncoder().encode(pem)));
  const extension = "extensions: [{name: client.authentication.k8s.io/exec, extension: {audience: a}}]";
  const cluster =
    `{server: "https://h/p", tls-server-name: name, certificate-authority-data: ${data}, proxy-url: "http://p:1", disable-compression: true, ${extension}}`;
  const host = answering(credential({ token: "t" }), config("provideClusterInfo: true", V1, cluster));
  await (await credentials(host)).headers();
  assertEquals(told(host).spec.cluster, {
    server: "https://h/p",
    "tls-server-name": "name",
    "certificate-authority-data": data,
    "proxy-url": "http://p:1",
    "disable-compression": true,
    config: { audience: "a" },
  });
  const insecure = config("provideClusterInfo: true", V1, "{server: https://h, insecure-skip-tls-verify: true}");
  const other = answering(credential({ token: "t" }), insecure);
  await (await credentials(other)).headers();
  assertEquals(told(other).spec.cluster, { server: "https://h", "insecure-skip-tls-verify": true });
});

for (
  const [mode, terminal, interactive, expected] of [
    ["Never", true, true, false],
    ["IfAvailable", true, true, true],
    ["IfAvailable", false, true, false],
    ["IfAvailable", true, false, false],
    ["Always", true, true, true],
    ["Always", false, true, "standard input is not a terminal"],
    ["Always", true, false, "standard input is unavailable"],
  ] as const
) {
  Deno.test(`interactiveMode ${mode} with terminal ${terminal} and stdin free ${interactive}: ${expected}`, async () => {
    const host = answering(credential({ token: "t" }), config(`interactiveMode: ${mode}`));
    host.terminal = terminal;
    const found = await credentials(host, { interactive });
    if (typeof expected === "string") {
      const text = `getting credentials: exec plugin cannot support interactive mode: ${expected}`;
      assertEquals((await assertRejects(() => found.headers(), CredentialsError)).message, text);
      assertEquals(host.runs, []);
      return;
    }
    await found.headers();
    assertEquals([told(host).spec.interactive, host.runs[0]?.options.stdin], [expected, expected ? "inherit" : "null"]);
  });
}

Deno.test("a v1beta1 plugin speaks v1beta1, and may interact by default", async () => {
  const beta = "client.authentication.k8s.io/v1beta1";
  const host = answering(credential({ token: "t" }, beta), config("", beta));
  host.terminal = true;
  assertEquals(await (await credentials(host)).headers(), [["Authorization", "Bearer t"]]);
  assertEquals(told(host), { kind: "ExecCredential", apiVersion: beta, spec: { interactive: true } });
});

for (
  const [answer, text] of [
    [systemError("EACCES"), "exec: plugin: permission denied"],
    [{ code: 3, stdout: "hunter2" }, "exec: executable plugin failed with exit code 3"],
    [{ code: 0, stdout: "hunter2" }, "decoding stdout: not JSON"],
    [{ code: 0, stdout: "" }, "decoding stdout: not JSON"],
    [{ code: 0, stdout: "[]" }, 'decoding stdout: not an object of kind "ExecCredential"'],
    [{ code: 0, stdout: '{"kind":"Secret"}' }, 'decoding stdout: not an object of kind "ExecCredential"'],
    [
      credential({ token: "hunter2" }, "client.authentication.k8s.io/v1beta1"),
      `exec plugin is configured to use API version ${V1}, plugin returned version client.authentication.k8s.io/v1beta1`,
    ],
    [credential(undefined), "exec plugin didn't return a status field"],
    [credential({}), "exec plugin didn't return a token or cert/key pair"],
    [credential({ token: "hunter2", clientKeyData: "k" }), "exec plugin returned only certificate or key, not both"],
    [credential({ clientCertificateData: "c" }), "exec plugin returned only certificate or key, not both"],
    [
      credential({ clientCertificateData: "c", clientKeyData: "hunter2" }),
      "failed parsing client key/certificate: failed to find any PEM data",
    ],
    [credential({ token: ["hunter2"] }), "decoding stdout: status.token is not a string"],
    [
      credential({ token: "hunter2", expirationTimestamp: "tomorrow" }),
      "decoding stdout: status.expirationTimestamp is not a time (RFC 3339)",
    ],
  ] as const
) {
  Deno.test(`an exec plugin can fail: ${text}`, async () => {
    const host = answering(answer);
    const found = await credentials(host);
    const error = await assertRejects(() => found.headers(), CredentialsError);
    assertEquals(error.message, `getting credentials: ${text}`);
    assert(!Deno.inspect(error).includes("hunter2"));
    await assertRejects(() => found.clientCertificate(), CredentialsError, text);
    assertEquals(host.runs.length, 2, "a failure is not kept");
  });
}

Deno.test("an exec plugin that is not installed says how to get it, without escapes", async () => {
  const host = answering(systemError("ENOENT"), config('installHint: "get it\\n\\e[1mhere\\x07 ü"'));
  const error = await assertRejects(async () => await (await credentials(host)).headers(), CredentialsError);
  assertStringIncludes(error.message, "getting credentials: exec: executable plugin not found\n\nIt looks like");
  assertStringIncludes(error.message, "\n\nget it\nU+001B[1mhereU+0007 ü");
});

Deno.test("a relative path is where it was when the kubeconfig was read, also after the program went elsewhere", async () => {
  const exec = "{apiVersion: client.authentication.k8s.io/v1, command: ./plugin, interactiveMode: Never}";
  for (const [folder, file] of [["/jane", "sub/config"], ["/jane/sub", "config"], ["/", "jane/sub/config"]] as const) {
    const host = new FakeHost({
      [file]: kubeconfig("{server: https://x, via-unix-socket: k.sock}", `{exec: ${exec}}`),
    });
    host.folder = folder;
    const { credentials, unixSocket } = await loadAccess({ kubeconfig: file }, host);
    host.folder = "/elsewhere";
    await assertRejects(() => credentials.headers(), CredentialsError, "executable /jane/sub/plugin not found");
    assertEquals(unixSocket, "/jane/sub/k.sock");
  }
  // In a deep folder a socket's path would be too long.
  const deep = new FakeHost({ config: kubeconfig("{server: https://x, via-unix-socket: k.sock}", "{}") });
  deep.folder = `/${"d".repeat(100)}`;
  assertEquals((await loadAccess({ kubeconfig: "config" }, deep)).unixSocket, "./k.sock");
});

Deno.test("an exec plugin is ignored beside a token, basic authentication or a certificate", async () => {
  const exec = `exec: {apiVersion: ${V1}, command: plugin, interactiveMode: Never}`;
  const pair = `client-certificate-data: ${btoa("-----BEGIN c")}, client-key-data: ${btoa("-----BEGIN k")}`;
  for (const other of ["token: t", "username: u, password: p", pair]) {
    const host = hostWith(kubeconfig("{server: https://h}", `{${other}, ${exec}}`));
    const found = await credentials(host);
    await found.headers();
    await found.clientCertificate();
    assertEquals(host.runs, [], other);
  }
  const flag = hostWith(config());
  assertEquals(await (await credentials(flag, { token: "f" })).headers(), [["Authorization", "Bearer f"]]);
});

Deno.test("an exec plugin's path is relative to the kubeconfig, a bare name is not", async () => {
  for (
    const [command, file, expected] of [
      ["./bin/plugin", "/home/me/.kube/config", "/home/me/.kube/bin/plugin"],
      ["../plugin", "/home/me/.kube/config", "/home/me/.kube/../plugin"],
      ["/abs/plugin", "/home/me/.kube/config", "/abs/plugin"],
      ["plugin", "/home/me/.kube/config", "plugin"],
      ["./plugin", "config", "./plugin"],
    ] as const
  ) {
    const host = new FakeHost({ [file]: config().replace("command: plugin", `command: ${command}`) });
    host.program = () => Promise.resolve(credential({ token: "t" }));
    await (await credentials(host, { kubeconfig: file })).headers();
    assertEquals(host.runs[0]?.command, expected);
  }
});

Deno.test("callers share one run of an exec plugin, and one who leaves does not end it for the others", async () => {
  const host = hostWith(config());
  const { promise, resolve } = Promise.withResolvers<RunResult>();
  host.program = () => promise;
  const found = await credentials(host);
  const leaving = new AbortController();
  const gone = assertRejects(() => found.headers({ signal: leaving.signal }), Error, "left");
  const first = found.headers();
  const second = found.clientCertificate();
  leaving.abort(new Error("left"));
  await gone;
  assertEquals(host.runs[0]?.options.signal.aborted, false);
  resolve(credential({ token: "t" }));
  assertEquals([await first, await second], [[["Authorization", "Bearer t"]], undefined]);
  assertEquals(host.runs.length, 1);
});

Deno.test("an exec plugin ends when nobody waits for it any more, and starts afresh for the next", async () => {
  const host = hostWith(config());
  host.program = (_, { signal }) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  const found = await credentials(host);
  const leaving = new AbortController();
  const both = [found.headers({ signal: leaving.signal }), found.headers({ signal: leaving.signal })];
  leaving.abort(new Error("left"));
  for (const each of both) await assertRejects(() => each, Error, "left");
  assertEquals(host.runs.map(({ options }) => options.signal.aborted), [true]);
  await assertRejects(() => found.headers({ signal: leaving.signal }), Error, "left");
  host.program = () => Promise.resolve(credential({ token: "t" }));
  assertEquals(await found.headers(), [["Authorization", "Bearer t"]]);
  assertEquals(host.runs.length, 2);
});
