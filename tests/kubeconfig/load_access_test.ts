import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type AccessOptions, type ClusterAccess, ConfigError, loadAccess } from "../../lib/kubeconfig/mod.ts";
import { FakeHost, hostWith, kubeconfig, systemError } from "./fake_host.ts";

const PEM = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
const DATA = btoa(PEM);
const ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

const load = (config: string, options: AccessOptions = {}, files = {}): Promise<ClusterAccess> =>
  loadAccess(options, hostWith(config, files));

const refused = async (config: string, options: AccessOptions = {}, files = {}): Promise<ConfigError> =>
  await assertRejects(() => load(config, options, files), ConfigError);

Deno.test("loadAccess() gives localhost:8080 when nothing is configured, or KUBERNETES_MASTER", async () => {
  const access = await loadAccess({}, new FakeHost());
  assertEquals([access.server.href, access.namespace, access.tls], ["http://localhost:8080/", "default", {}]);
  assertEquals(await access.credentials.headers(), []);
  const master = await loadAccess({}, new FakeHost({}, { KUBERNETES_MASTER: "https://master.example" }));
  assertEquals(master.server.href, "https://master.example/");
});

Deno.test("loadAccess() works without a home", async () => {
  const host = new FakeHost();
  host.home = undefined;
  assertEquals((await loadAccess({}, host)).server.href, "http://localhost:8080/");
});

Deno.test("loadAccess() follows a context, and the flags that override its parts", async () => {
  const config = `
current-context: one
clusters:
- {name: a, cluster: {server: "https://a"}}
- {name: b, cluster: {server: "https://b"}}
users:
- {name: u, user: {token: of-u}}
- {name: v, user: {token: of-v}}
contexts:
- {name: one, context: {cluster: a, user: u, namespace: n-one}}
- {name: two, context: {cluster: b, user: v}}
`;
  const seen = async (options: AccessOptions) => {
    const { server, namespace, credentials } = await load(config, options);
    return [server.host, (await credentials.headers())[0]?.[1], namespace];
  };
  assertEquals(await seen({}), ["a", "Bearer of-u", "n-one"]);
  assertEquals(await seen({ context: "two" }), ["b", "Bearer of-v", "default"]);
  assertEquals(await seen({ cluster: "b" }), ["b", "Bearer of-u", "n-one"]);
  assertEquals(await seen({ user: "v" }), ["a", "Bearer of-v", "n-one"]);
  assertEquals(await seen({ context: "two", namespace: "flag" }), ["b", "Bearer of-v", "flag"]);
  assertEquals(await seen({ server: "https://c", token: "flag" }), ["c", "Bearer flag", "n-one"]);
});

Deno.test("loadAccess() says what does not exist, in kubectl's words", async () => {
  const config = kubeconfig("{server: https://c}");
  assertEquals((await refused(config, { context: "no" })).message, 'context "no" does not exist');
  assertEquals((await refused(config, { cluster: "no" })).message, 'cluster "no" does not exist');
  assertEquals((await refused(config, { user: "no" })).message, 'auth info "no" does not exist');
  const current = await refused("current-context: gone\n");
  assertEquals(
    current.message,
    "invalid configuration: context was not found for specified context: gone (/home/me/.kube/config:1)",
  );
  assertEquals(current.problems, ["context was not found for specified context: gone"]);
  const both = await refused(kubeconfig("{}", "{}", "cluster: k, user: w"));
  assertEquals(both.problems, ['user "w" was not found for context "x"', 'cluster "k" was not found for context "x"']);
  assertEquals([both.file, both.line, both.key], ["/home/me/.kube/config", 10, "contexts[0].context.user"]);
});

Deno.test("loadAccess() needs no cluster in the context when --server names one", async () => {
  const access = await load(kubeconfig("{}", "{token: t}", "cluster: gone, user: u"), { server: "https://s" });
  assertEquals([access.server.href, (await access.credentials.headers()).length], ["https://s/", 1]);
});

for (
  const [server, href] of [
    ["https://h.example:6443", "https://h.example:6443/"],
    ["https://h.example/k8s/clusters/c-1/", "https://h.example/k8s/clusters/c-1/"],
    ["https://h.example/prefix?query=1#part", "https://h.example/prefix"],
    ["https://[fd00::1]:6443", "https://[fd00::1]:6443/"],
    ["HTTPS://h.example", "https://h.example/"],
    ["mykubecluster.com", "http://mykubecluster.com/"],
    ["mykubecluster.com:8080", "http://mykubecluster.com:8080/"],
    ["127.0.0.1:8001", "http://127.0.0.1:8001/"],
    ["[::1]:8001", "http://[::1]:8001/"],
    ["localhost/", "http://localhost/"],
  ] as const
) {
  Deno.test(`loadAccess() takes ${server} for ${href}`, async () => {
    assertEquals((await load("", { server })).server.href, href);
    assertEquals((await load(kubeconfig(`{server: "${server}"}`))).server.href, href);
  });
}

