/**
 * Where podwire's command line differs from kubectl 1.36 on purpose, and why. The comparison test allows these
 * and no others.
 *
 * @module
 */

/** What is expected of each instead of equality. */
export interface Expected<T> {
  /** Of kubectl. */
  readonly kubectl: T;
  /** Of podwire. */
  readonly podwire: T;
}

/** One difference; what it does not mention is compared. */
export interface Difference {
  /** The invocations that show it: the arguments, joined by blanks. */
  readonly args: RegExp;
  /** The user that shows it; any without. */
  readonly user?: string;
  /** Why podwire does otherwise. */
  readonly reason: string;
  /** The exit codes. */
  readonly code?: Expected<number>;
  /** The patterns of stdout. */
  readonly stdout?: Expected<RegExp>;
  /** The patterns of stderr. */
  readonly stderr?: Expected<RegExp>;
}

/** All of them. */
export const DIFFERENCES: readonly Difference[] = [
  {
    args: /^exec (cm|nosuchtype)\//,
    reason: "podwire knows the types that have pods and needs no discovery to say so; it names them",
    stderr: {
      kubectl: /not implemented|doesn't have a resource type/,
      podwire: /cannot find pods of a ".*": expected one of pod, /,
    },
  },
  {
    args: /^attach -i /,
    reason:
      "the container runtime ends an attach with its stdin: whether the last output still comes is a race, for both",
    stdout: { kubectl: /^(to the main process\n|quiet\n)?$/, podwire: /^(to the main process\n|quiet\n)?$/ },
  },
];
