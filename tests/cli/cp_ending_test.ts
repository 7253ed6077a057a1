// Signals that end podwire cp: nothing half is left, here or there.
import { assertEquals, assertMatch } from "@std/assert";
import { noise, type Program, TOOLS } from "../client/copy_ground.ts";
import { CpGround } from "./cp_ground.ts";
import type { Ground } from "./harness.ts";

/**
 * A ground with one container, and folders `here` and `there` with a file `f` in each.
 *
 * @param script A program of the container that is none of this machine's.
 */
async function startGround(script?: Exclude<Program, string>): Promise<CpGround> {
  const ground = await CpGround.start({
    one: [...TOOLS.filter((name) => name !== script?.name), ...script ? [script] : []],
  });
  for (const name of FOLDERS) await Deno.writeTextFile(`${ground.folder}/${name}/f`, "old");
  return ground;
}

const FOLDERS = ["here", "there"] as const;

/** What lies in the folders, and in the files `f`. */
async function left({ folder: ground }: CpGround): Promise<string[]> {
  const left: string[] = [];
  for (const folder of FOLDERS) {
    for await (const { name } of Deno.readDir(`${ground}/${folder}`)) {
      const place = `${ground}/${folder}/${name}`;
      left.push(name === "f" ? `${folder}/f: ${(await Deno.readTextFile(place)).slice(0, 10)}` : `${folder}/${name}`);
    }
  }
  return left.sort();
}

/** A running podwire cp. */
class Copying implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #stderr: ReadableStreamDefaultReader<string>;
  #said = "";

  /** Runs it; it shows how far it is as JSON. */
  constructor(ground: Ground, args: readonly string[], stdin: "piped" | "null" = "null") {
    this.#child = ground.spawn(["cp", "--progress=json", ...args], { stdin, stdout: "null" });
    this.#stderr = this.#child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Writes to its stdin, which stays open. */
  async write(bytes: Uint8Array): Promise<void> {
    const writer = this.#child.stdin.getWriter();
    await writer.write(bytes);
    writer.releaseLock();
  }

  /** Reads stderr until it says `pattern`. */
  async until(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.#said)) {
      const { done, value } = await this.#stderr.read();
      if (done) throw new Error(`stderr ended: ${this.#said}`);
      this.#said += value;
    }
  }

  signal(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Its exit code, and what it said. */
  async ended(): Promise<{ readonly code: number; readonly stderr: string }> {
    for (let read = await this.#stderr.read(); !read.done; read = await this.#stderr.read()) this.#said += read.value;
    const { code } = await this.#child.status;
    return { code, stderr: this.#said };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // It has ended.
    }
    await this.#child.status;
    await this.#stderr.cancel();
  }
}

/** A file is on its way. */
const ON_ITS_WAY = /"bytes":[1-9]/;

const UNTOUCHED = ["here/f: old", "there/f: old"];

Deno.test("podwire cp leaves nothing half in the container when a signal ends it", async () => {
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    await using ground = await startGround();
    await using copying = new Copying(ground.ground, ["-", `one:${ground.folder}/there/f`], "piped");
    await copying.write(noise(5 << 20));
    await copying.until(ON_ITS_WAY);
    copying.signal(signal);
    const ended = await copying.ended();
    assertEquals(ended.code, code, ended.stderr);
    assertEquals(await left(ground), UNTOUCHED, ended.stderr);
  }
});

Deno.test("podwire cp leaves nothing half on this machine when a signal ends it", async () => {
  // A container that has more to say, and does not.
  const tar = {
    name: "tar",
    script:
      'case $* in *--version*) ;; *) /usr/bin/tar "$@" | /usr/bin/head -c 6000000; exec /bin/sleep 1000000;; esac',
  };
  await using ground = await startGround(tar);
  await Deno.writeFile(`${ground.folder}/large`, noise(8 << 20));
  await using copying = new Copying(ground.ground, [`one:${ground.folder}/large`, `${ground.folder}/here/f`]);
  await copying.until(ON_ITS_WAY);
  copying.signal("SIGINT");
  const { code, stderr } = await copying.ended();
  assertEquals(code, 130, stderr);
  assertEquals(await left(ground), UNTOUCHED, stderr);
});

Deno.test("podwire cp ends at once at a second signal", async () => {
  // Cleaning takes for ever.
  await using ground = await startGround({ name: "rm", script: "exec /bin/sleep 1000000" });
  await using copying = new Copying(ground.ground, ["-", `one:${ground.folder}/there/f`], "piped");
  await copying.write(noise(5 << 20));
  await copying.until(ON_ITS_WAY);
  copying.signal("SIGINT");
  await copying.until(/A second signal ends at once/);
  copying.signal("SIGINT");
  const { code, stderr } = await copying.ended();
  assertEquals(code, 130);
  assertMatch(stderr, /at once\n$/, "nothing comes after it");
});
