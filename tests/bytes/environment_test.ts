import { assertEquals } from "@std/assert";
import { maskPath, readEnvironment } from "../../lib/bytes/mod.ts";

Deno.test("readEnvironment() reads what it may, and takes the rest for unset", async () => {
  assertEquals(readEnvironment("PODWIRE_NO_SUCH_VARIABLE"), undefined);
  const module = new URL("../../lib/bytes/environment.ts", import.meta.url);
  const script =
    `import { readEnvironment } from "${module}"; console.log(readEnvironment("A"), readEnvironment("B"));`;
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/main.ts`, script);
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-config", "--no-prompt", "--allow-env=A", `${folder}/main.ts`],
      env: { A: "a", B: "b", NO_COLOR: "1" },
      stderr: "inherit",
    }).output();
    assertEquals(new TextDecoder().decode(stdout), "a undefined\n");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("maskPath() masks a token in front of a path, and nothing else", () => {
  const token = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJ";
  assertEquals(maskPath(`/${token}/api/v1/pods?watch=true`), "/<masked>/api/v1/pods?watch=true");
  assertEquals(maskPath(`/${token}`), "/<masked>");
  for (const path of ["/", "/api/v1/pods", "/k8s/clusters/c-m-abcdefgh/api", `/api/v1/namespaces/${token}/pods`]) {
    assertEquals(maskPath(path), path);
  }
});
