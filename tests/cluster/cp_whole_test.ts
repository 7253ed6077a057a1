/** podwire cp on the real cluster: what is large, over a link that is cut, and what is many. */
import { assertEquals, assertMatch } from "@std/assert";
import { CuttingRelay } from "./cutting_relay.ts";
import { type Ground, ground, type NodeName, type ServerName } from "./ground.ts";
import { podwire } from "./podwire.ts";

const GIB = 1 << 30;
const CUTS = 20;

/** Starts a command, for its stderr. */
function start([program = "", ...args]: readonly string[], env: Record<string, string>): Deno.ChildProcess {
  return new Deno.Command(program, { args, env, stdout: "null", stderr: "piped" }).spawn();
}

/** Runs `podwire cp` through a relay, and cuts it whenever another twentieth has been copied. */
async function copyWithCuts(cluster: Ground, server: ServerName, args: readonly string[]): Promise<number> {
  await using relay = await CuttingRelay.start(cluster.socket(server));
  const command = [...await podwire(), "cp", "--progress=json", "--server", relay.url, ...args];
  const child = start(command, cluster.environment(server));
  let cuts = 0;
  let text = "";
  for await (const part of child.stderr.pipeThrough(new TextDecoderStream())) {
    text = (text + part).slice(-4000);
    const bytes = Number(/"bytes":(\d+)[^\n]*\n[^\n]*$/.exec(text)?.[1] ?? 0);
    if (cuts < CUTS && bytes > (cuts + 0.5) * GIB / (CUTS + 1)) relay.cut(cuts++ % 2 === 0 ? "reset" : "end");
  }
  const { code } = await child.status;
  assertEquals(code, 0, text);
  return cuts;
}

