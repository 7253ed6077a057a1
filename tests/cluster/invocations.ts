/**
 * What is run with kubectl and with podwire, to be compared. Pods of the test:
 *
 * - `one`: one container `main`, running
 * - `two`: containers `main` and `side`, an init container `setup`, all busybox
 * - `marked`: as `two`, with `side` as its default container
 * - `ended`: its only container has ended with success
 * - `half`: `main` runs, `done` has ended
 * - `web`: a Deployment, a ReplicaSet, a StatefulSet, a DaemonSet, a Job and Services (`web`, `bare` without a selector, `empty` that
 *   selects nothing) of that name
 * - `cat`: a container that copies its input to its output, for attach
 *
 * @module
 */

/** One command line, without the program and the flags that lead to the cluster. */
export interface Invocation {
  /** The arguments. */
  readonly args: readonly string[];
  /** What is on standard input; nothing (`/dev/null`) without it. */
  readonly stdin?: string;
  /** What the command prints before that ends. */
  readonly endsAfter?: string;
  /** Whose kubeconfig is used. Default `admin`. */
  readonly user?: "admin" | "token" | "getter" | "creator" | "nobody";
}

const sh = (pod: string, script: string, ...flags: string[]) => ["exec", ...flags, pod, "--", "sh", "-c", script];

/**
 * Lets a command live until the end of its input has arrived. Where that reaches a runtime that has closed already, the API server's
 * byte-level proxy may drop what it still holds, the status with it (protocol.md F.5): one in a hundred runs of kubectl on a busy
 * machine, and one in some thousands of podwire, then end with an error.
 */
const OUTLIVE = "; sleep 1";

