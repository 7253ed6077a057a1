/**
 * A host with pods for every client, and a port that answers.
 *
 * @module
 */
import { type HostPod, serveHost } from "../../../lib/server/mod.ts";
import { echo, withPort } from "../../server/ports.ts";

/** Where a client finds itself. */
export interface Ground {
  /** The environment for a client: `KUBECONFIG` and a home of its own. */
  readonly env: Record<string, string>;
}

const pods = (open: number, closed: number): readonly HostPod[] => [
  {
    name: "web",
    labels: { app: "web" },
    ports: { 80: open, 81: closed },
    containers: [
      { name: "main", command: ["cat"], stdin: true, ports: [{ name: "http", containerPort: 80 }] },
      { name: "side", command: ["sleep", "600"] },
    ],
  },
  { name: "talk", containers: [{ name: "main", command: ["sh", "-c", "echo one; echo two; sleep 0.2; echo three"] }] },
  { name: "crash", restartPolicy: "Always", containers: [{ name: "main", command: ["sh", "-c", "echo oh; exit 3"] }] },
];

/** Hands `work` a host: port 80 of its pod `web` echoes, port 81 refuses. */
export async function withGround(work: (ground: Ground) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "podwire-peers-" });
  try {
    await withPort(echo, async (open, closed) => {
      await using host = await serveHost({ listen: { port: 0 }, pods: pods(open, closed) });
      await Deno.writeTextFile(`${folder}/kubeconfig`, host.kubeconfig, { mode: 0o600 });
      await work({ env: { KUBECONFIG: `${folder}/kubeconfig`, HOME: folder } });
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
