// `podwire port-forward` as a user runs it: cli.ts as a process, against the embedded host, and against a scripted API
// server for what that does not have.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type Ended, Ground, PODWIRE } from "./harness.ts";

/** A running port-forward. */
class Running implements AsyncDisposable {
  /** What it has written to stdout, one entry a write. */
  readonly writes: string[] = [];
  readonly child: Deno.ChildProcess;
  readonly #stdout: ReadableStreamDefaultReader<Uint8Array>;
  readonly #stderr: Promise<string>;

  constructor(child: Deno.ChildProcess) {
    this.child = child;
    this.#stdout = child.stdout.getReader();
    this.#stderr = new Response(child.stderr).text();
  }

  get stdout(): string {
    return this.writes.join("");
  }

  /** Reads stdout until `pattern` matches; what its group says. */
  async until(pattern: RegExp): Promise<string> {
    for (;;) {
      const found = pattern.exec(this.stdout);
      if (found) return found[1] ?? "";
      const { done, value } = await this.#stdout.read();
      if (done) throw new Error(`stdout ended: ${this.stdout}${await this.#stderr}`);
      this.writes.push(new TextDecoder().decode(value));
    }
  }

  /** The first free port that it got, of 127.0.0.1. */
  async port(remote: number): Promise<number> {
    return Number(await this.until(new RegExp(`^Forwarding from 127\\.0\\.0\\.1:(\\d+) -> ${remote}$`, "m")));
  }

  /** Stops reading stdout. */
  async closeStdout(): Promise<void> {
    await this.#stdout.cancel();
  }

  /** Ends it by `signal`, or waits for its end. */
  async end(signal?: Deno.Signal): Promise<Ended> {
    if (signal) this.child.kill(signal);
    for (let read = await this.#stdout.read(); !read.done; read = await this.#stdout.read()) {
      this.writes.push(new TextDecoder().decode(read.value));
    }
    const { code } = await this.child.status;
    return { code, stdout: this.stdout, stderr: await this.#stderr };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // It has ended.
    }
    await this.child.status;
    await this.#stdout.cancel();
    await this.#stderr;
  }
}

/** A web server that stands for port 8080 of the pod `one`, and a host with that pod. */
async function startGround(): Promise<{ ground: Ground } & AsyncDisposable> {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    return new Response(`hello ${new URL(request.url).pathname}`);
  });
  const nobody = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const refused = nobody.addr.port;
  nobody.close();
  const ground = await Ground.start([{
    name: "one",
    containers: [{ name: "main", command: ["sh", "-c", "while :; do sleep 1000; done"] }],
    ports: { 8080: server.addr.port, 9999: refused },
  }]);
  return {
    ground,
    [Symbol.asyncDispose]: async () => {
      await ground[Symbol.asyncDispose]();
      await server.shutdown();
    },
  };
}

async function fetchText(port: number, path = "/"): Promise<string> {
  const client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  try {
    return await (await fetch(`http://127.0.0.1:${port}${path}`, { client })).text();
  } finally {
    client.close();
  }
}

Deno.test("podwire port-forward forwards, says so in kubectl's lines, and ends with 0", async () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    await using setup = await startGround();
    await using running = new Running(setup.ground.spawn(["port-forward", "one", ":8080", "--stats"]));
    const port = await running.port(8080);
    assertEquals(running.writes[0]?.split("\n")[0], `Forwarding from 127.0.0.1:${port} -> 8080`);
    assertEquals(await fetchText(port, "/a"), "hello /a");
    assertEquals(await fetchText(port, "/b"), "hello /b");
    const { code, stdout, stderr } = await running.end(signal);
    assertEquals(code, 0);
    const [first = "", second = "", ...rest] = stdout.split("\n");
    assertEquals([first, second], [
      `Forwarding from 127.0.0.1:${port} -> 8080`,
      `Forwarding from [::1]:${port} -> 8080`,
    ]);
    assertEquals(rest, [`Handling connection for ${port}`, `Handling connection for ${port}`, ""]);
    assertMatch(stderr, /^connections: 2, failed: 0, received: \d+ bytes, sent: \d+ bytes, re-dials: 0\n$/);
  }
});