Deno.test("loadAccess() refuses what is no server, with its place", async () => {
  for (const server of ["host/path", "http://", "https:host", "http://a b", "host:port", ":6443"]) {
    const error = await refused(kubeconfig(`{server: "${server}"}`));
    assertStringIncludes(error.message, `host must be a URL or a host:port pair: "${server}"`);
    assertEquals([error.line, error.key], [4, "clusters[0].cluster.server"]);
  }
  assertStringIncludes(
    (await refused("", { server: "localhost:99999" })).message,
    'host must be a URL or a host:port pair: "localhost:99999": port 99999 is larger than 65535',
  );
  for (const server of ["https://[fe80::1%25eth0]:6443", "[fe80::1%25eth0]:8001", "https://[fe80::1%eth0]/"]) {
    assertStringIncludes((await refused("", { server })).message, `"${server}": an IPv6 zone is not supported`);
  }
  assertStringIncludes((await refused("", { server: "ftp://h" })).message, 'unsupported protocol scheme "ftp"');
});

Deno.test("loadAccess() takes what has no name where none is named, as kubectl does", async () => {
  const text = `
clusters:
- cluster: {server: "https://nameless.example"}
- name: a
  cluster: {server: "https://a.example"}
contexts:
- name: c
  context: {cluster: a}
- name: d
  context: {namespace: shop}
- context: {cluster: a, namespace: unnamed}
users:
- user: {token: t}
`;
  // Each as kubectl 1.36 goes.
  const rows = [
    [text, "c", "https://a.example/ default"],
    [text, "d", "https://nameless.example/ shop"],
    [text, undefined, "https://a.example/ unnamed"],
    [text.replace(/contexts:[^]*users/, "users"), undefined, "https://nameless.example/ default"],
  ] as const;
  for (const [text, context, expected] of rows) {
    const { server, namespace, credentials } = await load(text, context === undefined ? {} : { context });
    assertEquals(`${server.href} ${namespace}`, expected);
    assertEquals(await credentials.headers(), [["Authorization", "Bearer t"]]);
  }
});

Deno.test("loadAccess() stays with http when TLS is configured for a server without a scheme, as kubectl does", async () => {
  const { server, tls } = await load(kubeconfig(`{server: h.example, certificate-authority-data: ${DATA}}`));
  assertEquals([server.href, tls], ["http://h.example/", {}]);
});

Deno.test("loadAccess() gives credentials to https servers only, impersonation to all", async () => {
  const user = "{token: t, as: me}";
  const plain = await load(kubeconfig("{server: http://h}", user));
  assertEquals(await plain.credentials.headers(), [["Impersonate-User", "me"]]);
  const socket = await load(kubeconfig("{server: h, via-unix-socket: /s}", user));
  assertEquals(await socket.credentials.headers(), [["Impersonate-User", "me"]]);
  const secure = await load(kubeconfig("{server: https://h, via-unix-socket: /s}", user));
  assertEquals(await secure.credentials.headers(), [["Authorization", "Bearer t"], ["Impersonate-User", "me"]]);
});

Deno.test("loadAccess() moves a user in the server's URL into basic authentication", async () => {
  const { server, credentials } = await load(kubeconfig("{server: 'http://me:p%40ss@h'}"));
  assertEquals([server.href, await credentials.headers()], ["http://h/", [[
    "Authorization",
    `Basic ${btoa("me:p@ss")}`,
  ]]]);
  await refused(kubeconfig("{server: 'http://%ff@h'}"));
  const token = await load(kubeconfig("{server: 'https://me:p@h'}", "{token: t}"));
  assertEquals(await token.credentials.headers(), [["Authorization", "Bearer t"]]);
});

Deno.test("loadAccess() reads the authority from data or from a file beside the kubeconfig", async () => {
  const data = await load(kubeconfig(`{server: https://h, certificate-authority-data: ${DATA}, tls-server-name: s}`));
  assertEquals(data.tls, { caCerts: [PEM], serverName: "s" });
  const file = await load(kubeconfig("{server: https://h, certificate-authority: ../ca.crt}"), {}, {
    "/home/me/.kube/../ca.crt": PEM,
  });
  assertEquals(file.tls, { caCerts: [PEM] });
});

