/**
 * Port-forwards that are run with kubectl and with podwire, to be compared, and where the two differ on purpose. Objects of the test:
 *
 * - the pod `one`: a web server on 8080 (`http`), which also names 53/UDP (`dns`), 54 for both (`both`, `both-udp`), and 7777 of an
 *   init container (`setup`)
 * - `plain`: a pod without ports, `pending` and `ended`: pods that do not run
 * - `web`: a Deployment, a StatefulSet and a Service of pods with the same web server; the Service's ports are `named`
 *   80 -> `http`, `number` 81 -> 8080, `same` 8080, `dns` 53/UDP, 54 for both, and `lost` 90 -> a name that no container has
 * - `headless`, `bare` (no selector), `empty` (selects nothing): Services
 * - 18070 of 127.0.0.1 is taken
 *
 * @module
 */
import type { Difference } from "./differences.ts";
import type { UserName } from "./ground.ts";

/** One port-forward. */
export interface Forward {
  /** The arguments behind `port-forward`. */
  readonly args: readonly string[];
  /** How many lines `Forwarding from` to wait for; none for one that ends by itself. */
  readonly opens?: number;
  /** Where to fetch from then. */
  readonly visit?: readonly string[];
  /** Whether it ends by itself then. Otherwise it gets {@linkcode Forward.signal}. */
  readonly ends?: "kubectl";
  /** Whose kubeconfig is used. Default `admin`. */
  readonly user?: UserName;
  /** `KUBECTL_PORT_FORWARD_WEBSOCKETS`. Default `true`. */
  readonly webSockets?: string;
  /** What ends it. Default SIGINT. */
  readonly signal?: Deno.Signal;
}

const here = "http://127.0.0.1";

/** All of them. */
export const FORWARDS: readonly Forward[] = [
  // Ports of a pod.
  { args: ["one", "18080:8080"], opens: 2, visit: [`${here}:18080/`, "http://[::1]:18080/"] },
  { args: ["one", "18080:http"], opens: 2, visit: [`${here}:18080/`] },
  { args: ["one", "http"], opens: 2, visit: [`${here}:8080/`] },
  { args: ["one", "http:http"], opens: 2 },
  { args: ["one", "18077:setup"], opens: 2 },
  { args: ["one", "08080"], opens: 2 },
  { args: ["one", ":8080"], opens: 2 },
  { args: ["one", "0:8080"], opens: 2 },
  { args: ["one", "18080:8080", "18081:8080", ":http"], opens: 6, visit: [`${here}:18081/`] },
  { args: ["one", "--", "18080:8080"], opens: 2 },
  { args: ["pod/one", "18080:8080"], opens: 2, visit: [`${here}:18080/`] },
  { args: ["pods/one", "18054:54"], opens: 2 },
  { args: ["one", "18054:both-udp"], opens: 2 },

  // Ports that are none.
  { args: ["one", "nope"] },
  { args: ["one", "18080:nope"] },
  { args: ["one", "http:8080"] },
  { args: ["one", "8080:"] },
  { args: ["plain", "8080:"] },
  { args: ["one", ":"] },
  { args: ["one", ""] },
  { args: ["one", "0"] },
  { args: ["one", "18080:0"] },
  { args: ["one", "70000"] },
  { args: ["one", "18080:70000"] },
  { args: ["one", "70000:8080"] },
  { args: ["one", "+8080"] },
  { args: ["one", ":-1"] },
  { args: ["one", "99999999999999999999"] },
  { args: ["one", "1.5"] },
  { args: ["one", "18080:18081:8080"], opens: 2 },
  { args: ["one", "18080:8080", "nope"] },
  { args: ["one", "53"] },
  { args: ["one", "dns"] },
  { args: ["one", "18053:53/udp"] },

  // Services.
  { args: ["svc/web", "18080:80"], opens: 2, visit: [`${here}:18080/`] },
  { args: ["service/web", "18080:named"], opens: 2, visit: [`${here}:18080/`] },
  { args: ["services/web", "18080:number"], opens: 2, visit: [`${here}:18080/`] },
  { args: ["svc/web", "18080:81", "18081:same"], opens: 4 },
  { args: ["svc/web", "81"], opens: 2, visit: [`${here}:81/`] },
  { args: ["svc/web", "number"], opens: 2, visit: [`${here}:81/`] },
  { args: ["svc/web", "same"], opens: 2 },
  { args: ["svc/web", ":number"], opens: 2 },
  { args: ["svc/web", "18054:54"], opens: 2 },
  { args: ["svc/web", "nope"] },
  { args: ["svc/web", "18080:99"] },
  { args: ["svc/web", "70000"] },
  { args: ["svc/web", "18080:lost"] },
  { args: ["svc/web", "18080:dns"] },
  { args: ["svc/web", "53"] },
  { args: ["svc/headless", "18080:80"], opens: 2 },
  { args: ["svc/headless", "18080:http"], opens: 2 },
  { args: ["svc/headless", "18080:8080"] },
  { args: ["svc/bare", "18080:80"] },
  { args: ["svc/empty", "18080:80", "--pod-running-timeout=1s"] },

  // Workloads, and targets that are none.
  { args: ["deploy/web", "18080:http"], opens: 2, visit: [`${here}:18080/`] },
  { args: ["deployment.apps/web", "18080:8080"], opens: 2 },
  { args: ["sts/web", "18080:8080"], opens: 2, visit: [`${here}:18080/`] },
  { args: ["pending", "18080:80"] },
  { args: ["pending", "nope"] },
  { args: ["pending", "70000"] },
  { args: ["ended", "18080:80"] },
  { args: ["nopod", "80"] },
  { args: ["svc/nope", "80"] },
  { args: ["deploy/nope", "80"] },
  { args: ["a/b/c", "80"] },
  { args: ["nosuchtype/x", "80"] },

  // Addresses.
  { args: ["one", "18080:8080", "--address", "127.0.0.1"], opens: 1, visit: [`${here}:18080/`] },
  { args: ["one", "18080:8080", "--address", "::1"], opens: 1, visit: ["http://[::1]:18080/"] },
  { args: ["one", "18080:8080", "--address=0.0.0.0"], opens: 1, visit: [`${here}:18080/`] },
  { args: ["one", ":8080", "--address=127.0.0.3,127.0.0.2"], opens: 2 },
  { args: ["one", "18080:8080", "--address=127.0.0.2", "--address=localhost,127.0.0.2"], opens: 3 },
  { args: ["one", "18080:8080", "--address=localhost,127.0.0.1"], opens: 2 },
  { args: ["one", "18080:8080", "--address="] },
  { args: ["one", "18080:8080", "--address=,"] },
  { args: ["one", "18080:8080", "--address=somewhere"] },
  { args: ["one", "18080:8080", "--address=127.0.0.1,999.1.1.1"] },
  { args: ["one", "nope", "--address=somewhere"] },
  { args: ["one", "70000", "--address=somewhere"] },
  { args: ["one", "18080:8080", "--address=192.0.2.1"] },
  { args: ["one", "18070:8080", "--address=127.0.0.1"] },
  { args: ["one", "18070:8080", "18080:8080", "--address=127.0.0.1"], opens: 1 },
  { args: ["one", "18070:8080"], opens: 1, visit: ["http://[::1]:18070/"] },
  { args: ["one", "18070:8080", "--address=127.0.0.1,127.0.0.2"] }, // Both end by themselves: any address that is taken is too much.

  // Connections that fail, and other ends.
  { args: ["one", "18099:9999"], opens: 2, visit: [`${here}:18099/`], ends: "kubectl" },
  { args: ["one", "18080:8080"], opens: 2, signal: "SIGTERM" },

  // Rights, and the switch for the wire.
  { args: ["one", "18080:8080"], user: "token", opens: 2, visit: [`${here}:18080/`] },
  { args: ["one", "18080:8080"], user: "getter" },
  { args: ["one", "18080:8080"], user: "creator", opens: 2, visit: [`${here}:18080/`] },
  { args: ["one", "18080:8080"], user: "nobody" },
  { args: ["one", "18080:8080"], webSockets: "False", opens: 2, visit: [`${here}:18080/`] },
  { args: ["one", "18080:8080"], user: "getter", webSockets: "false" },

  // Usage.
  { args: [] },
  { args: ["one"] },
  { args: ["one", "--nope", "80"] },
  { args: ["one", "80", "--pod-running-timeout=0s"] },
  { args: ["one", "80", "--pod-running-timeout=soon"] },
  { args: ["one", "80", "-n", "no-such-namespace"] },
  { args: ["one", "80", "--as=nobody"] },
];

