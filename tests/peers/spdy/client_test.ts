/** moby/spdystream as the client of our server session. Needs Go (Debian's `golang-go`). */
import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { ResetStatus, type SpdySession, type SpdyStream, StreamResetError } from "../../../lib/spdy/mod.ts";
import { readText, utf8 } from "../../spdy/harness.ts";
import { buildPeer, withClient } from "./peer.ts";

const peer = await buildPeer();

/** What a stream gets is in its header `mode`. */
class Host {
  readonly #remembered = Promise.withResolvers<string>();
  /** What went wrong with a stream. */
  readonly errors: unknown[] = [];

  readonly onStream = (stream: SpdyStream, session: SpdySession): void => {
    this.#serve(stream, session).catch((error) => this.errors.push(error));
  };

  async #serve(stream: SpdyStream, session: SpdySession): Promise<void> {
    if (stream.headers.mode === "refuse") return stream.reset(ResetStatus.REFUSED_STREAM);
    stream.reply();
    switch (stream.headers.mode) {
      case "echo":
        await this.#echo(stream);
        break;
      case "speak-first":
        await stream.write(utf8("hello"));
        await stream.closeWrite();
        return this.#remembered.resolve(await readText(stream));
      case "remember-end":
        return this.#remembered.resolve(await describeEnd(stream));
      case "remembered":
        await stream.write(utf8(await this.#remembered.promise));
        break;
      case "reset":
        await stream.write(utf8("half"));
        return stream.reset();
      case "headers": {
        const { big = "", two = "" } = stream.headers;
        await stream.write(utf8(`${createHash("sha256").update(big).digest("hex")} ${two.replaceAll("\0", ",")}`));
        break;
      }
      case "goaway":
        return await session.close();
    }
    await stream.closeWrite();
  }

  async #echo(stream: SpdyStream): Promise<void> {
    const buffer = new Uint8Array(64 * 1024);
    for (let n; (n = await stream.read(buffer)) !== null;) await stream.write(buffer.subarray(0, n));
  }
}

/** How much came, and how it ended. */
async function describeEnd(stream: SpdyStream): Promise<string> {
  const buffer = new Uint8Array(64 * 1024);
  let size = 0;
  try {
    for (let n; (n = await stream.read(buffer)) !== null; size += n);
    return `${size} end`;
  } catch (error) {
    if (!(error instanceof StreamResetError)) throw error;
    return `${size} ${error.name} ${error.status}`;
  }
}

for (
  const [scenario, what] of [
    ["echo", "gets 64 MiB of random bytes back, up and down at once"],
    ["many", "gets 100 KiB back on each of 200 streams at once"],
    ["half-close", "reads our end first, and is heard afterwards"],
    ["reset", "resets in the middle, after 100,000 bytes that we can read; then goes on"],
    ["was-reset", "is reset in the middle, and goes on"],
    ["refused", "is refused ten streams, and goes on"],
    ["pings", "gets 100 Pings back"],
    ["headers", "sends headers of up to 1 MiB"],
    ["goaway", "says GOAWAY"],
    ["gone", "is told GOAWAY"],
  ] as const
) {
  Deno.test(`a Go client ${what}`, async () => {
    const host = new Host();
    const { output, session } = await withClient(peer, scenario, host.onStream);
    assertEquals(output, "ok");
    await session.closed;
    assertEquals(session.streamCount, 0);
    assertEquals(host.errors, []);
  });
}
