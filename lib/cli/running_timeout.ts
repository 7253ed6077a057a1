/**
 * `--pod-running-timeout`: what exec, attach and port-forward wait for first.
 *
 * @module
 */
import { type FlagDefinition, UsageError } from "./flags.ts";

/** The flag, which {@linkcode checkRunningTimeout} checks. */
export const POD_RUNNING_TIMEOUT = {
  kind: "duration",
  default: "1m0s",
  help: "How long to wait for a first pod of a workload or service (5s, 2m, 3h; more than zero)",
} as const satisfies FlagDefinition;

/**
 * Checks the flag's value; `commandPath` is for the hint.
 *
 * @throws {UsageError} If no time is left to wait; in kubectl's words.
 */
export function checkRunningTimeout(timeout: number, commandPath: string): void {
  if (timeout > 0) return;
  throw new UsageError(
    `--pod-running-timeout must be higher than zero\nSee '${commandPath} -h' for help and examples`,
  );
}
