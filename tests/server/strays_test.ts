/** What commands leave behind: it ends with them, or with their container, and nobody else does. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type HostServer, serveHost } from "../../lib/server/mod.ts";
import { HostProcess } from "../../lib/server/process.ts";
import { Mark, SessionRest } from "../../lib/server/strays.ts";
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
  await using host = await startHost();
  using client = await RawClient.exec(host, ["sh"], TTY);
  await client.send(0, `setsid sh -c 'trap "" HUP; echo daemon $$; exec sleep 600' & :\n`);
  const daemon = await told(client, "daemon");
  await client.send(0, "echo la''st; exit\n");
  const { channels } = await within("the session ends", client.finish());
  assertEquals(channels[3], SUCCESS);
  assertMatch(channels[1]!, /^last\r\n/m);
  assert(isAlive(daemon));
  await host.close();
  await until("the daemon ends", () => !isAlive(daemon)); // It has been killed, and dies as soon as a processor is free.
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
  await using host = await startHost();
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
  await until("the daemon ends", () => !isAlive(daemon)); // It has been killed, and dies as soon as a processor is free.
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
  await until("they end", () => !pids.some(isAlive));
});

Deno.test("a container that starts again leaves no children of its last run, though they go on writing", async () => {
  await using host = await startHost(
    ["sh", "-c", "(trap '' HUP TERM; while echo tick; do sleep 0.02; done) & echo child $!; exit 1"],
    "Always",
  );
  const child = await logged(host, "child", "?previous=true");
  await until("the child ends", () => !isAlive(child));
});

Deno.test("commands end with the container that they run in, with 137 as on a cluster", async () => {
  await using host = await startHost();
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
});

Deno.test("what a command's children write after a while arrives", async () => {
  await using host = await startHost();
  using client = await RawClient.exec(host, ["sh", "-c", "(sleep 2; echo late) & echo early"]);
  assertEquals((await client.finish()).channels, { 1: "early\nlate\n", 3: SUCCESS });
});

/** Runs a command that goes on when `script`, in a session of its own, has begun; gives its outputs and `script`'s process id. */
async function runWithDaemon(script: string): Promise<{ pid: number; stdout: string; stderr: string }> {
  const process = await HostProcess.start({
    command: ["sh", "-c", `setsid sh -c "$0" & read _`, `echo $$; ${script}`],
    tty: false,
    stdin: true,
    stdout: true,
    stderr: true,
    leavesRest: false,
  });
  const texts = { stdout: "", stderr: "" };
  try {
    const read = async (name: "stdout" | "stderr") => {
      for await (const data of process[name]!) {
        if (name === "stdout" && texts.stdout === "") await process.stdin!.write(new TextEncoder().encode("\n"));
        texts[name] += new TextDecoder().decode(data);
      }
    };
    await within("its outputs end", Promise.all([read("stdout"), read("stderr")]));
  } finally {
    await process.end();
    process.close();
  }
  const [pid = ""] = texts.stdout.split("\n", 1);
  return { ...texts, pid: Number(pid), stdout: texts.stdout.slice(pid.length + 1) };
}

Deno.test("an output is not cut off while somebody is heard on the other one", async () => {
  const { stdout, stderr } = await runWithDaemon("for i in 1 2 3 4 5; do sleep 0.4; echo $i >&2; done; echo result");
  assertEquals([stdout, stderr], ["result\n", "1\n2\n3\n4\n5\n"]);
});

Deno.test("who holds on to the outputs of a main process adds nothing to its log", async () => {
  const { pid, stdout, stderr } = await runWithDaemon("exec sleep 600");
  try {
    assertEquals([stdout, stderr], ["", ""]);
  } finally {
    Deno.kill(pid, "SIGKILL"); // It has a session of its own, and no container whose end would be its own.
  }
  await until("it ends", () => !isAlive(pid));
});

Deno.test({
  name: "HostProcess ends a command though Deno permits no signals",
  permissions: { read: true, run: ["/bin/sh"] },
  async fn() {
    const options = { tty: false, stdin: true, stdout: false, stderr: false, leavesRest: true };
    for (const script of ["read _", "trap '' TERM; read _"]) {
      const process = await HostProcess.start({ ...options, command: ["/bin/sh", "-c", script] });
      try {
        await within("it ends", process.end(100));
        assert([143, 137].includes(await process.exitCode));
      } finally {
        process.close();
      }
    }
    const process = await HostProcess.start({ ...options, command: ["/bin/sh", "-c", "exit 3"] });
    assertEquals(await process.exitCode, 3);
    await process.end();
    process.close();
  },
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

/** How often `action` looks at all processes, and whose environments it reads. */
function lookups(action: () => void): { rounds: number; environments: readonly string[] } {
  const { readDirSync, readTextFileSync } = Deno;
  let rounds = 0;
  const environments: string[] = [];
  try {
    Deno.readDirSync = (path) => {
      rounds++;
      return readDirSync(path);
    };
    Deno.readTextFileSync = (path) => {
      const text = readTextFileSync(path);
      if (String(path).endsWith("/environ")) environments.push(String(path));
      return text;
    };
    action();
  } finally {
    Object.assign(Deno, { readDirSync, readTextFileSync });
  }
  return { rounds, environments };
}

Deno.test("SessionRest looks at all processes again only if somebody is left", async () => {
  const child = new Deno.Command("sleep", { args: ["600"], detached: true, stdin: "null" }).spawn();
  let rest: SessionRest;
  try {
    rest = new SessionRest(child.pid);
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
  assertEquals(lookups(() => rest.kill()).rounds, 0);
  const none = new SessionRest(child.pid);
  assertEquals(lookups(() => none.kill()).rounds, 0);
});

Deno.test("Mark reads no environment of who was there before", async () => {
  const old = new Deno.Command("sleep", { args: ["600"], stdin: "null" }).spawn();
  try {
    const stat = Deno.readTextFileSync(`/proc/${old.pid}/stat`);
    const startedAt = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
    const now = () => parseFloat(Deno.readTextFileSync("/proc/uptime")) * 100;
    await until("the clock goes on", () => now() > startedAt + 3);
    const mark = new Mark();
    const marked = new Deno.Command("sleep", { args: ["600"], env: { ...mark.variable }, stdin: "null" }).spawn();
    const timer = setTimeout(() => marked.kill("SIGTERM"), 5_000); // So that nothing stays if the mark fails.
    const { environments } = lookups(() => mark.kill());
    const { signal } = await marked.status;
    clearTimeout(timer);
    assertEquals(signal, "SIGKILL");
    assert(environments.includes(`/proc/${marked.pid}/environ`));
    assert(!environments.includes(`/proc/${old.pid}/environ`));
  } finally {
    old.kill("SIGKILL");
    await old.status;
  }
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
