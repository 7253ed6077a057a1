/**
 * The same files, contexts and flags through kubectl and through the loader.
 *
 * The binary is `PODWIRE_KUBECTL`, by default `kubectl` in `PATH`.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { decodeBase64 } from "@std/encoding/base64";
import { parseKubeconfig } from "../../../lib/kubeconfig/kubeconfig.ts";
import { type AccessOptions, ConfigError, loadAccess } from "../../../lib/kubeconfig/mod.ts";
import { serverUrl } from "../../../lib/kubeconfig/server.ts";

const KUBECTL = Deno.env.get("PODWIRE_KUBECTL") ?? "kubectl";
const DATA = new URL("../../kubeconfig/testdata/", import.meta.url).pathname;

/** What `kubectl config view -o json` prints, as far as it is compared. */
interface View {
  readonly clusters: ReadonlyArray<{
    readonly cluster: {
      readonly server: string;
      readonly "certificate-authority-data"?: string;
      readonly "insecure-skip-tls-verify"?: boolean;
      readonly "tls-server-name"?: string;
      readonly "proxy-url"?: string;
    };
  }>;
  readonly users:
    | null
    | ReadonlyArray<{
      readonly user: {
        readonly token?: string;
        readonly tokenFile?: string;
        readonly "client-certificate-data"?: string;
        readonly "client-key-data"?: string;
        readonly username?: string;
        readonly password?: string;
        readonly as?: string;
        readonly "as-groups"?: readonly string[];
        readonly "as-user-extra"?: Readonly<Record<string, readonly string[] | null>>;
        readonly exec?: { readonly command: string };
      };
    }>;
  readonly contexts: ReadonlyArray<{ readonly name: string; readonly context: { readonly namespace?: string } }>;
}

async function kubectl(
  args: readonly string[],
  kubeconfig: string,
): Promise<{ ok: boolean; out: string; err: string }> {
  try {
    const { success, stdout, stderr } = await new Deno.Command(KUBECTL, {
      args: [...args],
      env: { KUBECONFIG: kubeconfig },
      stdin: "null",
    }).output();
    const text = new TextDecoder();
    return { ok: success, out: text.decode(stdout), err: text.decode(stderr) };
  } catch (error) {
    throw new Error(`this test needs kubectl (set PODWIRE_KUBECTL to its path): ${error}`);
  }
}

async function view(kubeconfig: string, args: readonly string[]): Promise<View> {
  const { ok, out, err } = await kubectl(["config", "view", "--raw", "-o", "json", ...args], kubeconfig);
  assert(ok, `kubectl config view ${args.join(" ")}: ${err}`);
  return JSON.parse(out);
}

function text(data: string | undefined): string | undefined {
  return data === undefined ? undefined : new TextDecoder().decode(decodeBase64(data));
}

/** Compares one context of a KUBECONFIG list. */
async function compare(list: string, context: string): Promise<void> {
  const { clusters, users, contexts } = await view(list, ["--flatten", "--minify", `--context=${context}`]);
  const cluster = clusters[0]?.cluster;
  const user = users?.[0]?.user ?? {};
  assert(cluster, "kubectl shows a cluster");
  const access = await withKubeconfig(list, { context });
  const server = serverUrl(cluster.server);
  assertEquals(access.server.href, server.href);
  assertEquals(access.namespace, contexts[0]?.context.namespace ?? "default");
  assertEquals(access.proxy?.href, cluster["proxy-url"] && new URL(cluster["proxy-url"]).href);
  const secure = server.protocol === "https:";
  const { tls } = access;
  assertEquals(tls.caCerts?.[0], secure ? text(cluster["certificate-authority-data"]) : undefined);
  assertEquals(tls.insecureSkipVerify ?? false, secure && (cluster["insecure-skip-tls-verify"] ?? false));
  assertEquals(tls.serverName, secure ? cluster["tls-server-name"] : undefined);

  if (user.exec) return; // What plugins give is tested elsewhere.
  const certificate = await access.credentials.clientCertificate();
  const expected = secure ? text(user["client-certificate-data"]) : undefined;
  assertEquals(certificate?.cert, expected);
  assertEquals(certificate?.key, secure ? text(user["client-key-data"]) : undefined);
  const headers = await access.credentials.headers();
  const token = user.token ?? (user.tokenFile && (await Deno.readTextFile(DATA + user.tokenFile)).trim());
  const basic = user.username && `Basic ${utf8Base64(`${user.username}:${user.password}`)}`;
  assertEquals(
    headers.find(([name]) => name === "Authorization")?.[1],
    secure ? (token ? `Bearer ${token}` : basic || undefined) : undefined,
  );
  assertEquals(headers.find(([name]) => name === "Impersonate-User")?.[1], user.as);
  assertEquals(
    headers.filter(([name]) => name === "Impersonate-Group").map(([, value]) => value),
    [...user["as-groups"] ?? []],
  );
  assertEquals(
    headers.filter(([name]) => name.startsWith("Impersonate-Extra-")).length,
    Object.values(user["as-user-extra"] ?? {}).flatMap((values) => values ?? []).length,
  );
}

