/**
 * A gateway that asks the cluster what its clients may do: each right for itself, kubectl's and podwire's ways to use it, and requests
 * that are not what they seem.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { PodwireError } from "../../lib/bytes/mod.ts";
import { Cluster, type Wire } from "../../lib/client/mod.ts";
import { loadAccess } from "../../lib/kubeconfig/mod.ts";
import { type Gateway, serveGateway, subjectAccessReview } from "../../lib/server/mod.ts";
import { Upstream } from "../../lib/server/upstream.ts";
import { type Ground, ground, type TestPod } from "./ground.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** What the users may do with a pod's streams; two of them are the cluster's own. */
const RIGHTS: Readonly<Record<string, readonly string[]>> = {
  getter: ["get"],
  creator: ["create"],
  both: ["get", "create"],
  nobody: [],
};

/** Runs `work` with a gateway that acts as admin for what `user` may do, and a pod. */
async function withGateway(
  user: string,
  work: (gateway: Gateway, pod: TestPod, cluster: Ground) => Promise<void>,
): Promise<void> {
  const cluster = await ground();
  const access = await loadAccess({ kubeconfig: cluster.kubeconfig(), viaUnixSocket: cluster.socket() });
  using upstream = Upstream.create(access);
  const authorize = subjectAccessReview({ transport: upstream.transport, user });
  const withPod = () =>
    cluster.withPod({}, async (pod) => {
      await using gateway = await serveGateway({ access, listen: { port: 0 }, authorize });
      await work(gateway, pod, cluster);
    });
  await (user === "both" ? cluster.withObjects(bindings(user), withPod) : withPod());
}

/** Both of the roles that the cluster's `getter` and `creator` have. */
function bindings(user: string): unknown[] {
  const apiGroup = "rbac.authorization.k8s.io";
  return ["getter", "creator"].map((name) => ({
    apiVersion: `${apiGroup}/v1`,
    kind: "ClusterRoleBinding",
    metadata: { name: `gateway-${name}-${crypto.randomUUID().slice(0, 8)}` },
    roleRef: { apiGroup, kind: "ClusterRole", name },
    subjects: [{ apiGroup, kind: "User", name: user }],
  }));
}

/** What somebody without `verb` is told. */
function refusal(user: string, verb: string, subresource: string): string {
  return `User "${user}" cannot ${verb} resource "pods/${subresource}" in API group "" in the namespace "default"`;
}

/** The first right that a wire asks for and the user lacks: a WebSocket begins with a GET, and to run something is to create. */
function lacking(verbs: readonly string[], wire: Wire): string | undefined {
  return (wire === "websocket" ? ["get", "create"] : ["create"]).find((verb) => !verbs.includes(verb));
}

for (const [user, verbs] of Object.entries(RIGHTS)) {
  Deno.test(`a gateway lets ${user} do just what [${verbs}] allows`, async () => {
    await withGateway(user, async (gateway, pod) => {
      for (const wire of ["websocket", "spdy"] as const) {
        await using api = new Cluster({ server: gateway.url, wire });
        const lacked = lacking(verbs, wire);
        const streams = {
          exec: async () => assertEquals((await api.pod(pod.name).exec(["sh", "-c", "exit 7"]).output()).code, 7),
          attach: async () => {
            const process = await api.pod(pod.name).attach().spawn();
            process.close();
            await assertRejects(() => process.status); // It is this side that leaves.
          },
          portforward: async () => {
            await using forward = await api.pod(pod.name).portForward();
            await using _connection = await forward.connect(80);
          },
        };
        for (const [subresource, open] of Object.entries(streams)) {
          if (lacked === undefined) {
            await open();
          } else if (subresource === "portforward" && verbs.length === 0) {
            await assertRejects(open, PodwireError, `User "${user}" cannot get resource "pods"`); // It looks at the pod first.
          } else {
            await assertRejects(open, PodwireError, refusal(user, lacked, subresource), `${wire} ${subresource}`);
          }
        }
      }
    });
  });
}

/** The status of the answer to a request that is sent as it is. */
async function ask(gateway: Gateway, request: string): Promise<number> {
  assert(gateway.address.transport === "tcp");
  using connection = await Deno.connect(gateway.address);
  for (let bytes = new TextEncoder().encode(request); bytes.length > 0;) {
    bytes = bytes.subarray(await connection.write(bytes));
  }
  let head = "";
  const buffer = new Uint8Array(4096);
  while (!head.includes("\r\n")) {
    const n = await connection.read(buffer);
    if (n === null) throw new Error(`no answer: ${head}`);
    head += new TextDecoder().decode(buffer.subarray(0, n));
  }
  return Number(head.split(" ")[1]);
}