Deno.test("loadAccess() drops the file's authority when a flag says whom to trust", async () => {
  const config = kubeconfig(`{server: https://h, certificate-authority-data: ${DATA}}`);
  assertEquals((await load(config, { insecureSkipTlsVerify: true })).tls, { insecureSkipVerify: true });
  const other = PEM + PEM;
  assertEquals((await load(config, { certificateAuthority: "ca" }, { ca: other })).tls, { caCerts: [other] });
  const insecure = kubeconfig("{server: https://h, insecure-skip-tls-verify: true}");
  assertEquals((await load(insecure, { certificateAuthority: "ca" }, { ca: other })).tls, { caCerts: [other] });
});

Deno.test("loadAccess() drops tls-server-name when --server overrides, and keeps credentials and authority", async () => {
  const config = kubeconfig(
    `{server: https://h, tls-server-name: s, certificate-authority-data: ${DATA}}`,
    "{token: t}",
  );
  const access = await load(config, { server: "https://other" });
  assertEquals([access.tls, (await access.credentials.headers()).length], [{ caCerts: [PEM] }, 1]);
  assertEquals((await load(config, { server: "https://o", tlsServerName: "n" })).tls.serverName, "n");
});

Deno.test("loadAccess() refuses an authority together with the insecure flag", async () => {
  const error = await refused(
    kubeconfig(`{server: https://h, certificate-authority-data: ${DATA}, insecure-skip-tls-verify: true}`),
  );
  assertEquals(error.problems, ["specifying a root certificates file with the insecure flag is not allowed"]);
  assertEquals(error.key, "clusters[0].cluster.insecure-skip-tls-verify");
  const flags = { server: "https://h", certificateAuthority: "ca", insecureSkipTlsVerify: true };
  assertEquals((await refused("", flags, { ca: PEM })).problems, error.problems);
});

Deno.test("loadAccess() refuses an authority that is not PEM", async () => {
  const error = await refused(kubeconfig("{server: https://h, certificate-authority-data: Tk9QRQ==}"));
  assertStringIncludes(error.message, "unable to load root certificates: unable to parse bytes as PEM block");
  assertEquals(error.key, "clusters[0].cluster.certificate-authority-data");
});

for (const proxy of ["http://p:3128", "https://p", "socks5://127.0.0.1:1080", "http://user:hunter2@p:3128"]) {
  Deno.test(`loadAccess() takes the proxy ${proxy}`, async () => {
    const access = await load(kubeconfig(`{server: https://h, proxy-url: "${proxy}"}`));
    assertEquals(access.proxy?.href, new URL(proxy).href);
    assertEquals((await load("", { server: "https://h", proxyUrl: proxy })).proxy?.href, new URL(proxy).href);
    assertEquals(Deno.inspect(access).includes("hunter2") || JSON.stringify(access).includes("hunter2"), false);
  });
}

Deno.test("loadAccess() refuses other proxies, without the password", async () => {
  const error = await refused(kubeconfig("{server: https://h, proxy-url: 'ftp://me:hunter2@p'}"));
  assertEquals(error.problems, [
    `invalid 'proxy-url' "ftp://p" for cluster "c": unsupported scheme "ftp", must be http, https, or socks5`,
  ]);
  assertEquals([error.line, error.key], [4, "clusters[0].cluster.proxy-url"]);
  const bare = await refused("", { proxyUrl: "http://" });
  assertEquals([bare.problems, bare.file], [[
    `invalid 'proxy-url' "http://" for cluster "": could not parse: http://`,
  ], undefined]);
});

for (
  const [text, path] of [
    ["/tmp/.unix-socket-proxy", "/tmp/.unix-socket-proxy"],
    ["~/.proxy.sock", "/home/me/.proxy.sock"],
    ["run/proxy.sock", "/home/me/.kube/run/proxy.sock"],
    ["@abstract", "@abstract"],
  ] as const
) {
  Deno.test(`loadAccess() dials via-unix-socket ${text} at ${path}`, async () => {
    const access = await load(kubeconfig(`{server: mykubecluster.com, via-unix-socket: "${text}"}`));
    assertEquals([access.unixSocket, access.server.href], [path, "http://mykubecluster.com/"]);
  });
}

