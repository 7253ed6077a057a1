/**
 * Recorded servers against our client: what the replays of both wires share.
 *
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { DisconnectedError } from "../../lib/channels/mod.ts";
import { Cluster, type RemoteCommandOptions, type RemoteProcess, type Wire } from "../../lib/client/mod.ts";
import { SocketTransport } from "../../lib/client/socket_transport.ts";
import { createDialer } from "../../lib/dial/mod.ts";
import type { Exchange } from "./recorded_server.ts";
import type { HttpHead } from "./recording.ts";

/** The same for several recordings. */
export function forEach<T>(names: readonly string[], value: T): Record<string, T> {
  return Object.fromEntries(names.map((name) => [name, value]));
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

/** What a session comes to: an exit code, or a failure. */
export type Outcome = number | { readonly error: string; readonly message: string };

/** The outcome that a v1.Status tells, whose JSON stands in `text` as one character a byte. */
export function outcomeOf(text: string): Outcome {
  const status = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (c) => c.charCodeAt(0))));
  if (status.status === "Success") return 0;
  if (status.reason === "NonZeroExitCode") return Number(status.details.causes[0].message);
  return { error: "RemoteCommandError", message: status.message };
}

/**
 * Asserts that a session came to what its server `said`, and to `expected`; with `likeTheirs` also to what the recorded client printed.
 */
export async function checkOutcome(
  { request, kubectl, info }: Exchange,
  process: RemoteProcess,
  said: { readonly stdout: string; readonly stderr: string },
  expected: Outcome,
  likeTheirs: boolean,
): Promise<void> {
  const query = new URL(request.startLine.split(" ")[1] ?? "", "http://x").searchParams;
  const text = (stream: "stdout" | "stderr") =>
    isTrue(query.get(stream)) ? new Response(process[stream]).bytes().then(latin1) : "";
  const [stdout, stderr, status] = await Promise.allSettled([text("stdout"), text("stderr"), process.status]);
  const outcome = status.status === "fulfilled" ? status.value.code : status.reason;
  if (typeof expected === "number") {
    assertEquals(outcome, expected);
  } else {
    assertEquals(outcome.name, expected.error);
    assertStringIncludes(outcome.message, expected.message);
  }
  if (outcome instanceof DisconnectedError) {
    assertEquals(outcome.bytesReceived, said.stdout.length + said.stderr.length);
  } else {
    assertEquals([stdout, stderr], [
      { status: "fulfilled", value: said.stdout },
      { status: "fulfilled", value: said.stderr },
    ]);
  }
  // In a terminal a script drove kubectl: exit code and output are the script's.
  if (kubectl && likeTheirs && !isTrue(query.get("tty"))) {
    assertEquals(typeof outcome === "number" ? outcome : 1, info.exit, "kubectl's exit code");
    assertEquals(said.stdout, info.stdout, "kubectl's output");
  }
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
