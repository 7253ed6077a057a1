/**
 * What is done with kubectl directly and through a gateway, to be compared: scripts for `sh`, and where the two differ on purpose.
 * In a script `$k` is a kubectl with its namespace, `$DIR` an empty folder, `$RUN` a name that is the same both ways and that no script
 * beside it has, `$LOCK` a file for `flock`. Objects of the test:
 *
 * - the pod `one`: a web server on 8080
 * - `two`: containers `main` and `side`
 * - `cat`: a container that copies its input to its output, for attach
 * - `ended`: has printed three lines and ended
 *
 * @module
 */
import type { Difference } from "./differences.ts";
import type { UserName } from "./ground.ts";

/** One script. */
export interface Script {
  /** Names the step. */
  readonly name: string;
  /** The script. */
  readonly run: string;
  /** As whom. `admin` when left out. */
  readonly user?: UserName;
  /** Whether it opens streams into pods, and so goes another way to each node; else once for each API server is enough. */
  readonly streams: boolean;
}

/** Tries a command until it succeeds, for up to ten seconds. */
const PATIENTLY = `patiently() { for _ in $(seq 100); do "$@" && return; sleep 0.1; done; }`;

/** Starts a port-forward to `port`, fetches from there so often, waits for its end or ends it, and says how that went. */
function forward(port: number, times: number, end: "ends" | "is ended"): string {
  return `${PATIENTLY}
begun() { grep -q ^Forwarding $DIR/out || ! kill -0 $pid 2> /dev/null; }
touch $DIR/out
$k port-forward --address 127.0.0.1 one :${port} > $DIR/out 2>&1 &
pid=$!
patiently begun
port=$(sed -n 's/.*127.0.0.1:\\([0-9]*\\) -> .*/\\1/p' $DIR/out)
for _ in $(seq ${times}); do busybox wget -qO- http://127.0.0.1:$port/ 2> /dev/null; done
${end === "ends" ? "" : "kill -INT $pid"}
wait $pid
echo "exit code $?"
cat $DIR/out`;
}

const STREAMS: ReadonlyArray<Omit<Script, "streams">> = [
  {
    name: "exec prints to stdout and stderr and ends with 7",
    run: "$k exec one -- sh -c 'echo o; echo e >&2; exit 7'",
  },
  { name: "exec of a program that is not there", run: "$k exec one -- no-such-program" },
  { name: "exec prints a megabyte", run: "$k exec one -- sh -c 'seq 1 150000; seq 1 20000 >&2'" },
  { name: "exec -i echoes its input", run: "printf 'some\\0input' | $k exec -i one -- sh -c 'cat; exit 5'" },
  { name: "exec -i takes three megabytes", run: "head -c 3000000 /dev/zero | $k exec -i one -- wc -c" },
  {
    name: "exec -it has a terminal and its size",
    run: `script -qec 'stty cols 77 rows 33; '"$k"' exec -it one -- sh -c "` +
      `until stty size 2> /dev/null | grep -q 33; do sleep 0.1; done; stty size; test -t 0 && echo terminal; exit 4"' ` +
      "/dev/null < /dev/null | sed 's/\\^@//'",
  },
  { name: "exec defaults its container", run: "$k exec two -- echo main" },
  { name: "exec in a container or a pod that is not there", run: "$k exec two -c nope -- true; $k exec nopod -- true" },
  {
    name: "attach -i",
    run: `${PATIENTLY}
touch $DIR/out
(echo hello; patiently grep -q hello $DIR/out) | flock $LOCK $k attach -i cat > $DIR/out
cat $DIR/out`,
  },
  {
    name: "cp there and back",
    run: `head -c 300000 /dev/urandom > $DIR/blob
$k cp $DIR/blob one:/tmp/$RUN && $k cp one:/tmp/$RUN $DIR/back && cmp $DIR/blob $DIR/back && echo the same`,
  },
  { name: "port-forward", run: forward(8080, 2, "is ended") },
  { name: "port-forward to a port where nobody listens", run: forward(9999, 1, "ends") },
  { name: "logs -f to the end", run: "$k logs -f ended; $k logs one -c nope" },
  {
    name: "logs -f of what goes on",
    run: `${PATIENTLY}
touch $DIR/out
$k logs -f cat > $DIR/out &
patiently grep -q begin $DIR/out
kill $!
wait $! 2> /dev/null
head -n 1 $DIR/out`,
  },
  ...(["getter", "creator", "nobody"] as const).map((user) => ({
    name: `exec as ${user}`,
    run: "$k exec one -- echo yes",
    user,
  })),
  { name: "port-forward as getter", run: forward(8080, 0, "ends"), user: "getter" },
];

