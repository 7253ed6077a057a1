/**
 * A pseudo terminal, through the C library: Deno has none of its own. Linux only.
 *
 * @module
 */
import { ReadStream } from "node:tty";
import { PodwireError } from "../bytes/mod.ts";
import type { TerminalSize } from "../channels/mod.ts";
import { Silence } from "./silence.ts";

/** There is no pseudo terminal to be had here. */
export class TerminalError extends PodwireError {
  /** The class's name. */
  override name = "TerminalError";
}

/** The side of a pseudo terminal (pty(7)) that plays the keyboard and the screen. */
export class Terminal {
  /** The device that the command opens. */
  readonly path: string;
  readonly #fd: number;
  readonly #stream: ReadStream;

  private constructor(fd: number, path: string) {
    this.path = path;
    this.#fd = fd;
    this.#stream = new ReadStream(fd);
    // Once nobody has the device open any more, reading fails with EIO: that is its end, and output() sees it.
    this.#stream.on("error", () => {});
  }

  /**
   * Makes a pseudo terminal.
   *
   * @throws {TerminalError} If the system has none, or `--allow-ffi` is missing.
   */
  static open(): Terminal {
    if (Deno.build.os !== "linux") {
      throw new TerminalError(`terminals are served on Linux only, and this is ${Deno.build.os}`);
    }
    const libc = loadLibc();
    const fd = libc.posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) throw new TerminalError("the system has no pseudo terminal left (posix_openpt)");
    const name = new Uint8Array(128);
    if (libc.grantpt(fd) !== 0 || libc.unlockpt(fd) !== 0 || libc.ptsname_r(fd, name, BigInt(name.length)) !== 0) {
      libc.close(fd);
      throw new TerminalError("the pseudo terminal cannot be used (grantpt, unlockpt, ptsname)");
    }
    return new Terminal(fd, new TextDecoder().decode(name.subarray(0, name.indexOf(0))));
  }

  /**
   * What the command shows, until nobody has the terminal open any more, or those who have are silent after the command's end: the system
   * has hung it up then (`disassociate_ctty`), and nobody can write to it. Read it once.
   *
   * @param exit Resolves at the command's end.
   */
  async *output(exit: Promise<unknown>): AsyncGenerator<Uint8Array> {
    const silence = new Silence(exit, HANG_UP_SILENCE, () => this.close());
    try {
      silence.waits(this);
      for await (const chunk of this.#stream) {
        silence.hears(this);
        yield chunk;
        silence.waits(this);
      }
    } catch (error) {
      // EIO: the last process closed it. Aborted: we did.
      if (!(error instanceof Error && "code" in error && ENDS.has(String(error.code)))) throw error;
    } finally {
      silence.ends(this);
    }
  }

  /** Types `data`; resolves when the terminal has taken it. */
  write(data: Uint8Array): Promise<void> {
    // The callback tells of an error too: the command is gone, and what was typed with it.
    return new Promise((resolve) => this.#stream.destroyed ? resolve() : this.#stream.write(data, () => resolve()));
  }

  /** Sets the size; the command in the foreground gets SIGWINCH. */
  resize(size: TerminalSize): void {
    if (this.#stream.destroyed) return;
    loadLibc().ioctl(this.#fd, TIOCSWINSZ, new Uint16Array([size.rows, size.columns, 0, 0]));
  }

  /** Hangs up: the command gets SIGHUP. */
  close(): void {
    this.#stream.destroy();
  }
}

/** How long to wait for the rest of what a terminal shows after its command's end while somebody holds it open, in milliseconds. */
const HANG_UP_SILENCE = 1_000;

const ENDS: ReadonlySet<string> = new Set(["EIO", "ERR_STREAM_PREMATURE_CLOSE", "ABORT_ERR"]);

// From <fcntl.h> and <asm-generic/ioctls.h>: the same on every processor that Deno is built for.
const O_RDWR = 0o2;
const O_NOCTTY = 0o400;
const O_CLOEXEC = 0o2000000;
const TIOCSWINSZ = 0x5414n;

const SYMBOLS = {
  posix_openpt: { parameters: ["i32"], result: "i32" },
  grantpt: { parameters: ["i32"], result: "i32" },
  unlockpt: { parameters: ["i32"], result: "i32" },
  ptsname_r: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  ioctl: { parameters: ["i32", "usize", "buffer"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
} as const;

let libc: Deno.DynamicLibrary<typeof SYMBOLS>["symbols"] | undefined;

function loadLibc(): Deno.DynamicLibrary<typeof SYMBOLS>["symbols"] {
  try {
    libc ??= Deno.dlopen("libc.so.6", SYMBOLS).symbols;
  } catch (cause) {
    throw new TerminalError(`a terminal needs the C library and --allow-ffi: ${(cause as Error).message}`, { cause });
  }
  return libc;
}
