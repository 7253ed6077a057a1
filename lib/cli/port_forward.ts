/**
 * `podwire port-forward`: ports of a pod, here.
 *
 * @module
 */
import {
  type Cluster,
  mapPorts,
  objectPath,
  parsePortSpec,
  readPort,
  refuseNotRunning,
  type ServiceObject,
} from "../client/mod.ts";
import { defineCommand } from "./command.ts";
import { UsageError } from "./flags.ts";
import { parseAddresses, placeName } from "./forward_addresses.ts";
import { listenOnPorts } from "./forward_listen.ts";
import { ForwardReport } from "./forward_report.ts";
import { ForwardSession } from "./forward_session.ts";
import { checkRunningTimeout, POD_RUNNING_TIMEOUT } from "./running_timeout.ts";
import { ENDINGS_BUT_HANGUP, untilEnded } from "./serve.ts";

/** kubectl's switch for port-forward. */
const WEBSOCKET_SWITCH = "KUBECTL_PORT_FORWARD_WEBSOCKETS";

/** The command (kubectl `pkg/cmd/portforward`). */
export const command = defineCommand({
  name: "port-forward",
  description: "Forward one or more local ports to a pod.\n\n" +
    "TYPE/NAME is a pod, or something that has pods, of which the best one is taken: a service, a deployment and so on. " +
    "A connection that fails ends alone. When the way to the pod is lost or the pod is replaced, the local ports stay " +
    "open, and new connections go to the pod that is there then.\n\n" +
    "The command ends with Ctrl-C, or when a pod that was asked for by its name is gone for good.",
  usage: "port-forward TYPE/NAME [LOCAL_PORT:]REMOTE_PORT[/udp] ... [flags]",
  examples: [
    ["Ports 5000 and 6000 of a pod, here under the same numbers", "podwire port-forward pod/web-0 5000 6000"],
    ["Port 5000 of a pod, here as 8888", "podwire port-forward web-0 8888:5000"],
    ["The same on any local port that is free", "podwire port-forward web-0 :5000"],
    ["A service's port 'https', whatever port of the pod it stands for", "podwire port-forward svc/web 8443:https"],
    [
      "On all addresses of this machine: everybody who reaches it can use it",
      "podwire port-forward --address 0.0.0.0 web-0 8888:5000",
    ],
    ["On a unix socket that only you can open", "podwire port-forward --address unix:/tmp/db.sock sts/db 5432"],
    ["A UDP port, where the container has a program that can send datagrams", "podwire port-forward web-0 5353:53/udp"],
  ],
  flags: {
    "address": {
      kind: "list",
      help:
        "Where to listen: IP addresses, localhost (127.0.0.1 and ::1, one of which is enough) or unix:PATH, separated " +
        "by commas or in several flags. By default localhost",
    },
    "no-reconnect": {
      kind: "boolean",
      help: "End when the connection to the pod is lost, as kubectl does",
    },
    "pod-running-timeout": POD_RUNNING_TIMEOUT,
    "stats": {
      kind: "boolean",
      help: "At the end, show on stderr how many connections there were and how many bytes went through",
    },
  },
  needsCluster: true,
  webSocketSwitch: WEBSOCKET_SWITCH,
  permissions: [
    "--allow-net=ADDRESS:PORT of every local port, or --allow-net=ADDRESS where any free one will do",
    "--allow-sys --allow-net=unix:PATH --allow-read=PATH --allow-write=PATH for a unix socket to listen on",
  ],

  async run({ commandPath, flags, words: before, rest = [], verbosity, connect, requestOptions }) {
    const [target, ...texts] = [...before, ...rest];
    if (target === undefined || texts.length === 0) {
      throw new UsageError(
        `TYPE/NAME and list of ports are required for port-forward\nSee '${commandPath} -h' for help and examples`,
      );
    }
    const specs = texts.map(parsePortSpec);
    await using cluster = await connect();
    const timeout = flags["pod-running-timeout"];
    checkRunningTimeout(timeout, commandPath);

    // kubectl's order: the target, its ports' names, whether it runs, the addresses, the ports' numbers.
    const pod = await cluster.resolvePod(target, { timeout, ...requestOptions() });
    const service = await readService(cluster, target, requestOptions());
    const mapped = mapPorts(specs, pod, service);
    refuseNotRunning(pod);
    const places = parseAddresses(flags.address);
    const ports = mapped.map(readPort);
    if (places.some((place) => "path" in place) && (ports.length > 1 || ports[0]?.protocol === "udp")) {
      throw new UsageError("--address unix:PATH takes one port, and not a UDP port");
    }

    const report = new ForwardReport(verbosity);
    const plan = { target, pod, service, specs, ports, timeout, reconnect: !flags["no-reconnect"] };
    await untilEnded(async (signal) => {
      await using session = new ForwardSession(cluster, plan, report, signal);
      try {
        await session.open();
        await listenOnPorts(ports, places, {
          listen: (address, port) => session.listen(address, port),
          opened: (address, { remote, protocol }) => {
            report.forwarding(placeName(address), remote, protocol);
          },
          warn: (line) => report.warn(line),
        });
        await session.run();
      } catch (error) {
        if (!signal.aborted || error !== signal.reason) throw error;
      } finally {
        if (flags.stats) session.summarize();
      }
    }, ENDINGS_BUT_HANGUP).finally(() => report.flush());
    return 0;
  },
});

/** The service that `target` names; `undefined` if it is something else. */
async function readService(
  cluster: Cluster,
  target: string,
  options: { readonly signal?: AbortSignal },
): Promise<ServiceObject | undefined> {
  const [, name] = /^(?:services?|svc)(?:\.[^/]*)?\/(.+)$/i.exec(target) ?? [];
  if (name === undefined) return undefined;
  const { namespace } = cluster;
  return await cluster.get(objectPath({ version: "v1", plural: "services", namespace }, name), options);
}