Deno.test("loadAccess() takes --via-unix-socket over the file's, relative to the working folder", async () => {
  const config = kubeconfig("{server: https://h, via-unix-socket: /file, tls-server-name: s}");
  assertEquals((await load(config, { viaUnixSocket: "sock" })).unixSocket, "sock");
  assertEquals((await load(config, { viaUnixSocket: "~/sock" })).unixSocket, "/home/me/sock");
  assertEquals((await load(config, { server: "https://x" })).unixSocket, "/file");
  const alone = await load("", { viaUnixSocket: "/s" });
  assertEquals([alone.server.href, alone.unixSocket], ["http://localhost:8080/", "/s"]);
  const seed = await load("", { viaUnixSocket: "~/.myunixsocket", server: "mykubecluster.com" });
  assertEquals([seed.server.href, seed.unixSocket], ["http://mykubecluster.com/", "/home/me/.myunixsocket"]);
});

Deno.test("loadAccess() lets a flag choose between a proxy and a unix socket, and refuses both in a file", async () => {
  const both = "{server: https://h, via-unix-socket: /s, proxy-url: 'http://p'}";
  const error = await refused(kubeconfig(both));
  assertEquals(error.problems, ["via-unix-socket and proxy-url are both specified for c; only one is allowed"]);
  const socket = await load(kubeconfig(both), { viaUnixSocket: "/flag" });
  assertEquals([socket.unixSocket, socket.proxy], ["/flag", undefined]);
  const proxy = await load(kubeconfig(both), { proxyUrl: "http://flag" });
  assertEquals([proxy.unixSocket, proxy.proxy?.href], [undefined, "http://flag/"]);
});

Deno.test("loadAccess() joins all problems of a user and a cluster as kubectl does", async () => {
  const error = await refused(kubeconfig(
    `{certificate-authority: gone, certificate-authority-data: ${DATA}}`,
    "{token: hunter2, username: me, as-uid: '1', client-certificate: gone.crt}",
  ));
  const problems = [
    "client-key-data or client-key must be specified for u to use the clientCert authentication method.",
    "unable to read client-cert /home/me/.kube/gone.crt for u due to open /home/me/.kube/gone.crt: no such file or directory",
    "more than one authentication method found for u; found [token basicAuth], only one is allowed",
    "requesting uid, groups or user-extra for u without impersonating a user",
    'no server found for cluster "c"',
    "certificate-authority-data and certificate-authority are both specified for c. certificate-authority-data will override.",
    "unable to read certificate-authority /home/me/.kube/gone for c due to open /home/me/.kube/gone: no such file or directory",
  ];
  assertEquals(error.problems, problems);
  assertStringIncludes(error.message, `invalid configuration: [${problems[0]} (/home/me/.kube/config:6), `);
  assertEquals(error.message.includes("hunter2"), false);
});

for (
  const [user, text] of [
    ["{client-certificate-data: Y3J0}", "client-key-data or client-key must be specified for u to use"],
    [
      "{client-certificate-data: Y3J0, client-certificate: f, client-key: f}",
      "client-cert-data and client-cert are both specified for u. client-cert-data will override.",
    ],
    [
      "{client-certificate-data: Y3J0, client-key-data: a2V5, client-key: f}",
      "client-key-data and client-key are both specified for u; client-key-data will override",
    ],
    ["{exec: {apiVersion: client.authentication.k8s.io/v1beta1}}", "command must be specified for u to use exec"],
    [
      "{exec: {command: c, interactiveMode: Never}}",
      "apiVersion must be specified for u to use exec authentication plugin",
    ],
    ["{exec: {command: c, apiVersion: client.authentication.k8s.io/v1}}", "interactiveMode must be specified for u"],
    [
      "{exec: {command: c, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Often}}",
      'invalid interactiveMode for u: "Often"',
    ],
    [
      "{exec: {command: c, apiVersion: client.authentication.k8s.io/v1beta1, env: [{value: x}]}}",
      "env variable name must be specified for u to use exec authentication plugin",
    ],
    [
      "{auth-provider: {name: oidc}, exec: {command: c, apiVersion: client.authentication.k8s.io/v1beta1}}",
      "authProvider cannot be provided in combination with an exec plugin for u",
    ],
    ["{password: p, token: t}", "more than one authentication method found for u; found [token basicAuth]"],
    ["{tokenFile: f, username: me}", "username/password or bearer token may be set, but not both"],
    ["{as-groups: [g]}", "requesting uid, groups or user-extra for u without impersonating a user"],
    ["{as-user-extra: {k: [v]}}", "requesting uid, groups or user-extra for u without impersonating a user"],
    [
      "{exec: {command: c, apiVersion: client.authentication.k8s.io/v1alpha1}}",
      'exec plugin: invalid apiVersion "client.authentication.k8s.io/v1alpha1"',
    ],
    ["{auth-provider: {name: gcp}}", 'the auth provider "gcp" was removed'],
    ["{auth-provider: {name: azure}}", 'the auth provider "azure" was removed'],
    ["{auth-provider: {name: what}}", 'no Auth Provider found for name "what"'],
    ["{tokenFile: gone}", 'failed to read token file "/home/me/.kube/gone": no such file or directory'],
    ["{tokenFile: empty}", 'read empty token from file "/home/me/.kube/empty"'],
    ['{as: "a\\r\\nb"}', "the value for the header Impersonate-User contains a line break"],
  ] as const
) {
  Deno.test(`loadAccess() refuses the user ${user}`, async () => {
    const files = { "/home/me/.kube/f": PEM, "/home/me/.kube/empty": " \n" };
    const error = await refused(kubeconfig("{server: https://h}", user), {}, files);
    assertStringIncludes(error.message, text);
    assertEquals([error.file, error.key?.startsWith("users[0]")], ["/home/me/.kube/config", true]);
  });
}

