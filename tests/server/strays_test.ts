/** What commands leave behind: it ends with them, or with their container, and nobody else does. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type HostServer, serveHost } from "../../lib/server/mod.ts";
import { HostProcess } from "../../lib/server/process.ts";
import { SessionRest } from "../../lib/server/strays.ts";
import { until, within } from "../support/until.ts";
import { isAlive } from "./processes.ts";
import { RawClient } from "./raw_client.ts";

const SUCCESS = '{"metadata":{},"status":"Success"}';
const TTY = "stdin=true&stdout=true&tty=true";

const startHost = (command: readonly string[] = ["sleep", "600"], restartPolicy: "Always" | "Never" = "Never") =>
  serveHost({ listen: { port: 0 }, pods: [{ name: "web", restartPolicy, containers: [{ name: "main", command }] }] });

/** The number that a command or a terminal tells behind `word`. */
async function told(client: RawClient, word: string): Promise<number> {
  const line = new RegExp(`\\b${word} (\\d+)\\r?\\n`); // A terminal may have its prompt in front.
  const { channels } = await within(word, client.until(({ channels }) => line.test(channels[1] ?? "")));
  return Number(line.exec(channels[1]!)![1]);
}

/** The same from the container's log. */
async function logged(host: HostServer, word: string, query = ""): Promise<number> {
  const url = `${host.url.href.replace(/\/$/, "")}/api/v1/namespaces/default/pods/web/log${query}`;
  let pid = NaN;
  await until(`the log tells ${word}`, async () => {
    const text = await (await fetch(url)).text();
    pid = Number(new RegExp(`^${word} (\\d+)\\n`, "m").exec(text)?.[1] ?? NaN);
    return !Number.isNaN(pid);
  });
  return pid;
}

Deno.test("exit ends a terminal's session and the jobs that hold the terminal open", async () => {
  await using host = await startHost();
  using client = await RawClient.exec(host, ["sh"], TTY);
  // An interactive shell gives each job a process group of its own.
  await client.send(0, "sleep 600 & echo job $!\n");
  const job = await told(client, "job");
  await client.send(0, "exit 3\n");
  const { channels } = await within("the session ends", client.finish());
  assertMatch(channels[3]!, /"reason":"ExitCode","message":"3"/);
  await until("the job ends", () => !isAlive(job));
});

Deno.test("exit ends a terminal's session though somebody with a session of its own holds the terminal open", async () => {
  const host = await startHost();
  try {
    using client = await RawClient.exec(host, ["sh"], TTY);
    await client.send(0, `setsid sh -c 'trap "" HUP; echo daemon $$; exec sleep 600' & :\n`);
    const daemon = await told(client, "daemon");
    await client.send(0, "echo la''st; exit\n");
    const { channels } = await within("the session ends", client.finish());
    assertEquals(channels[3], SUCCESS);
    assertMatch(channels[1]!, /^last\r\n/m);
    assert(isAlive(daemon));
    await host.close();
    assert(!isAlive(daemon));
  } finally {
    await host.close();
  }
});

Deno.test("jobs with process groups of their own end when the client goes, with and without a terminal", async () => {
  await using host = await startHost();
  for (const flags of ["stdin=true&stdout=true", TTY]) {
    const client = await RawClient.exec(host, ["bash", "-c", "set -m; sleep 600 & echo job $!; wait"], flags);
    const job = await told(client, "job");
    assert(isAlive(job));
    client[Symbol.dispose]();
    await until("the job ends", () => !isAlive(job));
  }
});

Deno.test("a daemon of a command lives as long as the container, and no longer", async () => {
  const host = await startHost();
  try {
    using client = await RawClient.exec(
      host,
      ["sh", "-c", "setsid sh -c 'echo daemon $$; exec sleep 600 >/dev/null 2>&1 <&1' & read _"],
      "stdin=true&stdout=true",
    );
    const daemon = await told(client, "daemon");
    await client.send(0, "\n");
    assertEquals((await client.finish()).channels[3], SUCCESS);
    assert(isAlive(daemon));
    await host.close();
    assert(!isAlive(daemon));
  } finally {
    await host.close();
  }
});

Deno.test("the host's end leaves nothing of a container, whatever groups and sessions there are", async () => {
  const host = await startHost([
    "bash",
    "-c",
    "set -m; sleep 600 & echo job $!; setsid sh -c 'echo daemon $$; exec sleep 600' & wait",
  ]);
  const pids = await Promise.all([logged(host, "job"), logged(host, "daemon")]);
  assert(pids.every(isAlive));
  await host.close();
  assertEquals(pids.filter(isAlive), []);
});