/** All of them. */
export const INVOCATIONS: readonly Invocation[] = [
  // Output and exit codes.
  { args: ["exec", "one", "--", "true"] },
  { args: ["exec", "one", "--", "false"] },
  { args: ["exec", "one", "--", "echo", "hello"] },
  { args: ["exec", "one", "--", "echo", "two words", "", "ünï", "a;b&c=d+e%f"] },
  { args: ["exec", "one", "--", "printf", "no newline"] },
  { args: sh("one", "echo out; echo err >&2") },
  { args: sh("one", "echo err >&2; exit 3") },
  { args: sh("one", "exit 7") },
  { args: sh("one", "exit 126") },
  { args: sh("one", "exit 127") },
  { args: sh("one", "exit 255") },
  { args: sh("one", "exit 300") },
  { args: sh("one", "kill -9 $$") },
  { args: sh("one", "kill -15 $$") },
  { args: sh("one", "seq 1 20000") },
  { args: sh("one", "head -c 1000000 /dev/zero | tr '\\0' x") },
  { args: sh("one", "head -c 300000 /dev/zero | tr '\\0' y >&2; echo end") },
  { args: ["exec", "one", "--", "no-such-command"] },
  { args: ["exec", "one", "--", "/etc/passwd"] },
  { args: ["exec", "one", "--", "sh", "-c", "echo $0 $1", "a", "b"] },
  { args: ["exec", "pod/one", "--", "hostname"] },
  { args: ["exec", "pods/one", "--", "echo", "plural"] },
  { args: ["exec", "-q", "one", "--", "echo", "quiet"] },

  // Input.
  { args: ["exec", "-i", "one", "--", "cat"], stdin: "from stdin\n" },
  // containerd forgets an end of input that comes before the process (containerd #4489): either client then waits for ever.
  { args: sh("one", "echo ready; cat", "-i"), stdin: "", endsAfter: "ready\n" },
  { args: ["exec", "-i", "one", "--", "wc", "-c"], stdin: "x".repeat(200_000) },
  { args: sh("one", "cat; echo status >&2; exit 5", "-i"), stdin: "abc" },
  { args: ["exec", "--stdin", "one", "--", "cat"], stdin: "long flag" },
  { args: ["exec", "--stdin=false", "one", "--", "cat"], stdin: "not sent" },
  { args: ["exec", "one", "--", "cat"], stdin: "not sent either" },
  { args: sh("one", `head -n 1${OUTLIVE}`, "-i"), stdin: "first\nsecond\n" },
  { args: sh("one", `true${OUTLIVE}`, "-i"), stdin: "nobody reads this" },
  { args: ["exec", "-i", "one", "--", "sha256sum"], stdin: "\u0000\u0001binary\r\n\u0003\u0004" },

  // Terminals that are not there.
  { args: sh("one", `tty${OUTLIVE}`, "-it"), stdin: "" },
  { args: sh("one", `echo quiet${OUTLIVE}`, "-i", "-t", "-q"), stdin: "" },
  { args: ["exec", "-t", "one", "--", "echo", "t alone"] },

  // Containers.
  { args: ["exec", "one", "-c", "main", "--", "echo", "named"] },
  { args: ["exec", "two", "--", "echo", "defaulted"] },
  { args: ["exec", "-q", "two", "--", "echo", "defaulted, quiet"] },
  { args: ["exec", "two", "-c", "side", "--", "echo", "side"] },
  { args: ["exec", "two", "--container=side", "--", "echo", "long"] },
  { args: ["exec", "marked", "--", "echo", "by annotation"] },
  { args: ["exec", "one", "-c", "nope", "--", "true"] },
  { args: ["exec", "two", "-c", "nope", "--", "true"] },
  { args: ["exec", "two", "-c", "setup", "--", "true"] },
  { args: ["exec", "half", "-c", "done", "--", "true"] },

  // Targets.
  { args: ["exec", "deploy/web", "--", "echo", "deployment"] },
  { args: ["exec", "deployment.apps/web", "--", "echo", "deployment with group"] },
  { args: ["exec", "rs/web", "--", "echo", "replica set"] },
  { args: ["exec", "sts/web", "--", "echo", "stateful set"] },
  { args: ["exec", "ds/web", "--", "echo", "daemon set"] },
  { args: ["exec", "job/web", "--", "echo", "job"] },
  { args: ["exec", "svc/web", "--", "echo", "service"] },
  { args: ["exec", "service/bare", "--", "true"] },
  { args: ["exec", "--pod-running-timeout=1s", "svc/empty", "--", "true"] },
  { args: ["exec", "ended", "--", "true"] },
  { args: ["exec", "nopod", "--", "true"] },
  { args: ["exec", "deploy/nope", "--", "true"] },
  { args: ["exec", "cm/kube-root-ca.crt", "--", "true"] },
  { args: ["exec", "nosuchtype/x", "--", "true"] },
  { args: ["exec", "-n", "no-such-namespace", "one", "--", "true"] },

  // Usage.
  { args: ["exec"] },
  { args: ["exec", "one"] },
  { args: ["exec", "one", "true"] },
  { args: ["exec", "one", "--"] },
  { args: ["exec", "one", "--nope", "--", "true"] },
  { args: ["exec", "-X", "one", "--", "true"] },
  { args: ["exec", "one", "-c"] },
  { args: ["exec", "--pod-running-timeout=soon", "one", "--", "true"] },
  { args: ["exec", "--stdin=maybe", "one", "--", "true"] },
  { args: ["nosuchcommand"] },

  // Rights.
  { args: ["exec", "one", "--", "echo", "token"], user: "token" },
  { args: ["exec", "one", "--", "true"], user: "getter" },
  { args: ["exec", "one", "--", "true"], user: "creator" },
  { args: ["exec", "one", "--", "true"], user: "nobody" },
  { args: ["exec", "--as=nobody", "one", "--", "true"] },
  { args: ["exec", "--token=wrong", "one", "--", "true"], user: "nobody" },

  // Attach.
  { args: ["attach", "-i", "cat"], stdin: "to the main process\n" },
  { args: ["attach", "-i", "-q", "cat"], stdin: "quiet\n" },
  { args: ["attach"] },
  { args: ["attach", "one", "two", "three"] },
  { args: ["attach", "--pod-running-timeout=0s", "one"] },
  { args: ["attach", "ended"] },
  { args: ["attach", "one", "-c", "nope"] },
  { args: ["attach", "nopod"] },

  // Get and version.
  { args: ["get", "pods", "one", "-o", "name"] },
  { args: ["get", "pod/one", "pod/two", "-o", "name"] },
  { args: ["get", "po", "nopod"] },
  { args: ["get", "nosuchtype"] },
  { args: ["get", "pods", "-n", "no-such-namespace"] },
  { args: ["get", "deploy,svc", "web", "-o", "name"] },
  { args: ["get", "pod", "one", "-o", "json"] },
  { args: ["get", "pod", "one", "-o", "yaml"] },
  { args: ["get", "--raw", "/version"] },
  { args: ["get", "--raw", "/nope"] },
  { args: ["get", "namespaces", "default"] },
  { args: ["get", "pods", "-l", "app=web", "-o", "name"] },
  { args: ["get", "pods"], user: "nobody" },
];