Deno.test("podwire cp copies 1 GiB each way over a link that is cut 20 times", async () => {
  const cluster = await ground();
  const folder = await Deno.makeTempDir({ prefix: "podwire-cp-" });
  try {
    await sh(folder, `head -c ${GIB} /dev/urandom >up`);
    await cluster.withPod({ node: "node1", prefix: "cp" }, async ({ name }) => {
      assertEquals(await copyWithCuts(cluster, "default", [`${folder}/up`, `${name}:/tmp/file`]), CUTS);
      assertEquals(await copyWithCuts(cluster, "default", [`${name}:/tmp/file`, `${folder}/down`]), CUTS);
      await sh(folder, "cmp up down");
      const { stdout } = await cluster.kubectl(["exec", name, "--", "sh", "-c", "ls -A /tmp; ps | grep '[t]ar cf'; :"]);
      assertEquals(stdout, "file\n", "nothing staged is left, and nobody who packs");
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("podwire cp of many files that a signal ends leaves nothing in the container", async () => {
  const cluster = await ground();
  const folder = await Deno.makeTempDir({ prefix: "podwire-cp-" });
  try {
    await sh(folder, `mkdir up; for f in {1..20000}; do echo "$f" >up/f$f; done`);
    await cluster.withPod({ prefix: "cp" }, async ({ name }) => {
      // Much is on its way then, which tar unpacks for a while.
      const unpacks = "until ls -d /tmp/.podwire-*/tree/f1; do sleep 0.05; done 2>/dev/null";
      const begun = cluster.kubectl(["exec", name, "--", "timeout", "30", "sh", "-c", unpacks]);
      const command = [...cluster.enter, ...await podwire(), "cp", `${folder}/up`, `${name}:/tmp/up`];
      const child = start(command, cluster.environment());
      assertEquals((await begun).code, 0);
      child.kill("SIGINT");
      const { code, stderr } = await child.output();
      assertEquals(code, 130, new TextDecoder().decode(stderr));
      const { stdout } = await cluster.kubectl(["exec", name, "--", "sh", "-c", "ls -A /tmp; ps | grep '[t]ar -x'; :"]);
      assertEquals(stdout, "", "nothing staged is left, and nobody who unpacks");
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("podwire cp out of a container that a signal ends leaves nothing there that waits for a reader", async () => {
  const cluster = await ground();
  const folder = await Deno.makeTempDir({ prefix: "podwire-cp-" });
  try {
    await cluster.withPod({ prefix: "cp" }, async ({ name }) => {
      await cluster.kubectl(["exec", name, "--", "sh", "-c", "head -c 500000000 /dev/zero >/tmp/file"]);
      const copy = ["cp", "--progress=json", `${name}:/tmp/file`, `${folder}/file`];
      const child = start([...cluster.enter, ...await podwire(), ...copy], cluster.environment());
      let text = "";
      for await (const part of child.stderr.pipeThrough(new TextDecoderStream())) {
        if (text === "") child.kill("SIGINT");
        text += part;
      }
      assertEquals((await child.status).code, 130, text);
      const { stdout } = await cluster.kubectl(["exec", name, "--", "sh", "-c", "ps | grep '[t]ar cf'; :"]);
      assertEquals(stdout, "");
      assertEquals(await Array.fromAsync(Deno.readDir(folder), ({ name }) => name), []);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const ROWS: ReadonlyArray<readonly [ServerName, NodeName]> = [["default", "node1"], ["mid", "node1"], ["old", "node2"]];

for (const [server, node] of ROWS) {
  Deno.test(`podwire cp copies a tree of 10,000 files both ways on ${server}/${node}`, async () => {
    const cluster = await ground();
    const folder = await Deno.makeTempDir({ prefix: "podwire-cp-" });
    try {
      await sh(
        folder,
        String.raw`for d in {1..100}; do mkdir -p up/d$d; for f in {1..100}; do echo "$d $f" >up/d$d/f$f; done; done
cd up; ln d1/f1 d2/hard; ln -s ../d1/f1 d2/link; mkdir -p empty $'odd\377dir'; echo x >$'odd\377dir/in'; echo x >$'new\nline'; echo x >"it's"; echo x >-dash
head -c 6000000 /dev/urandom >large; chmod 750 d3/f3; n=$(printf 'n%.0s' {1..200}); mkdir -p $n; echo x >$n/$n
find . -exec touch -h -d '2001-02-03 04:05:06' {} +`,
      );
      await cluster.withPod({ node, prefix: "cp" }, async ({ name }) => {
        for (const args of [["up", `${name}:/tmp/tree`], [`${name}:/tmp/tree`, "down"]]) {
          const command = [...await podwire(), "cp", ...args];
          const options = { env: cluster.environment(server), cwd: folder, timeout: 120_000 };
          const { code, stdout, stderr } = await cluster.run(command, options);
          // On a cluster that is shared other tests restart the servers `default` and `old` meanwhile, which takes more than one attempt.
          assertEquals({ code, stdout, stderr: stderr.replaceAll(/^note: .*resuming.*\n/gm, "") }, {
            code: 0,
            stdout: "",
            stderr: "",
          });
        }
      });
      await sh(
        folder,
        // Not a link's own time, which busybox's tar does not set.
        String.raw`tar -C up -cf - . | tar -C down -df - &&
list() { cd $1 && find . -type l -printf '%P %l\n' -o -printf '%P %y %m %T@\n' | sort; }; diff <(list up) <(list down)`,
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test("podwire cp from pod to pod, across nodes", async () => {
  const cluster = await ground();
  await cluster.withPod(
    { node: "node1", prefix: "cp" },
    (from) =>
      cluster.withPod({ node: "node2", prefix: "cp" }, async (to) => {
        const script = String
          .raw`mkdir -p /tmp/d/e; head -c 9000000 /dev/urandom >/tmp/d/large; echo x >"$(printf '/tmp/d/e/odd\377')"; ln -s e /tmp/d/l`;
        await cluster.kubectl(["exec", from.name, "--", "sh", "-c", script]);
        const command = [...await podwire(), "cp", `${from.name}:/tmp/d`, `${to.name}:/tmp/d`];
        const { code, stderr } = await cluster.run(command, { env: cluster.environment() });
        assertEquals([code, stderr], [0, ""]);
        const sums = async (pod: string) => {
          const list =
            "cd /tmp/d && find . ! -type l -exec ls -ld --full-time {} + && readlink l && find . -type f -exec sha256sum {} +";
          const { stdout } = await cluster.kubectl(["exec", pod, "--", "sh", "-c", list]);
          return stdout;
        };
        assertEquals(await sums(to.name), await sums(from.name));
      }),
  );
});

Deno.test("podwire cp says that this machine's disk is full, and leaves what was there", async () => {
  const cluster = await ground();
  const folder = await Deno.makeTempDir({ prefix: "podwire-cp-" });
  // A file system of its own, of which nobody else sees anything; it ends with the shell.
  const script = `d=$1; shift; mount -t tmpfs -o size=4m none "$d" || exit 99
echo old >"$d/file"; "$@"; echo "code $?"; ls -A "$d"; cat "$d/file"`;
  try {
    await cluster.withPod({ prefix: "cp" }, async ({ name }) => {
      await cluster.kubectl(["exec", name, "--", "sh", "-c", "head -c 9000000 /dev/urandom >/tmp/file"]);
      const command = [...await podwire(), "cp", `${name}:/tmp/file`, `${folder}/file`];
      const { stdout, stderr } = await cluster.run(["unshare", "-m", "sh", "-c", script, "sh", folder, ...command], {
        env: cluster.environment(),
      });
      assertMatch(stderr, /\/file: No space left on device/);
      assertEquals(stdout, "code 1\nfile\nold\n");
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** Runs a script of bash in a folder of this machine. */
async function sh(folder: string, script: string): Promise<void> {
  const { code, stderr } = await new Deno.Command("bash", { args: ["-c", script], cwd: folder }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
}
