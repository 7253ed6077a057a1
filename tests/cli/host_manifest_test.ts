/** `podwire host -f`: pods from a file. */
import { assertEquals, assertMatch } from "@std/assert";
import { readUntil } from "../support/read_until.ts";
import { Ground, PODWIRE } from "./harness.ts";

const MANIFEST = `apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  volumes: []
  containers: [{name: main, image: any, command: [sleep, "600"]}]
`;

Deno.test("podwire host -f serves the pods of a manifest, and warns of what has no effect", async () => {
  const folder = await Deno.makeTempDir({ prefix: "podwire-cli-" });
  const file = `${folder}/pods.yaml`;
  await Deno.writeTextFile(file, MANIFEST);
  const host = new Deno.Command(Deno.execPath(), {
    args: [...PODWIRE, "host", "-f", file, "--write-kubeconfig", `${folder}/kubeconfig`],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  try {
    const text = await readUntil(host.stderr, (text) => text.includes("End it with"));
    assertEquals(text.split("\n")[0], `Warning: ${file}:5: spec.volumes: has no effect here`);
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: [...PODWIRE, "--kubeconfig", `${folder}/kubeconfig`, "get", "pods"],
      stdin: "null",
    }).output();
    assertMatch(
      new TextDecoder().decode(stdout),
      /^NAME +READY +STATUS +RESTARTS +AGE\nweb +1\/1 +Running +0 +\d+s\n$/,
    );
  } finally {
    host.kill("SIGTERM");
    await Promise.all([host.stderr.cancel(), host.status]);
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("podwire host -f says where a manifest is wrong", async () => {
  await using ground = await Ground.start([]);
  const file = `${ground.folder}/pods.yaml`;
  await Deno.writeTextFile(file, MANIFEST.replace("command:", "args:"));
  assertEquals(await ground.run(["host", "-f", file]), {
    code: 1,
    stdout: "",
    stderr: `error: ${file}:6: spec.containers[0].command: is missing: there is no image that has one\n`,
  });
});
