// podwire in a terminal: the embedded host gives a terminal to an outer session, and podwire runs in it.
import { assertEquals, assertMatch } from "@std/assert";
import { Cluster, type RemoteProcess } from "../../lib/client/mod.ts";
import { within } from "../support/until.ts";
import { Ground, PODWIRE } from "./harness.ts";

/** A shell in a terminal of 80 × 24, in which podwire leads to the host again. */
class Screen implements AsyncDisposable {
  readonly #ground: Ground;
  readonly #shell: RemoteProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #text = "";

  private constructor(ground: Ground, shell: RemoteProcess) {
    this.#ground = ground;
    this.#shell = shell;
    this.#writer = shell.stdin.getWriter();
    this.#reader = shell.stdout.getReader();
  }

  static async open(): Promise<Screen> {
    const ground = await Ground.start();
    const { host, folder } = ground;
    const cluster = await Cluster.fromKubeconfig({
      kubeconfig: `${folder}/kubeconfig`,
      server: host.url.href,
      viaUnixSocket: `${folder}/host.sock`,
    });
    const podwire = [Deno.execPath(), ...PODWIRE, ...ground.flags].join(" ");
    await Deno.writeTextFile(`${folder}/podwire`, `#!/bin/sh\nexec ${podwire} "$@"\n`, { mode: 0o755 });
    const script =
      `PS1='$ '; PATH="${folder}:$PATH"; KUBECONFIG=${folder}/kubeconfig; export PS1 PATH KUBECONFIG; exec sh`;
    const shell = await cluster.pod("one").exec(["sh", "-c", script], {
      stdin: "piped",
      tty: true,
      size: { columns: 80, rows: 24 },
    }).spawn();
    const screen = new Screen(ground, shell);
    await screen.see("$ ");
    return screen;
  }

  /** Types `text`. */
  async type(text: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(text));
  }

  /** How the terminal is set, in stty's own coding. Ask at a prompt. */
  async mode(): Promise<string> {
    await this.type("stty -g\r");
    return /([\da-f]+:[\da-f:]+)\r\n/.exec(await this.see(/[\da-f]+:[\da-f:]+\r\n\$ /))?.[1] ?? "";
  }

  async resize(columns: number, rows: number): Promise<void> {
    await this.#shell.resize({ columns, rows });
  }

  /** Waits until `pattern` has been shown, and takes what was shown up to there. */
  async see(pattern: string | RegExp): Promise<string> {
    const decoder = new TextDecoder();
    for (;;) {
      const [found, at] = this.#find(pattern);
      if (found !== undefined) {
        const seen = this.#text.slice(0, at + found.length);
        this.#text = this.#text.slice(at + found.length);
        return seen;
      }
      const { done, value } = await within(`the terminal shows ${pattern}`, this.#reader.read());
      if (done) throw new Error(`the terminal ended before ${pattern}: ${JSON.stringify(this.#text)}`);
      this.#text += decoder.decode(value, { stream: true });
    }
  }

  #find(pattern: string | RegExp): [found: string | undefined, at: number] {
    if (typeof pattern === "string") {
      const at = this.#text.indexOf(pattern);
      return [at < 0 ? undefined : pattern, at];
    }
    const match = pattern.exec(this.#text);
    return [match?.[0], match?.index ?? -1];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#shell[Symbol.asyncDispose]();
    await this.#ground[Symbol.asyncDispose]();
  }
}

const ignore = Deno.build.os !== "linux"; // The host serves terminals on Linux only.

Deno.test({
  name: "podwire exec -it gives the command a terminal of this one's size, and follows it",
  ignore,
  async fn() {
    await using screen = await Screen.open();
    await screen.type("podwire exec -it one -- sh -c 'tty; while :; do stty size; sleep 0.05; done'\r");
    assertMatch(await screen.see("24 80\r\n"), /\/dev\/pts\/\d+\r\n/);
    await screen.resize(100, 40);
    await screen.see("40 100\r\n");
    await screen.type("\x03");
    await screen.see("command terminated with exit code 130\r\n");
    await screen.see("$ ");
  },
});

