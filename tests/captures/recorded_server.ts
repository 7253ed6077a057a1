/**
 * The server of a recording, for a client of ours.
 *
 * @module
 */
import { assert } from "@std/assert";
import { concat } from "../../lib/bytes/mod.ts";
import type { RawConnection } from "../client/raw_server.ts";
import { Received } from "./received.ts";
import {
  acceptOf,
  bytesOf,
  headerValue,
  type HttpHead,
  parseHead,
  type RecordedLine,
  type Recording,
  type RecordingInfo,
  type Side,
} from "./recording.ts";

/** What was said in a recording's last connection, read without podwire's code. */
export interface Exchange {
  readonly name: string;
  readonly info: RecordingInfo;
  /** Whether kubectl was the client. */
  readonly kubectl: boolean;
  readonly lines: readonly RecordedLine[];
  /** Of a fallback: what came before. */
  readonly refused: readonly RecordedLine[] | undefined;
  readonly request: HttpHead;
  readonly response: HttpHead;
  readonly accepted: boolean;
  /** What each side said behind its head. */
  readonly rest: Readonly<Record<Side, Uint8Array>>;
  /** Of a refusal. */
  readonly body: string;
}

/** Reads the heads of a recording. */
export function readExchange({ name, info, connections }: Recording): Exchange {
  const lines = connections.at(-1)!;
  const client = parseHead(bytesOf(lines, "client"));
  const server = parseHead(bytesOf(lines, "server"));
  assert(client && server, `${name} has no whole heads`);
  const accepted = server.head.startLine.includes(" 101 ");
  return {
    name,
    info,
    kubectl: info.client.startsWith("kubectl"),
    lines,
    refused: connections.length > 1 ? connections[0] : undefined,
    request: client.head,
    response: server.head,
    accepted,
    rest: { client: client.rest, server: server.rest },
    body: accepted ? "" : new TextDecoder().decode(server.rest),
  };
}

/** What our client said to a server that was played. */
export interface Played {
  readonly request: HttpHead;
  /** Behind the head. */
  readonly bytes: Uint8Array;
}

/** Whether `received` is enough to go on to `next`, where the recorded client had said `expected`. */
export type IsEnough = (received: Uint8Array, expected: Uint8Array, next: RecordedLine) => boolean;

/** Plays the server of an exchange: holds back what came after bytes of the client until it has said as much. */
export async function play(
  { lines, response, rest }: Exchange,
  connection: RawConnection,
  isEnough: IsEnough,
): Promise<Played> {
  const request = await connection.head();
  const received = new Received(() => connection.read());
  const deadline = setTimeout(() => connection.close(), 10_000); // Where our client does not say what was recorded.
  await connection.write(await answerHead(response, request));
  const headLength = (side: Side) => bytesOf(lines, side).length - rest[side].length;
  const heads = { client: headLength("client"), server: headLength("server") };
  const said: Uint8Array[] = [];
  let played = 0;
  for (const line of lines) {
    const bytes = line.bytes.subarray(Math.min(heads[line.side], line.bytes.length));
    heads[line.side] -= line.bytes.length - bytes.length;
    if (line.side === "client") {
      said.push(bytes);
      continue;
    }
    await received.until((received) => isEnough(received, concat(said), line));
    if (received.hasEnded) break;
    const next = rest.server.subarray(played, played += bytes.length);
    await (line.event ? connection.closeWrite() : connection.write(next)).catch(() => {}); // The client may have gone.
  }
  const bytes = await received.whole;
  clearTimeout(deadline);
  return { request, bytes };
}

/** Answers with what was recorded, which is no 101, and waits for the client to go. */
export async function refuse(connection: RawConnection, lines: readonly RecordedLine[]): Promise<void> {
  await connection.head();
  await connection.write(bytesOf(lines, "server"));
  await connection.closeWrite();
  await connection.gone();
}

/** The recorded head, with the Accept that belongs to our key if there is one. */
export async function answerHead(head: HttpHead, request: HttpHead): Promise<string> {
  const accept = await acceptOf(headerValue(request, "sec-websocket-key") ?? "");
  const lines = head.headers.map(([name, value]) =>
    `${name}: ${name.toLowerCase() === "sec-websocket-accept" ? accept : value}`
  );
  return [head.startLine, ...lines, "", ""].join("\r\n");
}