Deno.test("podwire port-forward shows each connection with -v=6", async () => {
  await using setup = await startGround();
  await using running = new Running(setup.ground.spawn(["port-forward", "one", ":8080", "-v=6"]));
  await fetchText(await running.port(8080));
  const { code, stderr } = await running.end("SIGINT");
  assertEquals(code, 0);
  assertStringIncludes(stderr, "session with pod one opened, SPDY/3.1 in a WebSocket\n");
  assertStringIncludes(stderr, "connection 1 to port 8080 opened\n");
  const [before = ""] = stderr.split("/portforward 101");
  assertEquals(before.match(/\/pods\/one /g)?.length, 1, `the pod is looked up once: ${stderr}`);
});

Deno.test("podwire port-forward outlives a connection that is refused", async () => {
  await using setup = await startGround();
  const args = ["port-forward", "one", ":9999", ":8080", "--address=127.0.0.1"];
  await using running = new Running(setup.ground.spawn(args));
  const [refused, good] = [await running.port(9999), await running.port(8080)];
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: refused });
  const reset = await connection.read(new Uint8Array(1)).then(() => "an end", (error) => error.name);
  connection.close();
  assertEquals(reset, "ConnectionReset");
  assertEquals(await fetchText(good), "hello /");
  const { code, stderr } = await running.end("SIGINT");
  assertEquals(code, 0);
  const start = `error: an error occurred forwarding ${refused} -> 9999: error forwarding port 9999 to pod `;
  assertEquals(stderr.slice(0, start.length), start);
  assertMatch(stderr, /connection refused.*\n$/);
  assertEquals(stderr.trimEnd().split("\n").length, 1);
});

Deno.test("podwire port-forward goes on when nobody reads its output any more", async () => {
  await using setup = await startGround();
  await using running = new Running(setup.ground.spawn(["port-forward", "one", ":8080"]));
  const port = await running.port(8080);
  await running.closeStdout();
  for (let i = 0; i < 3; i++) assertEquals(await fetchText(port), "hello /");
  running.child.kill("SIGINT");
  assertEquals((await running.child.status).code, 0);
});

Deno.test("podwire port-forward listens on a unix socket of its user alone", async () => {
  await using setup = await startGround();
  const { ground } = setup;
  const path = `${ground.folder}/web.sock`;
  const args = ["port-forward", "one", "8080", `--address=unix:${path}`];
  {
    await using running = new Running(ground.spawn(args));
    await running.until(/^Forwarding from unix:.* -> 8080$/m);
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    const client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
    assertEquals(await (await fetch("http://web/x", { client })).text(), "hello /x");
    client.close();
    await running.until(/^Handling connection for unix:/m);

    const second = await ground.run(args);
    assertEquals([second.code, second.stdout], [1, ""]);
    assertStringIncludes(second.stderr, `${path}: somebody listens there already`);
    assertStringIncludes(second.stderr, "error: unable to listen on any of the requested ports: [{8080 8080}]\n");

    running.child.kill("SIGKILL"); // The socket stays.
    await running.child.status;
    assert((await Deno.lstat(path)).isSocket);
  }
  {
    await using running = new Running(ground.spawn(args)); // It is taken over …
    await running.until(/^Forwarding from unix:.* -> 8080$/m);
    assertEquals((await running.end("SIGTERM")).code, 0);
  }
  const left = await Array.fromAsync(Deno.readDir(ground.folder), ({ name }) => name);
  assertEquals(left.includes("web.sock"), false); // … and removed.
});

Deno.test("podwire port-forward leaves alone a file that is no socket", async () => {
  await using setup = await startGround();
  const path = `${setup.ground.folder}/file`;
  await Deno.writeTextFile(path, "precious");
  const { code, stderr } = await setup.ground.run(["port-forward", "one", "8080", `--address=unix:${path}`]);
  assertEquals(code, 1);
  assertStringIncludes(stderr, `${path}: it exists and is not a socket`);
  assertEquals(await Deno.readTextFile(path), "precious");
});