const PLAIN: ReadonlyArray<Omit<Script, "streams">> = [
  {
    name: "apply, patch and delete",
    run: `cm() { printf '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s"},"data":{"x":"%s"}}' $RUN $1; }
cm 1 | $k apply -f -
cm 2 | $k apply -f -
cm 3 | $k apply --server-side -f -
$k create configmap $RUN
$k patch configmap $RUN -p '{"data":{"y":"4"}}'
$k get configmap $RUN -o jsonpath='{.data}'
$k delete configmap $RUN`,
  },
  {
    name: "get -w",
    run: `${PATIENTLY}
lines() { test $(wc -l < $DIR/out) -ge $1; }
touch $DIR/out
$k create configmap w-$RUN
$k get configmap -w --field-selector metadata.name=w-$RUN -o 'jsonpath={.metadata.name} {.data}{"\\n"}' > $DIR/out 2>&1 &
pid=$!
patiently lines 1
$k patch configmap w-$RUN -p '{"data":{"x":"1"}}'
patiently lines 2
$k delete configmap w-$RUN
patiently lines 3
kill $pid
wait $pid 2> /dev/null
echo "exit code $?"
cat $DIR/out`,
  },
  {
    name: "top-level discovery",
    run: `export KUBECACHEDIR=$DIR/cache
$k api-versions | grep -v podwire
$k api-resources --api-group=apps
$k version
$k get nosuchtype`,
  },
  { name: "get --raw", run: "$k get --raw /version; $k get --raw /api/v1; $k get --raw /nope" },
  { name: "explain", run: "$k explain pods.spec.containers.ports" },
  { name: "get", run: "$k get pods; $k get pod one -o name; $k get pod nopod" },
  ...(["admin", "getter", "creator", "nobody"] as const).map((user) => ({
    name: `auth as ${user}`,
    run: "$k auth whoami; $k auth can-i get pods/exec; $k auth can-i create pods/exec",
    user,
  })),
  { name: "impersonation", run: "$k --as=jane exec one -- true" },
];

/** All of them. */
export const SCRIPTS: readonly Script[] = [
  ...STREAMS.map((script) => ({ ...script, streams: true })),
  ...PLAIN.map((script) => ({ ...script, streams: false })),
];

/** Where the two differ on purpose; `kubectl` is the direct way, `podwire` the one through the gateway. `args` is a script's name, the way and kubectl's version. */
export const GATEWAY_DIFFERENCES: readonly Difference[] = [
  {
    args: /^get --raw over TCP by 1\.(28|32)$/,
    reason: "kubectl before 1.36 drops the path of the server's URL with --raw, and without TLS the token is there",
    stdout: { kubectl: /"gitVersion": "v1.36/, podwire: /^$/ },
    stderr: { kubectl: /could not find the requested resource/, podwire: /Unauthorized/ },
  },
  {
    args: /^impersonation over/,
    reason: "a gateway acts as its own user: it lets no client become another one, whatever that user may",
    stderr: { kubectl: /User "jane" cannot get resource/, podwire: /acts as its own user|group list: unknown/ },
  },
];