Deno.test({
  name: "podwire exec -it ends its own lines as a raw terminal needs it",
  ignore,
  async fn() {
    await using screen = await Screen.open();
    await screen.type("podwire exec -v=6 -it one -- sh -c 'sleep 0.1; exit 4'\r");
    await screen.see(/ 101 in \d+ ms\r\nexec "one": WebSocket, v5.channel.k8s.io\r\n/);
    await screen.see("command terminated with exit code 4\r\n");
  },
});

Deno.test({
  name: "podwire exec -it passes every key on, and takes raw mode back",
  ignore,
  async fn() {
    await using screen = await Screen.open();
    const before = await screen.mode();
    await screen.type(
      'podwire exec -it one -- sh -c \'trap "echo interrupted; exit 4" INT; echo rea""dy; while :; do sleep 0.1; done\'\r',
    );
    await screen.see("ready\r\n");
    await screen.type("\x03");
    await screen.see("interrupted\r\n");
    await screen.see("command terminated with exit code 4\r\n");
    await screen.see("$ ");
    assertEquals(await screen.mode(), before);
  },
});

for (const signal of ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT"] as const) {
  Deno.test({
    name: `podwire exec -it takes raw mode back on ${signal}`,
    ignore,
    async fn() {
      await using screen = await Screen.open();
      const before = await screen.mode();
      await screen.type('sh -c \'echo pid $$; exec podwire exec -it one -- sh -c "echo rea""dy; sleep 1000"\'\r');
      const pid = /pid (\d+)\r\n/.exec(await screen.see("ready\r\n"))?.[1];
      Deno.kill(Number(pid), signal);
      await screen.see("$ ");
      await screen.type("echo code $?\r");
      await screen.see("code 1\r\n$ ");
      assertEquals(await screen.mode(), before);
    },
  });
}

Deno.test({
  name: "podwire exec -it leaves a command's output as it is",
  ignore,
  async fn() {
    await using screen = await Screen.open();
    await screen.type("podwire exec -it one -- sh -c 'stty -opost; printf \"one\\ntwo\\n\"; stty opost'\r");
    await screen.see("one\ntwo\n");
  },
});

Deno.test({
  name: "podwire attach -it leaves at the detach keys, and the container lives on",
  ignore,
  async fn() {
    await using screen = await Screen.open();
    for (const word of ["first", "second"]) {
      await screen.type("podwire attach -it shell\r");
      await screen.see("try pressing enter.\r\n");
      await screen.type(`echo ${word}-$((1+1))\r`);
      await screen.see(`${word}-2\r\n`);
      await screen.type("\x10\x11");
      await screen.see("Session ended, resume using 'podwire attach shell -c main -n default -i -t' command\r\n");
      await screen.see("$ ");
    }
    await screen.type("echo code $?\r");
    assertEquals((await screen.see("code 0\r\n")).includes("error"), false);
  },
});

for (const redraw of ["", "redraw"]) {
  Deno.test({
    name: `A session in a terminal follows a resize during the dial, and ends at the detach keys by itself (${
      redraw || "plain"
    })`,
    ignore,
    async fn() {
      await using screen = await Screen.open();
      const client = new URL("session_client.ts", import.meta.url).pathname;
      await screen.type([Deno.execPath(), ...PODWIRE.slice(0, -1), client, redraw, "\r"].join(" "));
      await screen.see(redraw ? 'size {"Width":81,"Height":25}' : 'size {"Width":80,"Height":24}');
      await screen.see('size {"Width":100,"Height":40}');
      await screen.type("typed\x10\x11");
      await screen.see("left with 0\r\n");
      await screen.see("$ ");
    },
  });
}

Deno.test({
  name: "A session in a terminal is ended by Ctrl-C while it is dialled",
  ignore,
  async fn() {
    await using screen = await Screen.open();
    const client = new URL("session_client.ts", import.meta.url).pathname;
    await screen.type([Deno.execPath(), ...PODWIRE.slice(0, -1), client, "hang", "\r"].join(" "));
    await screen.see("dialling\r");
    await screen.type("\x03");
    await screen.see("$ ");
  },
});
