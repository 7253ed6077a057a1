/**
 * The image of the relays and their operator, made as lib/relay/Containerfile says, on the machine's own deno instead of the
 * base image that cannot be pulled here; imported on both nodes.
 *
 * @module
 */
import { denoFlags, ROOT } from "../offline/flags.ts";
import { runningPrograms } from "./cluster.ts";
import { type Entry, file, writeImages } from "./image.ts";
import { must } from "./process.ts";
import { Layout, NODE_NAMES, stateDir } from "./shape.ts";

/** Makes the image, unless the nodes have it, and gives its name. */
export async function relayImage(): Promise<string> {
  const layout = new Layout(stateDir());
  const { containerd } = await runningPrograms(layout);
  const folder = await Deno.makeTempDir({ prefix: "podwire-image-" });
  try {
    const bundle = [
      "bundle",
      "--quiet",
      "--platform",
      "deno",
      ...await denoFlags(),
      "-o",
      `${folder}/podwire.js`,
      "cli.ts",
    ];
    await must([Deno.execPath(), ...bundle], { cwd: ROOT.pathname });
    const recipe = await Deno.readTextFile(new URL("lib/relay/Containerfile", ROOT));
    const copied = await Promise.all(
      [...recipe.matchAll(/^COPY (\S+) \/(\S+)$/gm)].map(async ([, from, to]) =>
        file(to ?? "", await Deno.readFile(`${folder}/${from}`))
      ),
    );
    const entrypoint: string[] = JSON.parse(/^ENTRYPOINT (.*)$/m.exec(recipe)?.[1] ?? "");
    const digest = await crypto.subtle.digest("SHA-256", await Deno.readFile(`${folder}/podwire.js`));
    const name = `localhost/podwire:${new Uint8Array(digest).toHex().slice(0, 12)}`;
    const path = `${folder}/image.tar`;
    await writeImages([{ path, name, files: [...await denoFiles(), ...copied], entrypoint }]);
    for (const node of NODE_NAMES) {
      const ctr = [`${containerd}/ctr`, "--address", layout.containerd(node), "--namespace", "k8s.io", "images"];
      const known = await must([...ctr, "list", "--quiet", `name==${name}`]);
      if (known.trim() === "") await must([...ctr, "import", path], { timeout: 120_000 });
    }
    return name;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The machine's deno and the libraries that it is linked with. */
async function denoFiles(): Promise<Entry[]> {
  const deno = await Deno.realPath(Deno.execPath());
  const libraries = [...(await must(["ldd", deno])).matchAll(/(\/\S+) \(0x/g)].map(([, path = ""]) => path);
  return await Promise.all([deno, ...libraries].map(async (path): Promise<Entry> => ({
    ...file(path === deno ? "bin/deno" : path.slice(1), await Deno.readFile(path)),
    mode: 0o755,
  })));
}
