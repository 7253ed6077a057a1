/** Watching a pod to its end: whatever happens to the watch, the end is noticed, once. */
import { assert, assertEquals } from "@std/assert";
import { PodwireError } from "../../lib/bytes/mod.ts";
import type { PodObject } from "../../lib/client/mod.ts";
import { CredentialsError } from "../../lib/kubeconfig/mod.ts";
import { watchPod } from "../../lib/client/pod_watch.ts";
import { FakeClock } from "./fake_clock.ts";
import { FakeServer, makePod } from "./forward_server.ts";

Deno.test.sanitizer({ ops: true, resources: true });

interface Scene {
  readonly clock: FakeClock;
  readonly server: FakeServer;
  /** What the watcher was told. */
  readonly told: string[];
}

/** Runs `work` while `web-0` is watched. */
async function withWatch(work: (scene: Scene) => Promise<void>, pod: PodObject = makePod("web-0")): Promise<void> {
  using clock = new FakeClock();
  const server = new FakeServer();
  server.pods.set("web-0", pod);
  const told: string[] = [];
  const controller = new AbortController();
  const { request } = server.connection();
  let over = false;
  const watching = watchPod((path, options) => request(path, options), pod, {
    terminating: () => told.push("terminating"),
    gone: (reason) => told.push(reason),
    blind: (reason) => told.push(`blind: ${reason.message}`),
  }, controller.signal).then(() => over = true);
  await clock.settle();
  await work({ clock, server, told });
  await clock.settle();
  const gone = told.some((word) => word.startsWith("pod "));
  assertEquals(over, gone, "it ends when the pod is gone, and not before");
  controller.abort(new PodwireError("the test is over"));
  await watching;
  assertEquals([server.watches, clock.pending], [0, 0]);
}

const DELETED = "pod shop/web-0 was deleted";

Deno.test("watchPod() watches one pod from the version that is known", async () => {
  await withWatch(async ({ server, told, clock }) => {
    assertEquals(server.requests, ["watch web-0 7"]);
    server.put(makePod("web-1"));
    server.put(makePod("web-0", { resourceVersion: "8" }));
    await clock.pass(60_000);
    assertEquals([told, server.requests.length], [[], 1]);
  }, makePod("web-0", { resourceVersion: "7" }));
});

Deno.test("watchPod() tells of a deletion", async () => {
  await withWatch(async ({ server, told, clock }) => {
    server.remove("web-0");
    await clock.settle();
    assertEquals(told, [DELETED]);
  });
});

Deno.test("watchPod() tells once that a pod is ending, and that it is gone after it", async () => {
  await withWatch(async ({ server, told, clock }) => {
    for (let i = 0; i < 3; i++) server.put(makePod("web-0", { ending: true }));
    await clock.settle();
    assertEquals(told, ["terminating"]);
    server.remove("web-0");
    await clock.settle();
    assertEquals(told, ["terminating", DELETED]);
  });
});

Deno.test("watchPod() tells when a pod has ended, or another one has its name", async () => {
  const ends = {
    "pod shop/web-0 has ended (Failed)": makePod("web-0", { phase: "Failed" }),
    "pod shop/web-0 has ended (Succeeded)": makePod("web-0", { phase: "Succeeded" }),
    [DELETED]: makePod("web-0", { uid: "another" }),
  };
  for (const [text, pod] of Object.entries(ends)) {
    await withWatch(async ({ server, told, clock }) => {
      server.put(makePod("web-0", { phase: "Unknown" }));
      server.put(pod);
      await clock.settle();
      assertEquals(told, [text]);
    });
  }
});

for (
  const [how, end] of Object.entries<(server: FakeServer) => void>({
    "ends": (server) => server.endWatches(),
    "breaks": (server) => server.endWatches(new PodwireError("connection reset")),
    "is told that its version is too old": (server) => server.emit("ERROR", { kind: "Status", code: 410 }, "web-0"),
  })
) {
  Deno.test(`watchPod() looks at the pod and watches on when the watch ${how}`, async () => {
    await withWatch(async ({ server, told, clock }) => {
      server.pods.set("web-0", makePod("web-0", { resourceVersion: "99" })); // Nobody is told.
      end(server);
      await clock.pass(600);
      assertEquals(server.requests, ["watch web-0 1", "get web-0", "watch web-0 99"]);
      server.remove("web-0");
      await clock.settle();
      assertEquals(told, [DELETED]);
    });
  });

  Deno.test(`watchPod() misses nothing that happens when the watch ${how}`, async () => {
    await withWatch(async ({ server, told, clock }) => {
      end(server);
      server.pods.set("web-0", makePod("web-0", { ending: true }));
      await clock.pass(600);
      assertEquals(told, ["terminating"]);
      end(server);
      server.pods.delete("web-0");
      await clock.pass(600);
      assertEquals(told, ["terminating", DELETED]);
    });
  });
}