Deno.test("podwire port-forward --no-reconnect ends when the connection to the pod is lost", async () => {
  await using setup = await startGround();
  await using running = new Running(setup.ground.spawn(["port-forward", "one", ":8080", "--no-reconnect"]));
  await running.port(8080);
  await setup.ground.host.close();
  const { code, stderr } = await running.end();
  assertEquals([code, stderr], [1, "error: lost connection to pod\n"]);
});

Deno.test("podwire port-forward says which permission it lacks", async () => {
  await using setup = await startGround();
  const { folder, flags } = setup.ground;
  const permissions = ["--allow-env", "--allow-read", "--allow-write", `--allow-net=unix:${folder}/host.sock`];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...PODWIRE.flatMap((word) => word === "-A" ? ["--no-prompt", ...permissions] : [word]),
      ...flags,
      ...["port-forward", "one", "18080:8080", "--address=127.0.0.1"],
    ],
    env: { KUBECONFIG: `${folder}/kubeconfig`, NO_COLOR: "1" },
    stdin: "null",
  }).output();
  assertEquals([code, new TextDecoder().decode(stdout)], [1, ""]);
  assertEquals(
    new TextDecoder().decode(stderr),
    "Unable to listen on port 18080: Listeners failed to create with the following errors: " +
      "[unable to create listener: Error listen tcp4 127.0.0.1:18080: Deno does not permit it; " +
      "run it with --allow-net=127.0.0.1:18080]\n" +
      "error: unable to listen on any of the requested ports: [{18080 8080}]\n",
  );
});

Deno.test("podwire port-forward says what is wrong with the command line", async () => {
  await using setup = await startGround();
  const usage = "See 'podwire port-forward -h' for help and examples\n";
  const rows: Array<[args: string[], stderr: string]> = [
    [[], `error: TYPE/NAME and list of ports are required for port-forward\n${usage}`],
    [["one"], `error: TYPE/NAME and list of ports are required for port-forward\n${usage}`],
    [
      ["one", "80", "--pod-running-timeout=0s"],
      `error: --pod-running-timeout must be higher than zero\n${usage}`,
    ],
    [["one", "1:2:3"], "error: invalid port format '1:2:3'\n"],
    [["nopod", "80"], 'Error from server (NotFound): pods "nopod" not found\n'],
    [["one", "nope"], "error: Pod 'one' does not have a named port 'nope'\n"],
    [["one", "70000", "--address=here"], "error: here is not a valid IP\n"],
    [["one", "0"], "error: remote port must be > 0\n"],
    [["one", "80", "81", "--address=unix:/x"], "error: --address unix:PATH takes one port, and not a UDP port\n"],
    [["one", "53/udp", "--address=unix:/x"], "error: --address unix:PATH takes one port, and not a UDP port\n"],
  ];
  for (const [args, stderr] of rows) {
    assertEquals(
      await setup.ground.run(["port-forward", ...args]),
      { code: 1, stdout: "", stderr },
      args.join(" "),
    );
  }
});

Deno.test("podwire port-forward announces no port where the container has nothing for a UDP port", async () => {
  const programs = await Deno.makeTempDir({ prefix: "podwire-path-" });
  try {
    await Deno.symlink("/bin/sh", `${programs}/sh`);
    await using ground = await Ground.start([{
      name: "bare",
      containers: [{ name: "main", command: ["/bin/sleep", "600"], env: { PATH: programs } }],
    }]);
    const { code, stdout, stderr } = await ground.run(["port-forward", "bare", ":80", ":53/udp"]);
    assertEquals({ code, stdout }, { code: 1, stdout: "" });
    assertStringIncludes(
      stderr,
      "error: UDP needs a helper in the container, and pod bare has none of: perl, python3,",
    );
  } finally {
    await Deno.remove(programs, { recursive: true });
  }
});