/** A request for an upgrade to a command that would leave a file. */
function command(path: string, token: string, ...lines: readonly string[]): string {
  const key = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16))));
  return [
    `GET ${path}?command=touch&command=/tmp/proof&stdout=true HTTP/1.1`,
    ...(lines.some((line) => line.startsWith("Host:")) ? [] : ["Host: 127.0.0.1"]),
    ...(token === "" ? [] : [`Authorization: Bearer ${token}`]),
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${key}`,
    "Sec-WebSocket-Protocol: v5.channel.k8s.io",
    ...lines,
    "",
    "",
  ].join("\r\n");
}

Deno.test("a gateway lets nothing through for a forged Host, Origin, token, identity or path", async () => {
  await withGateway("getter", async (gateway, { name }, cluster) => {
    const token = gateway.token ?? "";
    const path = `/api/v1/namespaces/default/pods/${name}/exec`;
    const requests: Record<string, readonly [status: number, request: string]> = {
      "a page that has rebound its name": [403, command(path, token, "Host: attacker.example")],
      "a name that begins like the loopback": [403, command(path, token, "Host: 127.0.0.1.attacker.example")],
      "another page": [403, command(path, token, "Origin: https://attacker.example")],
      "a page without an origin": [403, command(path, token, "Origin: null")],
      "no token": [401, command(path, "")],
      "another token": [401, command(path, `${token}x`)],
      "a shorter token": [401, command(path, token.slice(0, -1))],
      "another token in the path": [401, command(`/wrong${path}`, "")],
      "the client's own name for itself": [403, command(path, token, "Impersonate-User: system:admin")],
      "the front proxy's name for it": [
        403,
        command(path, token, "X-Remote-User: admin", "X-Remote-Group: system:masters"),
      ],
      "the right path": [403, command(path, token)],
      "an encoded letter": [403, command(path.replace("exec", "%65xec"), token)],
      "an encoded slash": [400, command(path.replace("/exec", "%2fexec"), token)],
      "an encoded slash twice": [400, command(path.replace("/exec", "%252fexec"), token)],
      "dots": [400, command(path.replace("/namespaces", "/namespaces/../namespaces"), token)],
      "dots in a namespace": [400, command(path.replace("/default", "/a/../default"), token)],
      "encoded dots": [400, command(path.replace("/default", "/a/%2e%2e/default"), token)],
      "one dot": [400, command(path.replace("/pods", "/./pods"), token)],
      "two slashes": [400, command(path.replace("/pods", "//pods"), token)],
      "two slashes at the start": [400, command(`/${path}`, token)],
      "a slash at the end": [400, command(`${path}/`, token)],
      "a backslash": [400, command(path.replace("/pods", "%5cpods"), token)],
      "a zero": [400, command(`${path}%00`, token)],
      "capitals": [403, command(path.replace("exec", "EXEC"), token)],
      "another path behind a query": [403, command(`${path}%3fx`, token)],
    };
    const answers: Record<string, number> = {};
    for (const [what, [, request]] of Object.entries(requests)) {
      answers[what] = await ask(gateway, request);
    }
    const expected = Object.entries(requests).map(([what, [status]]) => [what, status]);
    assertEquals(answers, Object.fromEntries(expected));

    const { code } = await cluster.kubectl(["exec", name, "--", "test", "-e", "/tmp/proof"]);
    assertEquals(code, 1, "no command has run");
    // Another method for the same is another question with the same answer; what is allowed still is.
    for (const method of ["POST", "HEAD", "OPTIONS", "PUT", "CONNECT", "TRACE", "GET\t"]) {
      const status = await ask(gateway, command(path, token).replace("GET", method));
      assert(status >= 400 && status < 500, `${method}: ${status}`);
    }
    const plain = (path: string) =>
      `GET ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n\r\n`;
    assertEquals(await ask(gateway, plain(path.replace("/exec", ""))), 200);
    for (const secret of ["/api/v1/secrets", "/metrics", "/logs/", "/api/v1/namespaces/kube-system/secrets"]) {
      assertEquals(await ask(gateway, plain(secret)), 403, secret);
    }
  });
});
