/** Looking at processes from the outside. */
import { assert } from "@std/assert";

/** Whether a process runs. One that has ended and whose parent has not looked yet (a zombie) does not. */
export function isAlive(pid: number): boolean {
  assert(pid > 1, `${pid} is no process of the test`);
  try {
    return !/^State:\s+Z/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
