// What each command's help says it needs is enough, without any other permission.
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { commandHelp } from "../../lib/cli/help.ts";
import { COMMANDS } from "../../lib/cli/commands.ts";
import { serveHost } from "../../lib/server/mod.ts";
import { inFolder } from "../support/in_folder.ts";
import { readUntil } from "../support/read_until.ts";
import { PODS, PODWIRE } from "./harness.ts";

/** Starts podwire with these permissions alone. */
function spawn(permissions: readonly string[], args: readonly string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: [...PODWIRE.flatMap((word) => word === "-A" ? ["--no-prompt", ...permissions] : [word]), ...args],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Puts values for the names in capitals, after checking that the command's help has the words as they were. */
async function fillIn(command: string, words: readonly string[], values: Record<string, string>): Promise<string[]> {
  const help = commandHelp(await COMMANDS.find(({ name }) => name === command)!.load());
  return words.map((word) => {
    assertStringIncludes(help, word);
    return Object.entries(values).reduce((text, [name, value]) => text.replace(name, value), word);
  });
}

/** Reads until `pattern` has come. */
async function see(stream: ReadableStream<Uint8Array>, pattern: RegExp): Promise<void> {
  assertMatch(await readUntil(stream, (text) => pattern.test(text)), pattern);
}

const SERVER = ["--allow-read=FILE", "--allow-net=SERVER:PORT"];
const SOCKET = ["--allow-net=unix:PATH", "--allow-read=PATH", "--allow-write=PATH"];
const ONCE: ReadonlyArray<readonly [command: string, args: readonly string[], stdout: RegExp]> = [
  ["version", [], /^Server Version: /m],
  ["get", ["pods", "one", "-o", "name"], /^pod\/one\n$/],
  ["get", ["pods", "one", "-o", "yaml"], /^kind: Pod$/m],
  ["exec", ["one", "--", "echo", "x"], /^x\n$/],
];

Deno.test("the permissions in the help of version, get and exec are enough over TCP", async () => {
  await inFolder(async (folder) => {
    await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
    const file = `${folder}/kubeconfig`;
    await Deno.writeTextFile(file, host.kubeconfig);
    for (const [command, args, pattern] of ONCE) {
      const permissions = await fillIn(command, SERVER, { FILE: file, "SERVER:PORT": host.url.host });
      const { code, stdout, stderr } = await spawn(permissions, [command, `--kubeconfig=${file}`, ...args]).output();
      assertEquals([code, new TextDecoder().decode(stderr)], [0, ""], command);
      assertMatch(new TextDecoder().decode(stdout), pattern);
    }
  });
});

Deno.test("the permissions in the help of version, get and exec are enough over a unix socket", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/host.sock`;
    await using _host = await serveHost({ listen: { path }, pods: PODS });
    const flags = ["--via-unix-socket", path, "--server", "podwire"];
    for (const [command, args, pattern] of ONCE) {
      const permissions = await fillIn(command, SOCKET, { PATH: path });
      const { code, stdout, stderr } = await spawn(permissions, [command, ...flags, ...args]).output();
      assertEquals([code, new TextDecoder().decode(stderr)], [0, ""], command);
      assertMatch(new TextDecoder().decode(stdout), pattern);
    }
  });
});

Deno.test("the permissions in the help of attach and port-forward are enough", async () => {
  await inFolder(async (folder) => {
    await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
    const file = `${folder}/kubeconfig`;
    await Deno.writeTextFile(file, host.kubeconfig);
    const values = { FILE: file, "SERVER:PORT": host.url.host, PATH: `${folder}/l.sock`, ADDRESS: "127.0.0.1" };
    const greeting = /If you don't see a command prompt/;
    const open = /^Forwarding from /m;
    const rows: Array<[words: string[], args: string[], "stdout" | "stderr", RegExp]> = [
      [SERVER, ["attach", "one"], "stderr", greeting],
      [
        [...SERVER, "--allow-net=ADDRESS"],
        ["port-forward", "one", ":8080", "--address=127.0.0.1"],
        "stdout",
        open,
      ],
      [
        [...SERVER, ...SOCKET, "--allow-sys"],
        ["port-forward", "one", "8080", `--address=unix:${values.PATH}`],
        "stdout",
        open,
      ],
    ];
    for (const [words, [command = "", ...args], stream, pattern] of rows) {
      const permissions = await fillIn(command, words, values);
      const child = spawn(merge(permissions), [command, `--kubeconfig=${file}`, ...args]);
      try {
        await see(child[stream], pattern);
      } finally {
        child.kill("SIGTERM");
        await Promise.all([child.status, child.stdout.cancel(), child.stderr.cancel()]);
      }
    }
  });
});

Deno.test("the permissions in the help of gateway and with are enough", async () => {
  await inFolder(async (folder) => {
    await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
    const file = `${folder}/kubeconfig`;
    await Deno.writeTextFile(file, host.kubeconfig);
    const own = { FILE: `${folder}/own`, PATH: `${folder}/g.sock`, "HOST:PORT": "127.0.0.1:0" };
    const rows: Array<[words: string[], args: string[]]> = [
      [["--allow-net=HOST:PORT"], ["--listen=127.0.0.1:0"]],
      [[...SOCKET, "--allow-sys", "--allow-write=FILE"], [
        `--listen=unix:${own.PATH}`,
        `--write-kubeconfig=${own.FILE}`,
      ]],
    ];
    const server = { FILE: file, "SERVER:PORT": host.url.host };
    for (const [words, args] of rows) {
      const permissions = [...await fillIn("gateway", SERVER, server), ...await fillIn("gateway", words, own)];
      const child = spawn(merge(permissions), ["gateway", `--kubeconfig=${file}`, ...args]);
      try {
        await see(child.stderr, /End it with Ctrl-C/);
      } finally {
        child.kill("SIGTERM");
        await Promise.all([child.status, child.stdout.cancel(), child.stderr.cancel()]);
      }
    }
    const words = ["--allow-net=127.0.0.1", "--allow-read=FOLDER", "--allow-write=FOLDER", "--allow-run=COMMAND"];
    const values = { ...server, FOLDER: "/tmp", COMMAND: "sh" };
    const permissions = await fillIn("with", [...SERVER, ...words], values);
    const args = ["with", `--kubeconfig=${file}`, "--", "sh", "-c", 'test -s "$KUBECONFIG" && echo ran'];
    const { code, stdout, stderr } = await spawn(merge(permissions), args).output();
    assertEquals([code, new TextDecoder().decode(stdout), new TextDecoder().decode(stderr)], [0, "ran\n", ""]);
  });
});

Deno.test("the permissions in the help of host are enough", async () => {
  await inFolder(async (folder) => {
    const values = { FILE: `${folder}/kubeconfig`, PATH: `${folder}/host.sock` };
    const rows: Array<[words: string[], args: string[]]> = [
      [["--allow-run --allow-read", "--allow-net=127.0.0.1", "--allow-write=FILE"], [
        "--write-kubeconfig",
        values.FILE,
      ]],
      [
        [
          "--allow-run --allow-read",
          "--allow-sys",
          "--allow-net=unix:PATH",
          "--allow-write=PATH",
          "--allow-write=FILE",
        ],
        ["--listen", `unix:${values.PATH}`, "--write-kubeconfig", values.FILE],
      ],
    ];
    for (const [words, args] of rows) {
      const permissions = (await fillIn("host", words, values)).flatMap((word) => word.split(" "));
      const child = spawn(merge(permissions), ["host", ...args]);
      try {
        await see(child.stderr, /Serving processes/);
        const exec = ["exec", "--kubeconfig", values.FILE, "demo", "--", "echo", "x"];
        const { stdout } = await spawn(["-A"], exec).output();
        assertEquals(new TextDecoder().decode(stdout), "x\n");
      } finally {
        child.kill("SIGTERM");
        await Promise.all([child.status, child.stdout.cancel(), child.stderr.cancel()]);
      }
    }
  });
});

/** Deno takes each flag once: the values of several are one list. */
function merge(permissions: readonly string[]): string[] {
  const values = new Map<string, string[]>();
  for (const permission of permissions) {
    const [flag = "", value] = permission.split("=");
    values.set(flag, [...values.get(flag) ?? [], ...(value === undefined ? [] : [value])]);
  }
  return [...values].map(([flag, list]) => list.length > 0 ? `${flag}=${list.join(",")}` : flag);
}
