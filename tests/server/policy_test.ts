import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/kubeconfig/mod.ts";
import { requestAttributes } from "../../lib/server/authorization.ts";
import { loadPolicy, parsePolicy, policyAuthorizer } from "../../lib/server/policy.ts";
import { YamlFile } from "../../lib/server/yaml_file.ts";

const POLICY = `
rules:
- verbs: [get, list]
  apiGroups: [""]
  resources: [pods, "*/log"]
  namespaces: [dev, test]
- verbs: [get, create]
  apiGroups: [""]
  resources: [pods/exec]
  resourceNames: [web-0]
- verbs: ["*"]
  apiGroups: [apps]
  resources: ["*"]
- verbs: [get]
  nonResourceURLs: [/version, /apis/*, /healthz*]
`;

async function allowed(policy: string, method: string, path: string): Promise<boolean> {
  const authorizer = policyAuthorizer(parsePolicy(new YamlFile(policy, "policy.yaml")));
  return (await authorizer(requestAttributes(method, path, ""), AbortSignal.abort())).allowed;
}

Deno.test("policyAuthorizer() allows what a rule does, and nothing else", async () => {
  const rows: Array<[allowed: boolean, method: string, path: string]> = [
    [true, "GET", "/api/v1/namespaces/dev/pods"],
    [true, "GET", "/api/v1/namespaces/test/pods/a"],
    [true, "GET", "/api/v1/namespaces/dev/pods/a/log"],
    [true, "GET", "/api/v1/namespaces/dev/cats/a/log"],
    [false, "GET", "/api/v1/namespaces/dev/pods/a/exec"],
    [false, "GET", "/api/v1/namespaces/dev/pods/a/status"],
    [false, "GET", "/api/v1/namespaces/prod/pods"],
    [false, "GET", "/api/v1/pods"],
    [false, "GET", "/api/v1/namespaces/dev"],
    [false, "DELETE", "/api/v1/namespaces/dev/pods/a"],
    [false, "DELETE", "/api/v1/namespaces/dev/pods"],
    [false, "GET", "/apis/metrics.k8s.io/v1beta1/namespaces/dev/pods"],
    [true, "GET", "/api/v1/namespaces/any/pods/web-0/exec"],
    [false, "GET", "/api/v1/namespaces/any/pods/web-1/exec"],
    [true, "DELETE", "/apis/apps/v1/deployments"],
    [true, "PUT", "/apis/apps/v1/namespaces/a/deployments/b/scale"],
    [true, "GET", "/version"],
    [false, "GET", "/version/"],
    [false, "POST", "/version"],
    [true, "GET", "/apis/apps"],
    [false, "GET", "/apis"],
    [true, "GET", "/healthz"],
    [true, "GET", "/healthz/etcd"],
    [false, "GET", "/"],
  ];
  for (const [expected, method, path] of rows) assertEquals(await allowed(POLICY, method, path), expected, path);
  assertEquals(await allowed("rules: []", "GET", "/version"), false);
});

Deno.test("parsePolicy() names file, line and key of what is wrong", () => {
  const rows: Array<[text: string, message: string]> = [
    ["", "p.yaml:1: rules: the policy is empty: it needs rules"],
    ["rule: []", "p.yaml:1: rule: unknown key; there are rules"],
    ["{}", "p.yaml:1: rules: is missing"],
    ["rules: 5", "p.yaml:1: rules: must be a list, not a number"],
    ["rules:\n- 5", "p.yaml:2: rules[0]: must be a mapping, not a number"],
    ["rules:\n- apiGroups: []", "p.yaml:2: rules[0].verbs: is missing"],
    ["rules:\n- verbs: []", "p.yaml:2: rules[0].verbs: has nothing in it"],
    ["rules:\n- verbs: get", "p.yaml:2: rules[0].verbs: must be a list, not a string"],
    ["rules:\n- verbs: [get, '']", "p.yaml:2: rules[0].verbs: has an empty text in it"],
    ["rules:\n- verbs: [get]\n  resources: [pods]", "p.yaml:2: rules[0].apiGroups: is missing"],
    [
      "rules:\n- verbs: [get]\n  namespace: [a]",
      "p.yaml:3: rules[0].namespace: unknown key; there are verbs, apiGroups, resources, resourceNames, namespaces, nonResourceURLs",
    ],
    ["rules:\n- verbs: [get]\n  verbs: [list]", "p.yaml:3: rules[0].verbs: is there twice"],
    [
      "rules:\n- verbs: [get]\n  nonResourceURLs: [/a]\n  namespaces: [b]",
      "p.yaml:4: rules[0].namespaces: a rule is for resources or for nonResourceURLs, not for both",
    ],
    [
      "rules:\n- verbs: [get]\n  nonResourceURLs: [/a/*/b]",
      'p.yaml:3: rules[0].nonResourceURLs: "/a/*/b" matches nothing: a path starts with a slash, and has a * at the end only',
    ],
    [
      "rules:\n- verbs: [get, List]",
      'p.yaml:2: rules[0].verbs: "List" matches nothing: a verb is in lower case, or * for all',
    ],
    [
      "rules:\n- verbs: [get]\n  apiGroups: [apps/v1]",
      'p.yaml:3: rules[0].apiGroups: "apps/v1" matches nothing: a group is in lower case and without its version, or * for all',
    ],
    [
      "rules:\n- verbs: [get]\n  apiGroups: ['']\n  resources: [pods/*]",
      'p.yaml:4: rules[0].resources: "pods/*" matches nothing: a resource is such as pods, pods/exec or */scale, or * for all',
    ],
    [
      "rules:\n- verbs: [get]\n  apiGroups: ['']\n  resources: [pods]\n  namespaces: [dev-*]",
      'p.yaml:5: rules[0].namespaces: "dev-*" matches nothing: a namespace is whole and in lower case, or * for all',
    ],
    ["rules: []\n---\nrules: []", "p.yaml:3: rules: a policy is one document"],
    ["rules: [", "p.yaml:1: not YAML: unexpected end of the stream within a flow collection"],
  ];
  for (const [text, message] of rows) {
    const error = assertThrows(() => parsePolicy(new YamlFile(text, "p.yaml")), ConfigError, undefined, text);
    assertEquals(error.message, message);
  }
});

Deno.test("loadPolicy() reads a file", async () => {
  const folder = await Deno.makeTempDir({ prefix: "podwire-policy-" });
  try {
    await assertRejects(
      () => loadPolicy(`${folder}/none.yaml`),
      ConfigError,
      `${folder}/none.yaml: no such file or directory`,
    );
    await Deno.writeTextFile(`${folder}/policy.yaml`, POLICY);
    const authorizer = await loadPolicy(`${folder}/policy.yaml`);
    const ask = async (path: string) =>
      (await authorizer(requestAttributes("GET", path, ""), AbortSignal.abort())).allowed;
    assertEquals([await ask("/version"), await ask("/api")], [true, false]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
