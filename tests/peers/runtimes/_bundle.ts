/** Bundles mod.ts into one file, as a page or a Node program would have it. */
import { denoFlags, ROOT } from "../../offline/flags.ts";

/** The text of mod.ts and everything it loads, as one ES module. */
export async function bundle(): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "podwire-bundle-" });
  try {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "bundle",
        ...await denoFlags(),
        "--platform",
        "browser",
        "--external",
        "node:*",
        "-o",
        `${folder}/podwire.js`,
        "mod.ts",
      ],
      cwd: ROOT,
    }).output();
    if (code !== 0) throw new Error(new TextDecoder().decode(stderr));
    return await Deno.readTextFile(`${folder}/podwire.js`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
