import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/kubeconfig/mod.ts";
import { parsePods } from "../../lib/server/pod_manifest.ts";
import { YamlFile } from "../../lib/server/yaml_file.ts";

Deno.test("parsePods() reads pods as Kubernetes spells them", () => {
  const { pods, warnings } = parsePods(
    new YamlFile(
      `# Two pods.
apiVersion: v1
kind: Pod
metadata:
  name: web.0
  namespace: dev
  labels: {app: web, empty: ""}
  annotations:
    note: "1"
spec:
  serviceAccountName: none
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 5
  containers:
  - name: main
    image: nginx:1.29
    command: [serve, "--name=$(WHO)", "$$(WHO)", "$(NOBODY)"]
    args: ["$(GREETING)"]
    env:
    - {name: WHO, value: me}
    - {name: GREETING, value: "hello $(WHO)"}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    workingDir: /tmp
    tty: true
    stdin: true
    ports:
    - {name: http, containerPort: 80, hostPort: 8080, protocol: TCP}
    - containerPort: 9090
    livenessProbe: {}
---
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: db}, spec: {containers: [{name: main, command: [sleep, "1"]}]}}
`,
      "pods.yaml",
    ),
  );
  assertEquals(pods, [
    {
      name: "web.0",
      namespace: "dev",
      labels: { app: "web", empty: "" },
      annotations: { note: "1" },
      containers: [{
        name: "main",
        command: ["serve", "--name=me", "$(WHO)", "$(NOBODY)"],
        args: ["hello me"],
        env: { WHO: "me", GREETING: "hello me", POD: "" },
        ports: [{ containerPort: 80, name: "http" }, { containerPort: 9090 }],
        cwd: "/tmp",
        tty: true,
        stdin: true,
      }],
      ports: { 80: 8080 },
      restartPolicy: "OnFailure",
      terminationGracePeriodSeconds: 5,
    },
    {
      name: "db",
      containers: [{ name: "main", command: ["sleep", "1"], tty: false, stdin: false }],
      ports: {},
      restartPolicy: "Always",
    },
  ]);
  assertEquals(warnings, [
    "pods.yaml:11: spec.serviceAccountName: has no effect here",
    "pods.yaml:29: spec.containers[0].livenessProbe: has no effect here",
    "pods.yaml:22: spec.containers[0].env[2].valueFrom: has no effect here",
  ]);
});

Deno.test("parsePods() names file, line and key of what is wrong", () => {
  const head = "apiVersion: v1\nkind: Pod\n";
  const pod = (spec: string, name = "a") => `${head}metadata: {name: ${name}}\nspec:\n  ${spec}`;
  const container = (more: string) => pod(`containers: [{name: a, command: [a], ${more}}]`);
  const label = 'must be at most 63 lower case letters, digits and "-", with a letter or digit at each end';
  const rows: Array<[text: string, message: string]> = [
    ["", "p.yaml:1: there is no pod in it"],
    ["- 1", "p.yaml:1: must be a mapping, not a list"],
    ["kind: Deployment", "p.yaml:1: kind: must be Pod, not Deployment: the host runs no other objects"],
    ["kind: Pod", "p.yaml:1: apiVersion: must be v1, not nothing"],
    [head, "p.yaml:1: metadata: is missing"],
    [`${head}metadata: {}\nspec: {}`, "p.yaml:4: spec.containers: must have at least one container"],
    [pod("containers: []"), "p.yaml:5: spec.containers: must have at least one container"],
    [pod("containers: [{}]"), "p.yaml:5: spec.containers[0].command: is missing: there is no image that has one"],
    [pod("containers: [{command: [a]}]"), "p.yaml:5: spec.containers[0].name: is missing"],
    [pod("containers: [{command: [a], name: A}]"), `p.yaml:5: spec.containers[0].name: ${label}`],
    [pod("containers: [{command: [a], name: a.b}]"), `p.yaml:5: spec.containers[0].name: ${label}`],
    [
      pod("containers: [{command: [a], name: a}]", "A"),
      'p.yaml:3: metadata.name: must be at most 253 lower case letters, digits and "-", with a letter or digit at each end',
    ],
    [
      pod("containers: [{command: [a], name: a}, {command: [a], name: a}]"),
      "p.yaml:5: spec.containers[1].name: another container is called a",
    ],
    [
      `${pod("containers: [{command: [a], name: a}]")}\n---\n${pod("containers: [{command: [a], name: a}]")}`,
      "p.yaml:9: metadata.name: another pod in the namespace default is called a",
    ],
    [
      pod("restartPolicy: Sometimes\n  containers: [{command: [a], name: a}]"),
      "p.yaml:5: spec.restartPolicy: must be Always, OnFailure or Never",
    ],
    [container("tty: 1"), "p.yaml:5: spec.containers[0].tty: must be true or false, not a number"],
    [container("args: [1]"), "p.yaml:5: spec.containers[0].args[0]: must be a string, not a number (put it in quotes)"],
    [container("env: [{value: a}]"), "p.yaml:5: spec.containers[0].env[0].name: is missing"],
    [container("ports: [{}]"), "p.yaml:5: spec.containers[0].ports[0].containerPort: is missing"],
    [
      container("ports: [{containerPort: 65536}]"),
      "p.yaml:5: spec.containers[0].ports[0].containerPort: must be a whole number from 1 to 65535",
    ],
    [
      container("ports: [{containerPort: '80'}]"),
      "p.yaml:5: spec.containers[0].ports[0].containerPort: must be a whole number from 1 to 65535",
    ],
  ];
  for (const [text, message] of rows) {
    const error = assertThrows(() => parsePods(new YamlFile(text, "p.yaml")), ConfigError, undefined, text);
    assertEquals(error.message, message);
  }
});