function utf8Base64(value: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(value)));
}

/** loadAccess with KUBECONFIG, and nothing else, in the environment. */
function withKubeconfig(list: string, options: AccessOptions) {
  return loadAccess(options, {
    windows: false,
    env: (name) => name === "KUBECONFIG" ? list : undefined,
    homeDirectory: () => undefined,
    readTextFile: (path) => Deno.readTextFile(path),
    run: () => Promise.reject(new Error("no plugin is run here")),
    stdinIsTerminal: () => false,
    now: () => Date.now(),
  });
}

function contextsOf(file: string): string[] {
  return [...parseKubeconfig(Deno.readTextFileSync(file), file).contexts.keys()];
}

const files = [...Deno.readDirSync(DATA)].filter(({ name }) => name.endsWith(".kubeconfig")).map(({ name }) => name);

for (const file of files.toSorted()) {
  Deno.test(`loadAccess() resolves every context of ${file} as kubectl does`, async () => {
    const path = DATA + file;
    const shown = await view(path, []);
    // `config view --minify` needs a user, and kubectl knows no unix sockets.
    const known = contextsOf(path).filter((name) => !["userless", "relative", "abstract", "two-ways"].includes(name));
    assertEquals(contextsOf(path).toSorted(), (shown.contexts ?? []).map(({ name }) => name).toSorted());
    for (const context of known) await compare(path, context);
  });
}

for (
  const list of [
    ["paths.kubeconfig", "team/config.kubeconfig"],
    ["team/config.kubeconfig", "paths.kubeconfig"],
    [
      "missing",
      "",
      "empty.kubeconfig",
      "paths.kubeconfig",
      "paths.kubeconfig",
      "unknown.kubeconfig",
      "team/config.kubeconfig",
    ],
  ]
) {
  Deno.test(`loadAccess() merges KUBECONFIG=${list.join(":")} as kubectl does`, async () => {
    const paths = list.map((file) => file && DATA + file).join(":");
    const contexts = new Set(list.filter((file) => file.includes("c")).flatMap((file) => contextsOf(DATA + file)));
    const { contexts: shown } = await view(paths, []);
    for (const { name } of shown) {
      if (name === "userless" || (name === "mixed" && !list.includes("paths.kubeconfig"))) continue;
      contexts.delete(name);
      await compare(paths, name);
    }
    assertEquals([...contexts].filter((name) => name !== "userless"), []);
    const plain = await withKubeconfig(paths, {}).catch((error: Error) => error.message);
    const current = await kubectl(["config", "current-context"], paths);
    if (typeof plain === "string") assert(plain.includes(current.out.trim()), plain);
    else assertEquals(plain.server.href, (await withKubeconfig(paths, { context: current.out.trim() })).server.href);
  });
}

for (const { name } of [...Deno.readDirSync(`${DATA}broken`)].toSorted((a, b) => a.name < b.name ? -1 : 1)) {
  Deno.test(`kubectl refuses broken/${name}, as parseKubeconfig() does`, async () => {
    const path = `${DATA}broken/${name}`;
    const { ok, err } = await kubectl(["config", "view"], path);
    assert(!ok, "kubectl takes it");
    assert(err.includes(`error loading config file "${path}"`), err);
    const error = await withKubeconfig(path, {}).catch((error: unknown) => error);
    assert(
      error instanceof Error && error.message.startsWith(`error loading config file "${path}": line `),
      `${error}`,
    );
  });
}

const FLAGS: ReadonlyArray<readonly [args: readonly string[], options: AccessOptions]> = [
  [["--context=nope"], { context: "nope" }],
  [["--user=nope"], { user: "nope" }],
  [["--cluster=nope"], { cluster: "nope" }],
  [["--kubeconfig=/nope/config"], { kubeconfig: "/nope/config" }],
  [["--certificate-authority=/nope/ca"], { certificateAuthority: "/nope/ca" }],
  [["--client-certificate=/nope/crt", "--client-key=/nope/key"], {
    clientCertificate: "/nope/crt",
    clientKey: "/nope/key",
  }],
  [["--as-uid=5"], { impersonate: { uid: "5" } }],
  [["--as-group=g"], { impersonate: { groups: ["g"] } }],
  [["--token=a", "--username=b", "--password=c"], { token: "a", username: "b", password: "c" }],
  [["--server=host/path"], { server: "host/path" }],
];

for (const [args, options] of FLAGS) {
  Deno.test(`loadAccess() refuses ${args.join(" ")} in kubectl's words`, async () => {
    const file = `${DATA}paths.kubeconfig`;
    const { ok, err } = await kubectl(["get", "--raw", "/version", ...args], file);
    assert(!ok);
    const error = await withKubeconfig(file, options).catch((error: unknown) => error);
    assert(error instanceof ConfigError, `${error}`);
    const [first, second] = error.problems;
    assertEquals(second ? `Error in configuration: \n* ${first}\n* ${second}\n` : `error: ${first}\n`, err);
  });
}
