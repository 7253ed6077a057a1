/** What the tests of `podwire cp` copy between: containers of the embedded host, and folders of this machine. */
import { assertEquals } from "@std/assert";
import { type Program, programs, TOOLS } from "../client/copy_ground.ts";
import { Ground } from "./harness.ts";

/** A ground with containers of several sorts, and folders `here` and `there`. */
export class CpGround implements AsyncDisposable {
  readonly ground: Ground;
  readonly folder: string;

  private constructor(ground: Ground, folder: string) {
    this.ground = ground;
    this.folder = folder;
  }

  static async start(lists: Readonly<Record<string, readonly Program[]>> = { one: TOOLS }): Promise<CpGround> {
    const folder = await Deno.makeTempDir({ prefix: "podwire-cp-" });
    const pods = [];
    for (const [name, list] of Object.entries(lists)) {
      const PATH = await programs(`${folder}/bin-${name}`, list);
      const main = { name: "main", command: ["/bin/sleep", "1000000"], env: { PATH }, cwd: folder };
      pods.push({ name, containers: name === "two" ? [main, { ...main, name: "side" }] : [main] });
    }
    for (const name of ["here", "there", "more"]) await Deno.mkdir(`${folder}/${name}`);
    return new CpGround(await Ground.start(pods), folder);
  }

  /** Runs `podwire cp`; `@` stands for the folder. */
  async cp(args: readonly string[], input?: string): ReturnType<Ground["run"]> {
    const { code, stdout, stderr } = await this.ground.run(
      ["cp", ...args.map((word) => word.replace("@", this.folder))],
      input,
    );
    return { code, stdout, stderr: stderr.replaceAll(this.folder, "@") };
  }

  /** Runs it and expects that it succeeds without a word. */
  async must(args: readonly string[], input?: string): Promise<void> {
    assertEquals(await this.cp(args, input), { code: 0, stdout: "", stderr: "" }, args.join(" "));
  }

  async sh(script: string): Promise<string> {
    const { code, stdout, stderr } = await new Deno.Command("bash", { args: ["-c", script], cwd: this.folder })
      .output();
    const decoder = new TextDecoder();
    assertEquals(code, 0, `${script}: ${decoder.decode(stderr)}`);
    return decoder.decode(stdout);
  }

  /** Compares two folders, by everything that tar knows of them. */
  async same(a: string, b: string): Promise<void> {
    await this.sh(
      `[ "$(cd ${a} && find . | sort)" = "$(cd ${b} && find . | sort)" ] && tar -C ${a} -cf - . | tar -C ${b} -df -`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.ground[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }
}
