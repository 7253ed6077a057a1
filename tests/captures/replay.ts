/**
 * Recorded servers against our client: what the replays of both wires share.
 *
 * @module
 */
import { Cluster, type RemoteCommandOptions, type RemoteProcess, type Wire } from "../../lib/client/mod.ts";
import { SocketTransport } from "../../lib/client/socket_transport.ts";
import { createDialer } from "../../lib/dial/mod.ts";
import { bytesOf, type HttpHead, parseHead, type Recording } from "./recording.ts";

/** Recordings with the same reason. */
export function forEach(names: readonly string[], reason: string): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, reason]));
}

/** How many bytes the HTTP head has that `side` sent. */
export function headLength(lines: Recording["connections"][number], side: "client" | "server"): number {
  const bytes = bytesOf(lines, side);
  return bytes.length - parseHead(bytes)!.rest.length;
}

/** The query of a request: the command in its order, the rest as a set. */
export function readQuery(head: HttpHead): { path: string; command: string[]; flags: string[] } {
  const { pathname, searchParams } = new URL(head.startLine.split(" ")[1] ?? "", "http://x");
  const flags = [...searchParams].filter(([name]) => name !== "command").map((pair) => pair.join("=")).sort();
  return { path: pathname, command: searchParams.getAll("command"), flags };
}

/** What a recorded command is run with. */
export interface ReplayOptions {
  /** The wire that was recorded. */
  readonly wire: Wire;
  /** What to offer instead of what podwire offers of its own accord. */
  readonly offered?: readonly string[];
  /** The terminal's first size. */
  readonly size?: { readonly columns: number; readonly rows: number } | undefined;
}

/** Runs the command of a recorded request with podwire against `server`. */
export async function replay(request: HttpHead, server: string, options: ReplayOptions): Promise<RemoteProcess> {
  const { wire, offered, size } = options;
  const sockets = new SocketTransport(new URL(server), createDialer());
  const offering = <T extends object>(request: T): T => offered ? { ...request, protocols: offered } : request;
  const cluster = new Cluster({
    server,
    transport: {
      request: (request) => sockets.request(request),
      openWebSocket: (request) => sockets.openWebSocket(offering(request)),
      openSpdy: (request) => sockets.openSpdy(offering(request)),
      close: () => sockets.close(),
    },
    wire,
  });
  const { path, command } = readQuery(request);
  const query = new URL(request.startLine.split(" ")[1] ?? "", "http://x").searchParams;
  const [, namespace = "", name = "", subresource] = /\/namespaces\/(.+)\/pods\/(.+)\/(exec|attach)$/.exec(path) ?? [];
  const wanted = (name: string) => isTrue(query.get(name)) ? "piped" : "null";
  const streams: RemoteCommandOptions = {
    stdin: wanted("stdin"),
    stdout: wanted("stdout"),
    stderr: wanted("stderr"),
    tty: isTrue(query.get("tty")),
    ...(query.has("container") && { container: query.get("container") ?? "" }),
    ...(size && { size }),
  };
  const pod = cluster.pod(name, { namespace });
  return await (subresource === "exec" ? pod.exec(command.length > 0 ? command : ["x"], streams) : pod.attach(streams))
    .spawn();
}

/** As Kubernetes reads a flag in a query: an empty one is set. */
export function isTrue(value: string | null): boolean {
  return value !== null && value !== "false" && value !== "0";
}

/** The sizes that a recorded client sent in one piece of text. */
export function readSizes(text: string): Array<{ columns: number; rows: number }> {
  return [...text.matchAll(/\{"Width":(\d+),"Height":(\d+)\}\n/g)].map(([, columns, rows]) => ({
    columns: Number(columns),
    rows: Number(rows),
  }));
}

/** Bytes as characters. */
export function latin1(bytes: Uint8Array): string {
  return new TextDecoder("latin1").decode(bytes);
}