Deno.test("loadAccess() does not blame the file for what a flag says", async () => {
  const config = kubeconfig("{server: https://h}", "{client-certificate: f, client-key: f}");
  const error = await refused(config, { clientKey: "/nope" }, { "/home/me/.kube/f": PEM });
  assertEquals(error.problems, ["unable to read client-key /nope for u due to open /nope: no such file or directory"]);
  assertEquals([error.file, error.line], [undefined, undefined]);
});

function pod(files: Record<string, string | Error> = {}, variables: Record<string, string> = {}): FakeHost {
  return new FakeHost({
    [`${ACCOUNT}/token`]: "pod-token\n",
    [`${ACCOUNT}/ca.crt`]: PEM,
    [`${ACCOUNT}/namespace`]: "pod-namespace\n",
    ...files,
  }, { KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443", ...variables });
}

Deno.test("loadAccess() uses the pod's service account when nothing is configured", async () => {
  const access = await loadAccess({}, pod());
  assertEquals([access.server.href, access.namespace, access.tls], ["https://10.96.0.1/", "pod-namespace", {
    caCerts: [PEM],
  }]);
  assertEquals(await access.credentials.headers(), [["Authorization", "Bearer pod-token"]]);
  const six = await loadAccess({}, pod({}, { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "6443" }));
  assertEquals(six.server.href, "https://[fd00::1]:6443/");
});

Deno.test("loadAccess() puts flags over the pod's service account", async () => {
  const access = await loadAccess({ token: "flag", namespace: "n", impersonate: { user: "me" } }, pod());
  assertEquals(await access.credentials.headers(), [["Authorization", "Bearer flag"], ["Impersonate-User", "me"]]);
  assertEquals(access.namespace, "n");
  const users = { "/home/me/.kube/config": "users: [{name: v, user: {token: of-v}}]" };
  const other = await loadAccess({ user: "v" }, pod(users));
  assertEquals([other.server.host, await other.credentials.headers()], ["10.96.0.1", [[
    "Authorization",
    "Bearer of-v",
  ]]]);
});

Deno.test("loadAccess() gives the pod's token to nobody else", async () => {
  for (const options of [{ server: "https://other" }, { viaUnixSocket: "/s" }, { proxyUrl: "http://p" }]) {
    const { credentials, server } = await loadAccess(options, pod());
    assertEquals(await credentials.headers(), [], server.href);
  }
});

Deno.test("loadAccess() takes the pod's namespace for a context that has none, POD_NAMESPACE first", async () => {
  const file = { "/home/me/.kube/config": kubeconfig("{server: https://h}") };
  assertEquals((await loadAccess({}, pod(file))).namespace, "pod-namespace");
  assertEquals((await loadAccess({}, pod(file, { POD_NAMESPACE: "from-env" }))).namespace, "from-env");
  const named = { "/home/me/.kube/config": kubeconfig("{server: https://h}", "{}", "cluster: c, namespace: default") };
  assertEquals((await loadAccess({}, pod(named))).namespace, "default");
});

Deno.test("loadAccess() warns when the pod's authority is missing, and trusts the system's", async () => {
  const warnings: string[] = [];
  const host = pod({ [`${ACCOUNT}/ca.crt`]: systemError("EACCES") });
  const access = await loadAccess({ onWarning: (text) => warnings.push(text) }, host);
  assertEquals([access.tls, warnings], [{}, [
    `Expected to load root CA config from ${ACCOUNT}/ca.crt, but got err: permission denied`,
  ]]);
});
