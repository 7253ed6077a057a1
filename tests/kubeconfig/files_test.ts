import { assertEquals, assertRejects } from "@std/assert";
import { ConfigError, loadAccess } from "../../lib/kubeconfig/mod.ts";
import { FakeHost, kubeconfig, systemError } from "./fake_host.ts";

const server = async (host: FakeHost, kubeconfig?: string) =>
  (await loadAccess(kubeconfig ? { kubeconfig } : {}, host)).server.href;

Deno.test("loadAccess() prefers the option over KUBECONFIG over the home's file", async () => {
  const host = new FakeHost({
    "/one": kubeconfig("{server: https://one}"),
    "/two": kubeconfig("{server: https://two}"),
    "/home/me/.kube/config": kubeconfig("{server: https://three}"),
  });
  assertEquals(await server(host), "https://three/");
  host.variables["KUBECONFIG"] = "/two";
  assertEquals(await server(host), "https://two/");
  assertEquals(await server(host, "/one"), "https://one/");
});

Deno.test("loadAccess() asks the host for nothing but what it needs", async () => {
  const host = new FakeHost({ "/one": kubeconfig("{server: https://one}", "{}", "cluster: c, user: u, namespace: x") });
  await loadAccess({ kubeconfig: "/one" }, host);
  assertEquals(host.asked, ["read /one"]);
});

Deno.test("loadAccess() refuses an option that names a missing file, in kubectl's words", async () => {
  const error = await assertRejects(() => loadAccess({ kubeconfig: "/x" }, new FakeHost()), ConfigError);
  assertEquals([error.message, error.file], ["stat /x: no such file or directory", "/x"]);
});

Deno.test("loadAccess() skips missing files of a list, and warns when all are missing", async () => {
  const host = new FakeHost({ "/b": kubeconfig("{server: https://b}") }, { KUBECONFIG: "/a::/b:/a" });
  const warnings: string[] = [];
  const onWarning = (text: string) => warnings.push(text);
  assertEquals((await loadAccess({ onWarning }, host)).server.href, "https://b/");
  assertEquals(warnings, []);
  host.files.clear();
  assertEquals((await loadAccess({ onWarning }, host)).server.href, "http://localhost:8080/");
  assertEquals(warnings, ["Config not found: /a, /b"]);
});

Deno.test("loadAccess() does not warn about a missing file in the home", async () => {
  const warnings: string[] = [];
  await loadAccess({ onWarning: (text) => warnings.push(text) }, new FakeHost());
  assertEquals(warnings, []);
});

Deno.test("loadAccess() takes the first file's entry whole, and its current context", async () => {
  const host = new FakeHost({
    "/a": "clusters:\n- name: c\n  cluster: {server: https://a}\n",
    "/b": kubeconfig("{server: https://b, tls-server-name: b, insecure-skip-tls-verify: true}"),
    "/c": "current-context: other\n",
  }, { KUBECONFIG: "/a:/b:/c" });
  const access = await loadAccess({}, host);
  assertEquals([access.server.href, access.tls], ["https://a/", {}]);
});

Deno.test("loadAccess() fails for a file that cannot be read or parsed, wherever it is in the list", async () => {
  const host = new FakeHost({ "/a": kubeconfig("{server: https://a}"), "/b": systemError("EACCES") });
  host.variables["KUBECONFIG"] = "/a:/b";
  const denied = await assertRejects(() => loadAccess({}, host), ConfigError);
  assertEquals(denied.message, 'error loading config file "/b": open /b: permission denied');
  host.files.set("/b", "clusters: 5");
  const broken = await assertRejects(() => loadAccess({}, host), ConfigError);
  assertEquals(broken.message, 'error loading config file "/b": line 1: clusters: must be a list, not a number');
});

Deno.test("loadAccess() reads Windows' lists and paths on Windows", async () => {
  const host = new FakeHost({
    "C:\\cfg\\b": kubeconfig("{server: https://b, certificate-authority: 'pki\\ca.crt'}"),
    "C:\\cfg\\pki\\ca.crt": "-----BEGIN CERTIFICATE-----",
  }, { KUBECONFIG: "C:\\a;C:\\cfg\\b" });
  host.windows = true;
  assertEquals((await loadAccess({}, host)).tls.caCerts, ["-----BEGIN CERTIFICATE-----"]);
  host.files.set("C:\\Users\\me\\.kube\\config", kubeconfig("{server: https://home}"));
  host.variables["KUBECONFIG"] = "";
  host.home = "C:\\Users\\me";
  assertEquals((await loadAccess({}, host)).server.href, "https://home/");
});
