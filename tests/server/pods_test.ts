import { assertEquals, assertGreater, assertMatch } from "@std/assert";
import { Pod } from "../../lib/server/pods.ts";

Deno.test("Container.attach() whose input ends while nobody reads it ends behind what was being written", async () => {
  const pod = await Pod.start({
    name: "web",
    containers: [{ name: "main", command: ["cat", "/dev/zero"], stdin: true }],
  });
  try {
    const [container] = pod.containers;
    const request = { action: "attach" as const, command: [], tty: false, stdin: true, stdout: true, stderr: false };
    const stalled = container!.attach(request);
    const other = container!.attach({ ...request, stdin: false });
    const output = other.stdout![Symbol.asyncIterator]();
    const read = async (atLeast: number) => {
      let size = 0;
      while (size < atLeast) size += (await output.next()).value?.length ?? 0;
      return size;
    };
    // Both get the same; what is more than a queue holds (256 KiB) now waits for room at the stalled one.
    const written = await read(256 * 1024 + 1);
    await stalled.stdin!.close();
    assertEquals(await stalled.exitCode, 0);
    let size = 0;
    for await (const data of stalled.stdout!) size += data.length;
    assertEquals(size, written);
    assertGreater(await read(1024 * 1024), 1024 * 1024 - 1);
    await other.end();
  } finally {
    await pod.end();
  }
});

Deno.test("Pod starts containers again as its policy says, later each time", async () => {
  const states: string[] = [];
  const { promise: third, resolve } = Promise.withResolvers<void>();
  const pod = await Pod.start(
    { name: "web", restartPolicy: "OnFailure", containers: [{ name: "main", command: ["sh", "-c", "exit 3"] }] },
    {
      backOff: 20,
      onChange: ({ containers: [container] }) => {
        states.push(container!.state.type);
        if (container!.restartCount === 3) resolve();
      },
    },
  );
  await third;
  const [container] = pod.containers;
  assertEquals([pod.phase, container!.lastState?.exitCode], ["Running", 3]);
  await pod.end();
  const text = states.join(" ");
  // The first time at once; then after 20 and after 40 ms, which are shown as a state.
  assertMatch(text, /^(terminated )?running terminated waiting running terminated waiting running/);
});

Deno.test("Pod leaves containers alone that are not to be started again", async () => {
  const rows = [["Never", "exit 3", "Failed"], ["Never", "exit 0", "Succeeded"], [
    "OnFailure",
    "exit 0",
    "Succeeded",
  ]] as const;
  for (const [restartPolicy, script, phase] of rows) {
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const command = ["sh", "-c", `read _; ${script}`];
    const pod = await Pod.start({ name: "web", restartPolicy, containers: [{ name: "main", command, stdin: true }] }, {
      onChange: () => resolve(),
    });
    assertEquals([pod.phase, pod.readiness.ready], ["Running", true]);
    const [container] = pod.containers;
    const request = { action: "attach" as const, command: [], tty: false, stdin: true, stdout: true, stderr: false };
    await container!.attach(request).stdin!.write(new TextEncoder().encode("\n"));
    await ended;
    assertEquals([pod.phase, pod.readiness.ready, container!.restartCount], [phase, false, 0]);
    await pod.end();
  }
});

Deno.test("Pod.end() ends the wait for a back-off", async () => {
  const { promise: waiting, resolve } = Promise.withResolvers<string>();
  const pod = await Pod.start(
    { name: "web", restartPolicy: "Always", containers: [{ name: "main", command: ["no-such-command"] }] },
    {
      onChange: ({ containers: [container] }) => {
        if (container!.state.type === "waiting") resolve(container!.state.message);
      },
    },
  );
  assertEquals(await waiting, `back-off 10s restarting failed container=main pod=web_default(${pod.uid})`);
  await pod.end();
});