/** An API server that knows a few objects, and opens no streams. */
async function withServer(work: (run: (args: string[]) => Promise<Ended>, requests: string[]) => Promise<void>) {
  const pod = (name: string, phase: string) => ({
    metadata: { name, namespace: "default", uid: name },
    spec: { containers: [{ name: "main", ports: [{ name: "http", containerPort: 8080, protocol: "TCP" }] }] },
    status: { phase },
  });
  const service = (name: string, ports: unknown[], selector?: unknown) => ({
    metadata: { name },
    spec: { clusterIP: "10.0.0.1", ports, ...(selector ? { selector } : {}) },
  });
  const objects: Record<string, unknown> = {
    "pods/up": pod("up", "Running"),
    "pods/pending": pod("pending", "Pending"),
    "pods": { metadata: { resourceVersion: "1" }, items: [pod("up", "Running")] },
    "services/web": service("web", [{ name: "lost", port: 90, protocol: "TCP", targetPort: "nowhere" }], {
      app: "web",
    }),
    "services/bare": service("bare", [{ port: 80, protocol: "TCP" }]),
  };
  const requests: string[] = [];
  const answer = (url = ""): [code: number, body: unknown] => {
    const [path = ""] = url.split("?");
    requests.push(path);
    const name = path.replace("/api/v1/namespaces/default/", "");
    if (Object.hasOwn(objects, name)) return [200, objects[name]];
    if (path === "/api/v1/namespaces/default") return [200, {}];
    const [code, reason, message] = name.endsWith("/portforward")
      ? [403, "Forbidden", 'pods "up" is forbidden: no']
      : [404, "NotFound", `${name} not found`];
    return [code, { kind: "Status", apiVersion: "v1", status: "Failure", message, reason, code }];
  };
  const server = createServer((request, response) => {
    const [code, body] = answer(request.url);
    response.writeHead(code, { "Content-Type": "application/json" }).end(JSON.stringify(body));
  });
  // Without this, node:http would take the wish for an upgrade for granted.
  server.on("upgrade", (request, socket) => {
    const [code, body] = answer(request.url);
    const text = JSON.stringify(body);
    socket.end(`HTTP/1.1 ${code} No\r\nContent-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const folder = await Deno.makeTempDir({ prefix: "podwire-cli-" });
  await Deno.writeTextFile(`${folder}/kubeconfig`, "");
  try {
    await work(async (args) => {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [...PODWIRE, "--server", `http://127.0.0.1:${port}`, "port-forward", ...args],
        env: { KUBECONFIG: `${folder}/kubeconfig`, NO_COLOR: "1" },
        stdin: "null",
      }).output();
      const decoder = new TextDecoder();
      return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
    }, requests);
  } finally {
    await new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("podwire port-forward says what is wrong with the target, in kubectl's order", async () => {
  await withServer(async (run) => {
    const rows: Array<[args: string[], stderr: string]> = [
      [
        ["pending", "80"],
        "error: unable to forward port because pod is not running. Current status=Pending\n",
      ],
      [["pending", "nope"], "error: Pod 'pending' does not have a named port 'nope'\n"],
      [
        ["pending", "70000", "--address=here"],
        "error: unable to forward port because pod is not running. Current status=Pending\n",
      ],
      [["svc/web", "80"], "error: Service web does not have a service port 80\n"],
      [["svc/web", "nope"], "error: Service 'web' does not have a named port 'nope'\n"],
      [["svc/web", "lost"], "error: Pod 'up' does not have a named port 'nowhere'\n"],
      [
        ["svc/bare", "80"],
        "error: cannot attach to *v1.Service: invalid service 'bare': Service is defined without a selector\n",
      ],
      [["svc/none", "80"], "Error from server (NotFound): services/none not found\n"],
    ];
    for (const [args, stderr] of rows) {
      assertEquals(await run(args), { code: 1, stdout: "", stderr }, args.join(" "));
    }
  });
});

Deno.test("podwire port-forward opens no port if the server refuses, and says why", async () => {
  await withServer(async (run, requests) => {
    const { code, stdout, stderr } = await run(["up", "http"]);
    assertEquals([code, stdout], [1, ""]);
    assertMatch(stderr, /^error: error upgrading connection: unable to upgrade connection: pods "up" is forbidden: no/);
    assert(requests.includes("/api/v1/namespaces/default/pods/up/portforward"));
  });
});
