import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ConfigError, CredentialsError, loadAccess } from "../../lib/kubeconfig/mod.ts";
import { type FakeHost, hostWith, kubeconfig, systemError } from "./fake_host.ts";

const FILE = "/home/me/.kube/token";

const https = (user: string) => kubeconfig("{server: https://h}", user);

const authorization = async (host: FakeHost, options = {}) =>
  Object.fromEntries(await (await loadAccess(options, host)).credentials.headers())["Authorization"];

Deno.test("credentials give a bearer token, or basic authentication in UTF-8", async () => {
  assertEquals(await authorization(hostWith(https("{token: abc}"))), "Bearer abc");
  // RFC 7617, 2.1: the user-id "test" and the password "123£".
  assertEquals(await authorization(hostWith(https("{username: test, password: '123£'}"))), "Basic dGVzdDoxMjPCow==");
  assertEquals(await authorization(hostWith(https("{username: test}"))), `Basic ${btoa("test:")}`);
  assertEquals(await authorization(hostWith(https("{}")), { username: "a", password: "b" }), `Basic ${btoa("a:b")}`);
});

Deno.test("a token file is read again when it is a minute old, ten seconds early", async () => {
  const host = hostWith(https("{tokenFile: token}"), { [FILE]: "  one\n" });
  const { credentials } = await loadAccess({}, host);
  const token = async () => (await credentials.headers())[0]?.[1];
  assertEquals(await token(), "Bearer one");
  host.files.set(FILE, "two");
  host.time += 49_999;
  assertEquals(await token(), "Bearer one");
  host.time += 1;
  assertEquals(await token(), "Bearer two");
});

Deno.test("a token file that fails leaves the last good token in use, and is tried again", async () => {
  const host = hostWith(https("{tokenFile: token}"), { [FILE]: "one" });
  const { credentials } = await loadAccess({}, host);
  host.time += 60_000;
  for (const broken of [systemError("EACCES"), " \n"]) {
    host.files.set(FILE, broken);
    assertEquals(await credentials.headers(), [["Authorization", "Bearer one"]]);
  }
  host.files.set(FILE, "two");
  assertEquals(await credentials.headers(), [["Authorization", "Bearer two"]]);
});

Deno.test("invalidate() makes the next request read the token file", async () => {
  const host = hostWith(https("{tokenFile: token}"), { [FILE]: "one" });
  const { credentials } = await loadAccess({}, host);
  host.files.set(FILE, "two");
  credentials.invalidate();
  assertEquals(await credentials.headers(), [["Authorization", "Bearer two"]]);
});

Deno.test("a token file wins over the token beside it, which stands in for it; --token wins over both", async () => {
  const host = hostWith(https("{token: static, tokenFile: token}"), { [FILE]: "file" });
  assertEquals(await authorization(host), "Bearer file");
  assertEquals(await authorization(host, { token: "flag" }), "Bearer flag");
  host.files.delete(FILE);
  assertEquals(await authorization(host), "Bearer static");
});

Deno.test("a token with a line break is refused, not sent", async () => {
  const host = hostWith(https("{tokenFile: token}"), { [FILE]: "hunter2\r\nImpersonate-User: root" });
  const { credentials } = await loadAccess({}, host);
  const error = await assertRejects(() => credentials.headers(), CredentialsError, "line break");
  assertEquals(Deno.inspect(error).includes("hunter2"), false);
});

Deno.test("a client certificate comes from data or files, and files are read for each connection", async () => {
  const data = hostWith(
    https(`{client-certificate-data: ${btoa("-----BEGIN CERT")}, client-key-data: ${btoa("-----BEGIN KEY")}}`),
  );
  assertEquals(await (await loadAccess({}, data)).credentials.clientCertificate(), {
    cert: "-----BEGIN CERT",
    key: "-----BEGIN KEY",
  });

  const host = hostWith(https(`{client-certificate: ./pki/crt, client-key: /abs/key}`), {
    "/home/me/.kube/pki/crt": "-----BEGIN CERT",
    "/abs/key": "-----BEGIN KEY",
  });
  const { credentials } = await loadAccess({}, host);
  assertEquals(await credentials.clientCertificate(), { cert: "-----BEGIN CERT", key: "-----BEGIN KEY" });
  host.files.set("/abs/key", "-----BEGIN NEW");
  assertEquals(await credentials.clientCertificate(), { cert: "-----BEGIN CERT", key: "-----BEGIN NEW" });
  host.files.set("/abs/key", "");
  await assertRejects(() => credentials.clientCertificate(), CredentialsError, "any PEM data in the client key");
  host.files.delete("/abs/key");
  await assertRejects(
    () => credentials.clientCertificate(),
    CredentialsError,
    "failed to read the client key /abs/key: no such file or directory",
  );
  assertEquals(await credentials.headers(), []);
});

