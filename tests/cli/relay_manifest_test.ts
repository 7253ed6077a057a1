// `podwire relay manifest` and `podwire relay crd` as a user runs them.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { loadAll } from "js-yaml";
import { PODWIRE } from "./harness.ts";

async function relay(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...PODWIRE, "relay", ...args],
    env: { NO_COLOR: "1" },
    signal: AbortSignal.timeout(20_000), // What does not end by itself fails then: an operator that was not refused.
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** Runs `work` with a configuration in a file. */
async function withConfig(relays: unknown, work: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile({ suffix: ".yaml" });
  try {
    await Deno.writeTextFile(path, JSON.stringify({ relays }, null, 2));
    await work(path);
  } finally {
    await Deno.remove(path);
  }
}

function names(manifest: string): string[] {
  const objects: Array<{ kind: string; metadata: { name: string; namespace?: string } }> = [];
  loadAll(manifest, (object) => void objects.push(object as typeof objects[number]));
  return objects.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ""}/${metadata.name}`);
}

const BAD_PULL_POLICY = '--image-pull-policy must be one of Always, IfNotPresent, Never, not "always"';

const WEB = { name: "web", listen: { address: "tcp:0.0.0.0:80" }, target: { address: "tcp:9000" } };

Deno.test("podwire relay manifest prints each part", async () => {
  await withConfig([WEB], async (path) => {
    const part = async (...flags: string[]) => {
      const { code, stdout, stderr } = await relay("manifest", "-c", path, "--image", "i", ...flags);
      assertEquals([code, stderr], [0, ""]);
      return names(stdout);
    };
    const cluster = ["ConfigMap ns/r-cluster", "DaemonSet ns/r-cluster", "Service ns/web"];
    const named = ["--name", "r", "-n", "ns"];
    assertEquals(await part(...named), ["ConfigMap ns/r-node", "DaemonSet ns/r-node", ...cluster]);
    assertEquals(await part(...named, "--part=cluster"), cluster);
    assertEquals(await part("--part=static-pod"), ["Pod podwire-relay/podwire-relay-node"]);
  });
});

Deno.test("podwire relay manifest says what is wrong, with file and key where there is one", async () => {
  const fails = async (relays: unknown, flags: string[], text: string, exit = 1) => {
    await withConfig(relays, async (path) => {
      const { code, stdout, stderr } = await relay("manifest", "-c", path, ...flags);
      assertEquals([code, stdout], [exit, ""], stderr);
      assertStringIncludes(stderr, text.replace("FILE", path));
    });
  };
  const image = ["--image", "i"];
  await fails([WEB], [], "--image is required");
  await fails([WEB], [...image, "--part=half"], '--part must be one of all, cluster, static-pod, not "half"');
  await fails([WEB], [...image, "--node-selector=a"], '--node-selector must be KEY=VALUE, not "a"');
  await fails(
    [WEB],
    [...image, "--node-selector=-a=b"],
    '--node-selector -a=b: the key must be [DOMAIN/]NAME, not "-a"',
  );
  await fails([WEB], [...image, "--node-selector=A/b=c"], "--node-selector A/b=c: the key must be [DOMAIN/]NAME");
  await fails(
    [WEB],
    [...image, "--node-selector=x.io/a=b c"],
    "--node-selector x.io/a=b c: the value must be at most 63",
  );
  await fails([WEB], [...image, "--name=Relays"], "--name must be a DNS label (at most 63 of a-z, 0-9 and -");
  await fails([WEB], [...image, "--name", "r".repeat(64)], "--name must be a DNS label");
  await fails([WEB], [...image, "--namespace=a.b"], "--namespace must be a DNS label");
  await fails([WEB], [...image, "--image-pull-policy=always"], BAD_PULL_POLICY);
  await fails([WEB], [...image, "more"], "extra arguments: [more]");
  await fails([{ ...WEB, maxConnections: 0 }], image, "FILE:", 2);
  await fails([{ ...WEB, listen: { address: "unix:/x.sock" } }], image, "FILE:6: relays[0].listen.address: must be", 2);
});

Deno.test("podwire relay crd prints the custom resource and the rights, and the operator with --image", async () => {
  const { stdout } = await relay("crd");
  const own = "podwire-relay/podwire-relay-operator";
  const rights = [
    "CustomResourceDefinition /relays.podwire.dev",
    "Namespace /podwire-relay",
    `ServiceAccount ${own}`,
    `Role ${own}`,
    `RoleBinding ${own}`,
    "ClusterRole /podwire-relay-operator",
    "ClusterRoleBinding /podwire-relay-operator:podwire-relay",
  ];
  assertEquals(names(stdout), rights);
  const operator = [
    "--image",
    "i",
    "--image-pull-policy",
    "Never",
    "--allow",
    "tcp:9000=/metrics",
    "--allow",
    "udp:514",
  ];
  const whole = await relay("crd", ...operator);
  assertEquals(names(whole.stdout), [...rights, `Deployment ${own}`]);
  assertStringIncludes(whole.stdout, "- --allow=tcp:9000=/metrics\n");
  assertStringIncludes(whole.stdout, "imagePullPolicy: Never\n");
  for (
    const [args, text] of [
      [["--allow", "tcp:9000"], "--allow is for the operator: it needs --image"],
      [["--image", "i", "--allow", "9000"], "--allow 9000: the address must be tcp:HOST:PORT"],
      [["--image", "i", "--image-pull-policy=always"], BAD_PULL_POLICY],
    ] as const
  ) {
    const { code, stdout, stderr } = await relay("crd", ...args);
    assertEquals([code, stdout], [1, ""]);
    assertStringIncludes(stderr, text);
  }
});

Deno.test("podwire relay operator refuses times and a pull policy that cannot be, and wants an image", async () => {
  for (
    const [args, text] of [
      [[], "--image is required"],
      [["--image=i", "--leader-elect-lease-duration=10s"], "--leader-elect-lease-duration must be longer"],
      [["--image=i", "--leader-elect-retry-period=9s"], "--leader-elect-renew-deadline must be longer"],
      [["--image=i", "--image-pull-policy=always"], BAD_PULL_POLICY],
    ] as const
  ) {
    const { code, stderr } = await relay("operator", ...args);
    assertEquals(code, 1);
    assertStringIncludes(stderr, text);
  }
});
