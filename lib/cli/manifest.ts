/**
 * The object that a file describes, for commands that take a file instead of a name.
 *
 * @module
 */
import { UsageError } from "./flags.ts";

/** Which object a manifest is of. */
export interface ManifestTarget {
  /** `KIND/NAME`. */
  readonly target: string;
  /** Its namespace, if it names one. */
  readonly namespace?: string;
}

/**
 * Reads kind, name and namespace of the one object in the file at `path`, JSON or YAML; `-` is standard input.
 *
 * @throws {UsageError} If there is no such file, or not one object in it.
 */
export async function readManifest(path: string): Promise<ManifestTarget> {
  const { load, YAMLException } = await import("js-yaml");
  const [text = "", ...more] = (await readFile(path)).split(/^---\s*$/m).filter((part) => part.trim() !== "");
  if (text === "") throw new UsageError(`--filename ${path}: the file is empty, it describes no object`);
  if (more.length > 0) throw new UsageError("cannot exec into multiple objects at a time");
  let object: unknown;
  try {
    object = load(text);
  } catch (cause) {
    if (!(cause instanceof YAMLException)) throw cause;
    throw new UsageError(`error parsing ${path}: ${cause.message}`, { cause });
  }
  const { kind, metadata } = (object ?? {}) as { kind?: unknown; metadata?: { name?: unknown; namespace?: unknown } };
  if (typeof kind !== "string" || typeof metadata?.name !== "string") {
    throw new UsageError(`${path} describes no object: kind and metadata.name must be set`);
  }
  const { namespace } = metadata;
  return { target: `${kind}/${metadata.name}`, ...(typeof namespace === "string" && { namespace }) };
}

async function readFile(path: string): Promise<string> {
  if (path === "-") return await new Response(Deno.stdin.readable).text();
  try {
    return await Deno.readTextFile(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.IsADirectory) {
      throw new UsageError(`--filename ${path} is a directory: name a file in it`, { cause });
    }
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new UsageError(`the path ${JSON.stringify(path)} does not exist`, { cause });
  }
}