Deno.test("flags replace the certificate and key of the file", async () => {
  const host = hostWith(
    https(`{client-certificate-data: ${btoa("-----BEGIN CERT")}, client-key-data: ${btoa("-----BEGIN KEY")}}`),
    {
      crt: "-----BEGIN FLAG CERT",
      key: "-----BEGIN FLAG KEY",
    },
  );
  const { credentials } = await loadAccess({ clientCertificate: "crt", clientKey: "key" }, host);
  assertEquals(await credentials.clientCertificate(), { cert: "-----BEGIN FLAG CERT", key: "-----BEGIN FLAG KEY" });
});

Deno.test("impersonation sends uid, groups and extra, their keys percent-encoded as by client-go", async () => {
  // The escapes: client-go transport/round_trippers_test.go, "extra with percent encoding".
  const user = `
    as: jane
    as-uid: "1-2"
    as-groups: [dev, ops]
    as-user-extra: {scopes: [view, edit], "example.com/thing one": [x], "20%é": [w], "ok!#$&'*+-.^_\`|~": [z]}
`;
  const host = hostWith(kubeconfig("{server: https://h}", "").replace("  user: ", () => `  user:${user}`));
  assertEquals(await (await loadAccess({}, host)).credentials.headers(), [
    ["Impersonate-User", "jane"],
    ["Impersonate-Uid", "1-2"],
    ["Impersonate-Group", "dev"],
    ["Impersonate-Group", "ops"],
    ["Impersonate-Extra-scopes", "view"],
    ["Impersonate-Extra-scopes", "edit"],
    ["Impersonate-Extra-example.com%2Fthing%20one", "x"],
    ["Impersonate-Extra-20%25%C3%A9", "w"],
    ["Impersonate-Extra-ok!#$&'*+-.^_`|~", "z"],
  ]);
  const flags = { user: "joe", groups: ["g"], extra: { scopes: ["one"] } };
  const headers = await (await loadAccess({ impersonate: flags }, host)).credentials.headers();
  assertEquals(headers.slice(0, 4), [
    ["Impersonate-User", "joe"],
    ["Impersonate-Uid", "1-2"],
    ["Impersonate-Group", "g"],
    ["Impersonate-Extra-scopes", "one"],
  ]);
});

/** A token whose payload is these claims; nobody looks at the signature. */
function jwt(claims: unknown): string {
  const payload = btoa(JSON.stringify(claims)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return `e30.${payload}.hunter2`;
}

const oidc = (config: string) => https(`{auth-provider: {name: oidc, config: ${config}}}`);

Deno.test("oidc uses the id-token until ten seconds before its end, then says what to do", async () => {
  const exp = Date.parse("2026-01-01T00:01:00Z") / 1000;
  const token = jwt({ exp, sub: "~~~???" });
  const host = hostWith(oidc(`{idp-issuer-url: https://i, client-id: me, id-token: ${token}, refresh-token: r}`));
  const { credentials } = await loadAccess({}, host);
  host.time = exp * 1000 - 10_001;
  assertEquals(await credentials.headers(), [["Authorization", `Bearer ${token}`]]);
  host.time++;
  const error = await assertRejects(
    () => credentials.headers(),
    CredentialsError,
    'the user "u" has no valid id-token',
  );
  assertStringIncludes(error.message, "let kubectl renew it");
  assertEquals(await authorization(host, { token: "flag" }), "Bearer flag");
});

Deno.test("oidc names what is missing, and does not quote a token that is none", async () => {
  for (
    const [config, text] of [
      ["{client-id: me}", "Must provide idp-issuer-url"],
      ["{idp-issuer-url: https://i}", "Must provide client-id"],
      ["{idp-issuer-url: https://i, client-id: me, id-token: hunter2}", "ID Token is not a valid JWT"],
      ["{idp-issuer-url: https://i, client-id: me, id-token: a.hunter2.c}", "ID Token is not a valid JWT"],
    ] as const
  ) {
    const error = await assertRejects(() => loadAccess({}, hostWith(oidc(config))), ConfigError, text);
    assertEquals([error.key, Deno.inspect(error).includes("hunter2")], ["users[0].user.auth-provider", false]);
  }
});

Deno.test("nothing that is loaded shows a secret when it is printed or serialized", async () => {
  const secrets = `{token: hunter2, client-certificate-data: ${btoa("-----BEGIN CERT")}, client-key-data: ${
    btoa("hunter2")
  }}`;
  const users = [
    secrets,
    "{username: me, password: hunter2}",
    `{auth-provider: {name: oidc, config: {idp-issuer-url: https://i, client-id: me, id-token: ${jwt({})}}}}`,
    "{exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: c, env: [{name: A, value: hunter2}]}}",
  ];
  for (const user of users) {
    const access = await loadAccess(
      {},
      hostWith(kubeconfig("{server: 'https://h', proxy-url: 'http://me:hunter2@p'}", user)),
    );
    for (
      const shown of [
        Deno.inspect(access, { depth: 20, showHidden: false }),
        JSON.stringify(access),
        `${access.credentials}`,
      ]
    ) {
      assertEquals(shown.includes("hunter2"), false, shown);
    }
  }
});
