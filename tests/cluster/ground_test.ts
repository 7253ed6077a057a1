import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ground, GroundError, SERVER_NAMES, TOKENS, USER_NAMES, type UserName } from "./ground.ts";

/** The subresources that are a session. */
const SESSIONS = ["pods/exec", "pods/attach", "pods/portforward"] as const;

/** What each user may do, as lists of verbs. */
const RIGHTS: Record<UserName, Record<"pods" | "secrets" | typeof SESSIONS[number], string[]>> = {
  admin: rights(["get", "create"], ["get", "create"], ["get", "create"]),
  token: rights(["get", "create"], ["get", "create"], ["get", "create"]),
  getter: rights(["get"], ["get"], []),
  creator: rights(["get"], ["create"], []),
  nobody: rights([], [], []),
};

function rights(pods: string[], sessions: string[], secrets: string[]): typeof RIGHTS[UserName] {
  return { pods, "pods/exec": sessions, "pods/attach": sessions, "pods/portforward": sessions, secrets };
}

for (const server of SERVER_NAMES) {
  Deno.test(`the users have their rights at the API server ${server}`, async () => {
    const cluster = await ground();
    for (const user of USER_NAMES) {
      const rights = await Promise.all(
        Object.keys(RIGHTS[user]).map(async (resource) => {
          const [kind = "", subresource = ""] = resource.split("/");
          const verbs: string[] = [];
          for (const verb of ["get", "create"]) {
            const args = ["auth", "can-i", verb, kind, `--subresource=${subresource}`];
            const { code, stdout, stderr } = await cluster.kubectl(args, { server, user });
            assertEquals(stderr, "");
            assertEquals([code, stdout.trim()], stdout.trim() === "yes" ? [0, "yes"] : [1, "no"]);
            if (code === 0) verbs.push(verb);
          }
          return [resource, verbs];
        }),
      );
      assertEquals(Object.fromEntries(rights), RIGHTS[user], user);
    }
  });

  Deno.test(`the unix socket of ${server} leads to its API server from outside the network namespace`, async () => {
    const cluster = await ground();
    const request =
      `GET /readyz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKENS.token}\r\nConnection: close\r\n\r\n`;
    const tls = ["-unix", cluster.socket(server), "-CAfile", cluster.certificateAuthority, "-verify_return_error"];
    const client = new Deno.Command("openssl", {
      args: ["s_client", "-quiet", "-no_ign_eof", ...tls],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const writer = client.stdin.getWriter();
    await writer.write(new TextEncoder().encode(request));
    const answer = await new Response(client.stdout).text(); // Until the server closes: then openssl ends as well.
    await writer.close().catch(() => {}); // openssl has gone already.
    await client.status;
    assertStringIncludes(answer, "HTTP/1.1 200 OK\r\n");
    assertStringIncludes(answer, "\r\n\r\nok");
  });
}

for (const version of ["1.28", "1.32", "1.36"] as const) {
  Deno.test(`kubectl ${version} says its version and runs a command`, async () => {
    const cluster = await ground();
    const { stdout } = await cluster.kubectl(["version", "--client", "-o", "json"], { version });
    assertStringIncludes(stdout, `"gitVersion": "v${version}.`);
    await cluster.withPod({}, async (pod) => {
      const args = ["exec", "-i", pod.name, "--", "wc", "-c"];
      assertEquals((await cluster.kubectl(args, { version, stdin: "12345" })).stdout, "5\n");
    });
  });
}

Deno.test("pods of both nodes reach each other, and the API server through its Service", async () => {
  const cluster = await ground();
  const web = {
    name: "main",
    command: ["httpd", "-f", "-p", "8080", "-h", "/etc"],
    readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 },
  };
  for (const [here, there] of [["node1", "node2"], ["node2", "node1"]] as const) {
    await cluster.withPod({ node: there, containers: [web] }, async (server) => {
      await cluster.withPod({ node: here }, async (client) => {
        const get = ["get", "pod", server.name, "-o", "jsonpath={.status.podIP}"];
        const address = (await cluster.kubectl(get)).stdout;
        const inPod = async (script: string) =>
          (await cluster.kubectl(["exec", client.name, "--", "sh", "-c", script])).stdout;
        assertEquals(await inPod(`wget -q -O- http://${address}:8080/group`), "root:x:0:\n");
        // Without TLS, which busybox does not speak, the API server still says what it is.
        const answer = await inPod("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 10.96.0.1 443");
        assertStringIncludes(answer, "Client sent an HTTP request to an HTTPS server.");
      });
    });
  }
});

Deno.test("withPod() deletes its pod when the work fails", async () => {
  const cluster = await ground();
  let name = "";
  const work = () =>
    cluster.withPod({}, (pod) => {
      name = pod.name;
      return Promise.reject(new Error("on purpose"));
    });
  await assertRejects(work, Error, "on purpose");
  const { code } = await cluster.kubectl(["wait", "--for=delete", `pod/${name}`, "--timeout=30s"]);
  assertEquals(code, 0);
});

Deno.test("createPod() waits for the end of a pod if asked to", async () => {
  const cluster = await ground();
  const containers = [{ name: "main", command: ["true"] }];
  const pod = await cluster.createPod({ until: "Succeeded", spec: { restartPolicy: "Never" }, containers });
  try {
    const { stdout } = await cluster.kubectl(["get", "pod", pod.name, "-o", "jsonpath={.status.phase}"]);
    assertEquals(stdout, "Succeeded");
  } finally {
    await cluster.deletePod(pod);
  }
});

Deno.test("run() kills a program that takes too long, and throws", async () => {
  const cluster = await ground();
  await assertRejects(() => cluster.run(["sleep", "60"], { timeout: 100 }), GroundError, "was killed after 100 ms");
});