Deno.test("a container that starts again leaves no children of its last run, though they go on writing", async () => {
  await using host = await startHost(
    ["sh", "-c", "(trap '' HUP TERM; while echo tick; do sleep 0.02; done) & echo child $!; exit 1"],
    "Always",
  );
  const child = await logged(host, "child", "?previous=true");
  assert(!isAlive(child));
});

Deno.test("commands end with the container that they run in, with 137 as on a cluster", async () => {
  const host = await startHost();
  try {
    const clients = await Promise.all(["stdout=true", TTY].map(async (flags) => {
      const client = await RawClient.exec(host, ["sh", "-c", "echo pid $$; sleep 600; echo not this"], flags);
      return { client, pid: await told(client, "pid") };
    }));
    const response = await fetch(`${host.url.href.replace(/\/$/, "")}/api/v1/namespaces/default/pods/web`, {
      method: "DELETE",
    });
    await response.body?.cancel();
    for (const { client, pid } of clients) {
      using _ = client;
      const { channels, order } = await within("the session ends", client.finish());
      assertMatch(channels[3]!, /"reason":"ExitCode","message":"137"/);
      assertEquals([channels[1]!.trim(), order], [`pid ${pid}`, ["data", "status", "close"]]);
      assert(!isAlive(pid));
    }
  } finally {
    await host.close();
  }
});

Deno.test("what a command's children write after a while arrives", async () => {
  await using host = await startHost();
  using client = await RawClient.exec(host, ["sh", "-c", "(sleep 2; echo late) & echo early"]);
  assertEquals((await client.finish()).channels, { 1: "early\nlate\n", 3: SUCCESS });
});

Deno.test("HostProcess signals nobody once its process and all it left have ended", async () => {
  const process = await HostProcess.start({
    command: ["true"],
    tty: false,
    stdin: false,
    stdout: false,
    stderr: false,
    leavesRest: true,
  });
  await process.exitCode;
  const { kill } = Deno;
  const sent: number[] = [];
  try {
    // The id may be anybody's now.
    Deno.kill = (pid) => void sent.push(pid);
    await process.end();
    process.kill();
    await process.end();
  } finally {
    Deno.kill = kill;
  }
  process.close();
  assertEquals(sent, []);
});

Deno.test("SessionRest leaves a session alone that got the id later", async () => {
  /** The newest process id (proc(5)). */
  const newest = () => Number(Deno.readTextFileSync("/proc/loadavg").split(" ").at(-1));
  await until("a process gets an id that was nobody's", async () => {
    const rests = new Map(Array.from({ length: 100 }, (_, i) => {
      const id = newest() + 1 + i;
      return [id, new SessionRest(id)] as const;
    }));
    const child = new Deno.Command("sleep", { args: ["600"], detached: true, stdin: "null" }).spawn();
    try {
      const rest = rests.get(child.pid);
      rest?.kill();
      assert(isAlive(child.pid));
      return rest !== undefined;
    } finally {
      child.kill("SIGKILL");
      await child.status;
    }
  });
});

Deno.test("SessionRest kills what is there, once", async () => {
  const child = new Deno.Command("bash", {
    args: ["-c", "set -m; sleep 600 & echo $!; sleep 600 & echo $!"],
    detached: true,
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (text.split("\n").length < 3) text += (await reader.read()).value ?? "";
  await child.status;
  const jobs = text.trim().split("\n").map(Number);
  const rest = new SessionRest(child.pid);
  assert(jobs.every(isAlive));
  rest.kill();
  await until("they end", () => !jobs.some(isAlive));
  rest.kill();
  await reader.cancel();
});

Deno.test("HostProcess.close() lets go at once of an output that somebody still holds open", async () => {
  const process = await HostProcess.start({
    command: ["sh", "-c", "setsid sh -c 'echo $$; exec sleep 600' & sleep 600"],
    tty: false,
    stdin: false,
    stdout: true,
    stderr: false,
    leavesRest: true,
  });
  const output = process.stdout![Symbol.asyncIterator]();
  const daemon = Number(new TextDecoder().decode((await output.next()).value));
  const next = output.next();
  await process.end();
  process.close();
  assert((await within("the output ends", next, 3_000)).done);
  assert(isAlive(daemon)); // It has a session of its own, and no container whose end would be its own.
  Deno.kill(daemon, "SIGKILL");
  await until("it ends", () => !isAlive(daemon));
});
