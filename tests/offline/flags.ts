/**
 * Which flags make Deno find the JSR packages: none where JSR answers, the linked stand-ins of this folder where it does not.
 *
 * @module
 */

/** The root of the repository. */
export const ROOT: URL = new URL("../../", import.meta.url);

/** The flags for `deno run`, `test`, `check`, `info`, `bundle` and `publish`. */
export async function denoFlags(): Promise<string[]> {
  return await jsrAnswers() ? [] : ["--config", new URL("deno.offline.json", ROOT).pathname, "--no-lock"];
}

async function jsrAnswers(): Promise<boolean> {
  const jsr = Deno.env.get("JSR_URL") ?? "https://jsr.io/";
  try {
    const response = await fetch(new URL("@std/assert/meta.json", jsr), { signal: AbortSignal.timeout(5_000) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false; // Out of reach, for whatever reason: that is the question.
  }
}