/** Where the two differ on purpose. */
export const FORWARD_DIFFERENCES: readonly Difference[] = [
  {
    args: /^one 18080:18081:8080$/,
    reason: "kubectl forgets what stands behind the first colon, and forwards 18080 to 18080",
    code: { kubectl: 0, podwire: 1 },
    stdout: { kubectl: /-> 18080\n/, podwire: /^$/ },
    stderr: { kubectl: /^$/, podwire: /^error: invalid port format '18080:18081:8080'\n$/ },
  },
  {
    args: /^one 18053:53\/udp$/,
    reason: "podwire has UDP; this container lacks what it takes",
    stderr: { kubectl: /does not have a named port '53\/udp'/, podwire: /^error: UDP needs a helper in the container/ },
  },
  {
    args: /^plain 8080:$|^one (:|)$|^one 8080:$/,
    reason: "kubectl looks for a port without a name first, and says that there is none",
    stderr: { kubectl: /^error: /, podwire: /^error: remote port cannot be empty\n$/ },
  },
  {
    args: /^one 18099:9999$/,
    reason: "a connection that is refused in the pod ends alone; kubectl's whole command ends with it",
    code: { kubectl: 1, podwire: 0 },
    stderr: {
      kubectl: /an error occurred forwarding 18099 -> 9999: .*\nerror: lost connection to pod\n$/,
      podwire: /^error: an error occurred forwarding 18099 -> 9999: error forwarding port 9999 to pod .*refused.*\n$/,
    },
  },
  {
    args: /SIGTERM/,
    reason: "kubectl is ended by the signal; podwire closes its ports and ends in order, for those that supervise it",
    code: { kubectl: 143, podwire: 0 },
  },
  {
    args: /^a\/b\/c 80$/,
    reason: "podwire has one text for every wrong TYPE/NAME",
    stderr: { kubectl: /may not have more than one slash/, podwire: /must have a single resource and name/ },
  },
  {
    args: /^nosuchtype\/x 80$/,
    reason: "podwire knows the types that have pods and needs no discovery to say so; it names them",
    stderr: {
      kubectl: /doesn't have a resource type/,
      podwire: /cannot find pods of a "nosuchtype": expected one of pod, /,
    },
  },
];