Deno.test("watchPod() looks every five seconds where watching is forbidden", async () => {
  await withWatch(async ({ server, told, clock }) => {
    server.watchStatus = 403;
    server.endWatches();
    await clock.pass(600); // It ends, is looked at, and is refused.
    const before = server.requests.length;
    await clock.pass(20_000);
    assertEquals(server.requests.slice(before), Array(4).fill("get web-0"));
    server.pods.delete("web-0");
    await clock.pass(5_000);
    assertEquals(told, [DELETED]);
  });
});

Deno.test("watchPod() watches on where the pod can be watched, but not be looked at", async () => {
  await withWatch(async ({ server, told, clock }) => {
    server.getStatus = 403;
    server.endWatches();
    await clock.pass(5_000);
    assertEquals(server.watches, 1);
    server.remove("web-0");
    await clock.settle();
    assertEquals(told, [DELETED]);
  });
});

Deno.test("watchPod() takes it for no news of the pod that the server is away, or refuses to show it", async () => {
  for (const status of [0, 500, 503, 401, 403]) {
    await withWatch(async ({ server, told, clock }) => {
      server.watchStatus = server.getStatus = status;
      server.endWatches(new PodwireError("connection reset"));
      await clock.pass(30_000);
      assertEquals(told, []);
      const asked = server.requests.length;
      assert(asked <= 20, `${asked} requests in half a minute`);
      server.watchStatus = server.getStatus = 200;
      server.pods.delete("web-0");
      await clock.pass(5_000);
      assertEquals(told, [DELETED]);
    });
  }
});

Deno.test("watchPod() hardly asks for credentials that are not to be had, and says so once", async () => {
  await withWatch(async ({ server, told, clock }) => {
    const blind = "blind: getting credentials: exec: it failed";
    for (const said of [[blind], [blind, blind]]) {
      server.unsendable = new CredentialsError("getting credentials: exec: it failed");
      server.endWatches(new PodwireError("connection reset"));
      const before = server.attempts;
      await clock.pass(5 * 60_000);
      const attempts = server.attempts - before;
      assert(attempts >= 9 && attempts <= 11, `${attempts} attempts in five minutes`);
      assertEquals(told, said);
      server.unsendable = undefined;
      await clock.pass(30_000);
      assertEquals(server.watches, 1);
    }
    server.pods.delete("web-0");
    server.endWatches();
    await clock.pass(5_000);
    assertEquals(told.at(-1), DELETED);
  });
});

Deno.test("watchPod() looks at the pod again where a watch can be had, but ends at once", async () => {
  await withWatch(async ({ server, clock }) => {
    for (let passed = 0; passed < 60_000; passed += 100) {
      server.endWatches();
      await clock.pass(100);
    }
    assert(server.requests.length < 50, `${server.requests.length} requests in a minute`);
    await clock.pass(5_000);
    server.put(makePod("web-0", { resourceVersion: "9" })); // All is well again: it is asked as soon as at first.
    await clock.settle();
    server.endWatches();
    await clock.pass(300);
    assertEquals(server.requests.at(-1), "watch web-0 9");
  });
});

Deno.test("watchPod() gives a watch up that says nothing for longer than the server lets one live", async () => {
  await withWatch(async ({ server, told, clock }) => {
    server.pods.delete("web-0"); // The link is dead: nobody is told.
    await clock.pass(314_000);
    assertEquals([told, server.requests.length], [[], 1]);
    await clock.pass(2_000);
    assertEquals(told, [DELETED]);
  });
});

Deno.test("watchPod() ends with its signal, also in a pause", async () => {
  await withWatch(async ({ server, clock }) => {
    server.endWatches();
    await clock.pass(100);
    assertEquals(clock.pending, 1);
  });
});
