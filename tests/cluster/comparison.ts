/**
 * What comparisons of two programs on the real cluster share: the objects that they work on, and what may differ.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { CpDifference } from "./cp_differences.ts";
import type { Ground } from "./ground.ts";
import { IMAGE } from "./shape.ts";

/** The image of a container. */
export const BUSYBOX = { image: IMAGE, imagePullPolicy: "Never" } as const;

/** For steps that run at once: those cannot have them. */
export const noSanitizers = { sanitizeOps: false, sanitizeResources: false, sanitizeExit: false } as const;

/** A namespace of its own with `objects` in it, once each of `waits`, arguments of `kubectl wait`, has come true. */
export async function namespaceWith(
  cluster: Ground,
  prefix: string,
  objects: readonly unknown[],
  waits: ReadonlyArray<readonly string[]>,
): Promise<AsyncDisposable & { readonly name: string }> {
  const name = `${prefix}-${crypto.randomUUID().slice(0, 8)}`;
  const remove = () => must(cluster, ["delete", "namespace", name, "--wait=false"]);
  await must(cluster, ["create", "namespace", name]);
  try {
    await must(cluster, ["wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s"]);
    const list = { apiVersion: "v1", kind: "List", items: objects };
    await must(cluster, ["apply", "-n", name, "-f", "-"], JSON.stringify(list));
    for (const wait of waits) await must(cluster, ["wait", ...wait, "-n", name, "--timeout=60s"]);
  } catch (error) {
    await remove();
    throw error;
  }
  return { name, [Symbol.asyncDispose]: remove };
}

async function must(cluster: Ground, args: readonly string[], stdin?: string): Promise<void> {
  const { code, stderr } = await cluster.kubectl(args, { timeout: 120_000, ...(stdin && { stdin }) });
  assertEquals(code, 0, `kubectl ${args.join(" ")}: ${stderr}`);
}

/** How a program ended, and what it left. */
interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly files?: string;
}

/** Asserts that two programs came to the same, after `normalize`, but for a known `difference`. */
export function compare(
  theirs: Outcome,
  ours: Outcome,
  difference: CpDifference | undefined,
  normalize: (text: string) => string = (text) => text,
): void {
  for (const field of ["stdout", "stderr", "files"] as const) {
    const expected = difference?.[field];
    const [their = "", our = ""] = [theirs[field], ours[field]];
    if (expected) {
      assert(expected.kubectl.test(their), `kubectl's ${field} has changed: ${their}`);
      assert(expected.podwire.test(our), `${field}: ${our}`);
    } else {
      assertEquals(normalize(our), normalize(their), field);
    }
  }
  const codes = { kubectl: theirs.code, podwire: ours.code };
  assertEquals(codes, difference?.code ?? { kubectl: theirs.code, podwire: theirs.code }, "exit codes");
}
