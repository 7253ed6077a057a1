import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { readUntil } from "../support/read_until.ts";
import { type Ground, ground, type Row, ROWS, type ServerName, type TestPod, type Way } from "./ground.ts";

/** What API servers count: `apiserver_…` metrics of Kubernetes 1.36, apiserver/pkg/util/proxy/metrics. */
type Counts = Record<string, number>;

/** What one session adds to the counts. Servers with `ExtendWebSocketsToKubelet` off everywhere count no pass-through. */
function expectedCounts(way: Way, subresource: "exec" | "portforward"): Counts {
  const sessions = (type: string) =>
    `websocket_streaming_requests_total{proxy_type="${type}",subresource="${subresource}"}`;
  switch (way) {
    case "direct":
      return { [sessions("proxied_to_kubelet")]: 1 };
    case "translated":
      return {
        [sessions("translated_at_apiserver")]: 1,
        ...(subresource === "exec"
          ? { 'stream_translator_requests_total{code="200"}': 1 }
          : { 'stream_tunnel_requests_total{code="101"}': 1 }),
      };
    case "uncounted":
    case "fallback":
      return {};
  }
}

async function counts(cluster: Ground, server: ServerName): Promise<Counts> {
  const { stdout } = await cluster.kubectl(["get", "--raw", "/metrics"], { server });
  const lines = stdout.matchAll(/^apiserver_((?:stream_|websocket_streaming_)\S+) (\d+)$/gm);
  return Object.fromEntries([...lines].map(([, name, value]) => [name, Number(value)]));
}

/**
 * Runs a session and holds what it added to the API server's counts against what its way adds. Others may use the
 * cluster at the same time: a session that was not alone is run again.
 */
async function assertWay(cluster: Ground, row: Row, subresource: "exec" | "portforward", session: () => Promise<void>) {
  const expected = expectedCounts(row.way, subresource);
  let added: Counts = {};
  for (let attempt = 0; attempt < 5; attempt++) {
    const before = await counts(cluster, row.server);
    await session();
    const after = await counts(cluster, row.server);
    const differences = Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)] as const);
    added = Object.fromEntries(differences.filter(([, difference]) => difference !== 0));
    if (JSON.stringify(Object.entries(added).sort()) === JSON.stringify(Object.entries(expected).sort())) return;
  }
  assertEquals(added, expected);
}

for (const row of ROWS) {
  Deno.test(`kubectl exec goes the way "${row.way}" on ${row.name}`, async () => {
    const cluster = await ground();
    await cluster.withPod({ node: row.node }, async (pod) => {
      await assertWay(cluster, row, "exec", async () => {
        const { code, stdout, stderr } = await cluster.kubectl(["-v=8", "exec", pod.name, "--", "echo", "hello"], {
          server: row.server,
        });
        assertEquals([code, stdout], [0, "hello\n"]);
        assertStringIncludes(stderr, "Sec-Websocket-Protocol: v5.channel.k8s.io");
        if (row.way === "fallback") {
          assertStringIncludes(stderr, "websocket: bad handshake (403 Forbidden)");
          assertStringIncludes(stderr, "Upgrade: SPDY/3.1");
          assertStringIncludes(stderr, "X-Stream-Protocol-Version: v4.channel.k8s.io\n >"); // What the kubelet chose.
        } else {
          assertStringIncludes(stderr, '"Subprotocol negotiated" protocol="v5.channel.k8s.io"');
          assert(!stderr.includes("SPDY"), stderr);
        }
      });
    });
  });

  Deno.test(`kubectl port-forward goes the way "${row.way}" on ${row.name}`, async () => {
    const cluster = await ground();
    const server = {
      name: "main",
      command: ["httpd", "-f", "-p", "8080", "-h", "/etc"],
      readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 },
    };
    await cluster.withPod({ node: row.node, containers: [server] }, async (pod) => {
      await assertWay(cluster, row, "portforward", async () => {
        const log = await forwardOnce(cluster, row, pod);
        if (row.way === "fallback") {
          assertStringIncludes(log, 'websocket: bad handshake (400 Bad Request): query parameter "port" is required');
          assertStringIncludes(log, "Upgrade: SPDY/3.1");
        } else {
          assertStringIncludes(log, "negotiated protocol: portforward.k8s.io");
          assert(!log.includes("fallback"), log);
        }
      });
    });
  });
}

/** Forwards a free port, fetches a file through it, and gives kubectl's log. */
async function forwardOnce(cluster: Ground, row: Row, pod: TestPod): Promise<string> {
  const [program = "", ...args] = [...cluster.enter, cluster.kubectlPath(), "-v=8", "port-forward", pod.name, ":8080"];
  const env = cluster.environment(row.server);
  const forward = new Deno.Command(program, { args, env, stdout: "piped", stderr: "piped" }).spawn();
  const log = new Response(forward.stderr).text();
  const listening = /^Forwarding from 127\.0\.0\.1:(\d+) -> 8080$/m;
  try {
    const output = await readUntil(forward.stdout, (text) => listening.test(text));
    const port = listening.exec(output)?.[1];
    assert(port !== undefined, `kubectl port-forward ended early: ${output}`);
    const { stdout } = await cluster.run(["/bin/busybox", "wget", "-q", "-O-", `http://127.0.0.1:${port}/group`]);
    assertEquals(stdout, "root:x:0:\n");
  } finally {
    forward.kill("SIGINT");
    await forward.stdout.cancel();
    await forward.status;
  }
  return await log;
}
