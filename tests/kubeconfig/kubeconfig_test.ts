import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parseKubeconfig } from "../../lib/kubeconfig/kubeconfig.ts";
import { ConfigError } from "../../lib/kubeconfig/mod.ts";

const BROKEN = new URL("testdata/broken/", import.meta.url);

/** Every broken file: the line and the key that are to blame, and a part of the text. */
const EXPECTED: Record<string, readonly [line: number, key: string | undefined, text: string]> = {
  "alias": [3, undefined, "the alias has no anchor before it"],
  "args": [4, "users[0].user.exec.args[1]", "must be a string, not a number (put it in quotes)"],
  "base64": [5, "clusters[0].cluster.certificate-authority-data", "must be base64"],
  "base64_padding": [3, "users[0].user.client-key-data", "must be base64, with padding"],
  "clusters_map": [2, "clusters", "must be a list, not a mapping"],
  "cycle": [1, undefined, "the alias has no anchor before it"],
  "duplicate_user": [5, "users[2].name", 'duplicate name "u", see line 2'],
  "env": [5, "users[0].user.exec.env", "must be a list, not a mapping"],
  "extra": [3, "users[0].user.as-user-extra.a", "must be a list, not a string"],
  "groups": [3, "users[0].user.as-groups", "must be a list, not a string"],
  "insecure_text": [3, "clusters[0].cluster.insecure-skip-tls-verify", "must be true or false, not a string"],
  "key": [1, undefined, "a key must be a scalar"],
  "kind": [2, "kind", 'must be "Config", not "Pod"'],
  "list": [2, undefined, "must be a mapping, not a list"],
  "merge": [3, undefined, "<< needs a mapping or a list of mappings"],
  "namespace_no": [3, "contexts[0].context.namespace", "must be a string, not the boolean no (put it in quotes)"],
  "not_yaml": [4, undefined, "not YAML: "],
  "server_number": [4, "clusters[0].cluster.server", "must be a string, not a number (put it in quotes)"],
  "tab": [3, undefined, "not YAML: "],
  "text": [1, undefined, "must be a mapping, not a string"],
  "token_list": [3, "users[0].user.token", "must be a string, not a list"],
  "token_number": [4, "users[0].user.token", "must be a string, not a number"],
  "version": [1, "apiVersion", 'must be "v1", not "v2"'],
};

Deno.test("every broken file of the test data is expected here", () => {
  const names = [...Deno.readDirSync(BROKEN)].map(({ name }) => name.replace(".kubeconfig", "")).toSorted();
  assertEquals(names, Object.keys(EXPECTED).toSorted());
});

for (const [name, [line, key, text]] of Object.entries(EXPECTED)) {
  Deno.test(`parseKubeconfig() names file, line and key of what is wrong in ${name}`, async () => {
    const content = await Deno.readTextFile(new URL(`${name}.kubeconfig`, BROKEN));
    const error = assertThrows(() => parseKubeconfig(content, "a/config"), ConfigError);
    assertEquals([error.file, error.line, error.key], ["a/config", line, key]);
    assertStringIncludes(error.message, `error loading config file "a/config": line ${line}: `);
    assertStringIncludes(error.message, text);
    for (const secret of ["hunter2", "31415926"]) {
      assert(!Deno.inspect(error).includes(secret), "the error shows a secret");
    }
  });
}

Deno.test("parseKubeconfig() takes an entry without a name for one with an empty name, of which there may be one", () => {
  for (const entry of ["user: {}", 'name: ""', "name:", "null"]) {
    assertEquals([...parseKubeconfig(`users:\n- ${entry}\n- name: a\n`, "f").users.keys()], ["", "a"], entry);
  }
  const error = assertThrows(
    () => parseKubeconfig("users:\n- user: {}\n- name: a\n- user: {}\n", "f"),
    ConfigError,
    'duplicate name "", see line 2',
  );
  assertEquals([error.line, error.key], [4, "users[2].name"]);
});

Deno.test("parseKubeconfig() takes a text without a document for an empty configuration", () => {
  for (const text of ["", "\n\n", "# nothing", "---\n", "null", "{}", "---\n---\nusers: 5"]) {
    const { clusters, users, contexts, currentContext } = parseKubeconfig(text, "f");
    assertEquals([clusters.size, users.size, contexts.size, currentContext], [0, 0, 0, undefined], text);
  }
});

Deno.test("parseKubeconfig() knows where each value stands", () => {
  const { clusters, currentContextAt } = parseKubeconfig(
    "clusters:\n- name: a\n- name: b\n  cluster:\n    server: x\n    proxy-url: http://p\ncurrent-context: a\n",
    "f",
  );
  assertEquals(clusters.get("b")?.at("proxy-url"), { file: "f", line: 6, key: "clusters[1].cluster.proxy-url" });
  assertEquals(clusters.get("b")?.at("tls-server-name"), { file: "f", line: 3, key: "clusters[1]" });
  assertEquals(clusters.get("a")?.at("server"), { file: "f", line: 2, key: "clusters[0]" });
  assertEquals(currentContextAt, { file: "f", line: 7, key: "current-context" });
});

Deno.test("parseKubeconfig() keeps the exec extension of a cluster as JSON", () => {
  const text = `
clusters:
- name: c
  cluster:
    extensions:
    - {name: other, extension: {a: b}}
    - {name: client.authentication.k8s.io/exec, extension: {n: 1_000, t: yes, x: ~, s: "5", l: [1.5, {}]}}
`;
  assertEquals(parseKubeconfig(text, "f").clusters.get("c")?.value.execExtension, {
    n: 1000,
    t: true,
    x: null,
    s: "5",
    l: [1.5, {}],
  });
});

Deno.test("parseKubeconfig() bounds what aliases and merges can grow to", () => {
  const list = (depth: number) =>
    Array.from({ length: depth }, (_, i) => `x${i}: &a${i} [${i ? `*a${i - 1},`.repeat(10) : "1"}]`).join("\n");
  const bomb = `${list(12)}
clusters: [{name: c, cluster: {extensions: [{name: client.authentication.k8s.io/exec, extension: *a11}]}}]`;
  assertThrows(() => parseKubeconfig(bomb, "f"), ConfigError, "extensions[0].extension: is too large");
  const keys = Array.from({ length: 200 }, (_, i) => `k${i}: 1`).join(", ");
  const merges = `x: &x {${keys}}\ny: {<<: [${"*x,".repeat(100)}]}`;
  assertThrows(() => parseKubeconfig(merges, "f"), ConfigError, "<< merges too many keys");
  assertThrows(() => parseKubeconfig("[".repeat(1000), "f"), ConfigError, "not YAML: nesting exceeded");
});

Deno.test("parseKubeconfig() quotes nothing of a text that is not YAML", () => {
  for (const text of ["password: !hunter2\u0001", 'password: "hunter2', "a: b: hunter2", "password: !hunter2%zz!x y"]) {
    const error = assertThrows(() => parseKubeconfig(text, "f"), ConfigError);
    assert(!Deno.inspect(error).includes("hunter2"), Deno.inspect(error));
  }
});
