/**
 * File name patterns as Go's `path/filepath` has them, and with it kubectl: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before a
 * character that means itself. A `*` matches no slash, and names that begin with a dot too.
 *
 * @module
 */
import { cleanPath } from "./cp_spec.ts";

/** The paths that match `pattern`, sorted; none if it has no special character. */
export async function expandGlob(pattern: string): Promise<string[]> {
  if (!/[*?[\\]/.test(pattern)) return [];
  let found = [pattern.startsWith("/") ? "/" : ""];
  for (const part of pattern.split("/").filter((part) => part !== "")) {
    const match = compilePart(part);
    const next: string[] = [];
    for (const folder of found) {
      const place = (name: string) => folder === "" || folder === "/" ? folder + name : `${folder}/${name}`;
      if (typeof match === "string") {
        if (await exists(place(match))) next.push(place(match));
        continue;
      }
      for (const name of await list(folder === "" ? "." : folder)) {
        if (match.test(name)) next.push(place(name));
      }
    }
    found = next;
  }
  return found.map(cleanPath).sort();
}

/** A part of a pattern: a plain name, or an expression. */
function compilePart(part: string): string | RegExp {
  if (!/[*?[\\]/.test(part)) return part;
  const tokens = part.match(/\\.|\[\^?(?:\\.|[^\]\\])+\]|[\s\S]/gu) ?? [];
  const source = tokens.map((token) => {
    if (token === "*") return ".*";
    if (token === "?") return ".";
    if (token.length > 1 && token.startsWith("[")) {
      return token.replaceAll(/\\(.)/gsu, (_, unit) => RegExp.escape(unit));
    }
    return RegExp.escape(token.startsWith("\\") ? token.slice(1) : token);
  }).join("");
  try {
    return new RegExp(`^${source}$`, "su");
  } catch {
    return /(?!)/; // As Go: a range that is none (`[z-a]`) matches nothing.
  }
}

async function list(folder: string): Promise<string[]> {
  try {
    return await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
  } catch {
    return []; // As Go: what cannot be listed has no matches.
  }
}

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}
