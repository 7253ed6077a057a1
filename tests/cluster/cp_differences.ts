/**
 * Where `podwire cp` differs from `kubectl cp` 1.36 on purpose, and why. The comparison allows these and no others.
 *
 * @module
 */
import type { Difference, Expected } from "./differences.ts";

/** One difference; what it does not mention is compared. */
export interface CpDifference extends Difference {
  /** The patterns of the files on both sides. */
  readonly files?: Expected<RegExp>;
}

/** All of them; the first that matches counts. */
export const CP_DIFFERENCES: readonly CpDifference[] = [
  {
    args: /^file POD:\/tmp\/w\/(no\/such|file\/below)$/,
    reason: "podwire makes the folder that it stages in before it sends anything, and says where it cannot",
    stderr: {
      kubectl: /^tar: can't change directory to '\/tmp\/w\/(no|file)': /,
      podwire: /^cannot copy into \/tmp\/w\/(no|file): mkdir: .* (No such file or|Not a) directory\n/,
    },
  },
  {
    args: /^(file POD:\/tmp\/w\/full|src POD:\/tmp\/w\/file)$/,
    reason: "podwire puts in place by itself what tar has staged: the words are not tar's, and the path is whole",
    stderr: {
      kubectl: /^tar: can't /,
      podwire: /^\/tmp\/w\/(full\/file: Is|file: Not) a directory\ncommand terminated with exit code 1\n$/,
    },
  },
  {
    args: /^x\[1\] /,
    reason: "kubectl takes the name of a file that is there for a pattern, which does not match it, and copies nothing",
    files: { kubectl: /there:[^]*out\/\n(?!.*x\[1\])/, podwire: /\.\/out\/x\[1\]: \[1\]\n/ },
  },
  {
    args: /^\.\/co:lon /,
    reason: "no namespace begins as a path does: to kubectl it is the namespace '.'",
    code: { kubectl: 1, podwire: 0 },
    stderr: { kubectl: /^error: one of src or dest must be a local file specification\n$/, podwire: /^$/ },
    files: { kubectl: /./, podwire: /there:[^]*\.\/new: co\n/ },
  },
  {
    args: /^POD:\/tmp\/w\/src\/\.\.\/file /,
    reason: "kubectl expects other names in the archive than tar gives them",
    code: { kubectl: 1, podwire: 0 },
    stderr: { kubectl: /^error: tar contents corrupted\n$/, podwire: /^$/ },
    files: { kubectl: /./, podwire: /^here:[^]*\.\/new: F\n[^]*there:/ },
  },
  {
    args: /^POD:\/tmp\/w\/nosuch /,
    reason: "a file that is not there is no success; kubectl ends with 0 or 1, as its process ends before tar or after",
    code: { kubectl: 0, podwire: 1 },
    stdout: { kubectl: /^(tar: .*\n)*$/, podwire: /^$/ },
    stderr: {
      kubectl: /^(command terminated with exit code 1\n)?$/,
      podwire: /^tar: nosuch: No such file or directory\n[^]*command terminated with exit code 1\n$/,
    },
  },
  {
    args: /^POD:\/tmp\/w\/linked /,
    reason: "podwire keeps a link that stays in what is copied; kubectl skips all, and says so of each",
    stderr: {
      kubectl: /^warning: skipping symlink: .*abs.*\n/,
      podwire: /^warning: skipping symlink: "new\/abs" -> "\/etc\/passwd" \(consider using "podwire exec .*"\)\n$/,
    },
    files: { kubectl: /^(?![^]*new\/l)/, podwire: /\.\/new\/l -> a\n/ },
  },
  {
    args: /^POD:\/tmp\/w\/link /,
    reason: "to have copied nothing of what was asked for is no success",
    code: { kubectl: 0, podwire: 1 },
    stderr: {
      kubectl: /^warning: skipping symlink: .*\n$/,
      podwire: /^warning: skipping symlink: .*\nerror: \/tmp\/w\/link: a link to file: not copied\n$/,
    },
  },
  {
    args: /^file src POD:/,
    reason: "podwire takes several sources",
    code: { kubectl: 1, podwire: 0 },
    stderr: { kubectl: /^error: source and destination are required\n$/, podwire: /^$/ },
    files: { kubectl: /./, podwire: /\.\/out\/src\/sub\/deep\/c: c\n/ },
  },
  {
    args: /^POD:\S* POD:/,
    reason: "podwire copies from pod to pod",
    code: { kubectl: 1, podwire: 0 },
    stderr: { kubectl: /^error: one of src or dest must be a local file specification\n$/, podwire: /^$/ },
    files: { kubectl: /./, podwire: /\.\/new: F\n/ },
  },
];
