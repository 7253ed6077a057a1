/**
 * moby/spdystream as a program: what speaks SPDY in kubectl, the API server and every container runtime.
 *
 * @module
 */
import { SpdySession, type SpdySessionOptions, type SpdyStream } from "../../../lib/spdy/mod.ts";
import { duplexOf } from "../../websocket/harness.ts";
import { buildGo } from "../build.ts";

/** Builds the peer and returns its path. */
export function buildPeer(): Promise<string> {
  return buildGo("spdy-peer", new URL("../go/spdy/", import.meta.url));
}

/** A session with the peer as the server, as long as `use` runs. */
export async function withServer(
  peer: string,
  use: (session: SpdySession, port: number) => Promise<void>,
  options: Omit<SpdySessionOptions, "role"> = {},
): Promise<void> {
  const child = new Deno.Command(peer, { args: ["serve"], stdout: "piped" }).spawn();
  const reader = child.stdout.getReader();
  try {
    const { value } = await reader.read();
    const port = Number(new TextDecoder().decode(value));
    const session = await connect(port, options);
    await use(session, port);
    session.abort();
  } finally {
    child.kill();
    await reader.cancel();
    await child.status;
  }
}

/** A session of its own with a peer that listens. */
export async function connect(port: number, options: Omit<SpdySessionOptions, "role"> = {}): Promise<SpdySession> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  return new SpdySession(duplexOf(conn), { ping: { interval: 20, timeout: 20_000 }, ...options, role: "client" });
}

/** Lets the peer play `scenario` as the client of a session of ours; gives what it printed, and the session. */
export async function withClient(
  peer: string,
  scenario: string,
  onStream: (stream: SpdyStream, session: SpdySession) => void,
): Promise<{ output: string; session: SpdySession }> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const child = new Deno.Command(peer, {
    args: ["dial", `${listener.addr.port}`, scenario],
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = child.output();
  const session: SpdySession = new SpdySession(duplexOf(await listener.accept()), {
    role: "server",
    ping: { interval: 20, timeout: 20_000 },
    onStream: (stream) => onStream(stream, session),
  });
  const { stdout, stderr } = await output;
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  return { output: [text(stdout), text(stderr)].filter((line) => line !== "").join("\n"), session };
}
