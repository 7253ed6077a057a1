/**
 * Starts the real proxies and servers of these tests: each on a port that was free, in a folder of its own, ended by its pid.
 *
 * @module
 */

const TESTDATA = new URL("../../dial/testdata/", import.meta.url);

/** The user of every proxy. */
export const USER = "proxyuser";
/** Its password, with all that must be escaped in a URL. */
export const PASSWORD = "p@ss:w%rd/1";
/** Its password at tinyproxy, which takes only letters, digits and `-._` in its configuration. */
export const TINYPROXY_PASSWORD = "secret-1";

/** How long a program may take to be ready, in milliseconds. */
const START_DEADLINE = 10_000;

/** The Debian package of each program. */
const PACKAGES: Readonly<Record<string, string>> = {
  squid: "squid",
  tinyproxy: "tinyproxy",
  danted: "dante-server",
  socat: "socat",
  openssl: "openssl",
  unshare: "util-linux",
  npx: "npm",
  go: "golang",
};

/** The text of a file of tests/dial/testdata. */
export function testdata(name: string): string {
  return Deno.readTextFileSync(new URL(name, TESTDATA));
}

/** Ends what was started, last first. */
export class Peers implements AsyncDisposable {
  /** Where the programs keep their files; all users may read it, as squid gives up being root. */
  readonly folder: string;
  readonly #stack = new AsyncDisposableStack();

  /** An empty folder, no programs yet. */
  constructor() {
    this.folder = Deno.makeTempDirSync({ prefix: "podwire-dial-" });
    Deno.chmodSync(this.folder, 0o755);
    this.#stack.defer(() => Deno.remove(this.folder, { recursive: true }));
    for (const name of ["ca.crt", "server.crt", "server.key", "named.crt", "named.key"]) {
      this.write(name, testdata(name));
    }
  }

  /** Writes a file that every user may read; returns its path. */
  write(name: string, text: string): string {
    const path = `${this.folder}/${name}`;
    Deno.writeTextFileSync(path, text);
    Deno.chmodSync(path, 0o644);
    return path;
  }

  /** Runs `socat` between a listening address and another; returns the port, 0 for a unix socket. */
  async socat(listen: string, target: string): Promise<number> {
    const { stderr } = this.#spawn("socat", ["-d", "-d", "-t", "10", listen, target], "piped");
    const reader = stderr.getReader();
    const decoder = new TextDecoder();
    for (let log = "";;) {
      const { value, done } = await reader.read();
      if (done) throw new Error(`socat ${listen} ${target} did not start: ${log}`);
      log += decoder.decode(value, { stream: true });
      const port = / listening on .*?(?::(\d+))?\n/.exec(log);
      if (!port) continue;
      this.#stack.defer(() => reader.cancel());
      void drain(reader);
      return Number(port[1] ?? 0);
    }
  }

  /** squid with an http and an https port, both of which want {@linkcode USER}; it knows `cluster.test`. */
  async squid(): Promise<{ http: number; https: number }> {
    const passwords = this.write("squid.passwords", `${USER}:${await passwordHash("-apr1")}\n`);
    const hosts = this.write("squid.hosts", "127.0.0.1 cluster.test\n");
    const name = `podwire${crypto.randomUUID().slice(0, 8)}`; // squid's shared memory is called so.
    this.#stack.defer(async () => {
      for await (const { name: file } of Deno.readDir("/dev/shm")) {
        if (file.startsWith(`${name}-`)) await Deno.remove(`/dev/shm/${file}`);
      }
    });
    return await retry(async () => {
      const [http, https] = [freePort(), freePort()];
      const configuration = this.write(
        "squid.conf",
        `http_port 127.0.0.1:${http}
https_port 127.0.0.1:${https} tls-cert=${this.folder}/server.crt tls-key=${this.folder}/server.key
auth_param basic program /usr/lib/squid/basic_ncsa_auth ${passwords}
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
hosts_file ${hosts}
dns_nameservers 127.0.0.1
pid_filename none
access_log none
cache_log /dev/null
cache deny all
cache_mem 8 MB
pinger_enable off
shutdown_lifetime 0 seconds
`,
      );
      const { status } = this.#spawn("squid", ["-n", name, "-N", "-f", configuration]);
      await accepting(https, "squid", status);
      return { http, https };
    });
  }

  /** tinyproxy, which wants {@linkcode USER}. */
  tinyproxy(): Promise<number> {
    return retry(async () => {
      const port = freePort();
      const configuration = this.write(
        "tinyproxy.conf",
        `Port ${port}\nListen 127.0.0.1\nTimeout 60\nBasicAuth ${USER} ${TINYPROXY_PASSWORD}\nLogLevel Critical\n`,
      );
      const { status } = this.#spawn("tinyproxy", ["-d", "-c", configuration]);
      await accepting(port, "tinyproxy", status);
      return port;
    });
  }

  /**
   * danted, a SOCKS 5 server; with `user` it wants {@linkcode USER}. It asks the system for users and names, so it gets a
   * passwd, a shadow and a hosts file of its own in a mount namespace, which takes root.
   */
  async danted({ user }: { readonly user: boolean }): Promise<number> {
    const files = {
      passwd: `${await Deno.readTextFile("/etc/passwd")}${USER}:x:65533:65533::/:/bin/false\n`,
      shadow: `${USER}:${await passwordHash("-6")}:19000:0:99999:7:::\n`,
      hosts: "127.0.0.1 localhost cluster.test\n",
    };
    const mounts = Object.entries(files).map(([name, text]) =>
      `mount --bind ${this.write(`danted.${name}`, text)} /etc/${name}`
    );
    return await retry(async () => {
      const port = freePort();
      const configuration = this.write(
        `danted.${port}.conf`,
        `logoutput: /dev/null
internal: 127.0.0.1 port = ${port}
external: lo
socksmethod: ${user ? "username" : "none"}
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }
socks pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }
`,
      );
      const script = [...mounts, `exec danted -f ${configuration} -p ${this.folder}/danted.${port}.pid`].join(" && ");
      await installed("danted");
      const { status } = this.#spawn("unshare", ["-m", "sh", "-c", script]);
      await accepting(port, "danted", status);
      return port;
    });
  }

  /** Ends the programs and removes the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  #spawn(program: string, args: readonly string[], stderr: "piped" | "null" = "null"): Deno.ChildProcess {
    const child = start(() =>
      new Deno.Command(program, {
        args: [...args],
        stdin: "null",
        stdout: "null",
        stderr,
      }).spawn(), program);
    this.#stack.defer(async () => {
      try {
        child.kill(program === "squid" ? "SIGKILL" : "SIGTERM"); // squid takes two seconds to go.
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // It has ended by itself.
      }
      await child.status;
    });
    return child;
  }
}

/** Reads on, so that the program never waits for its log to be read. */
async function drain(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  while (!(await reader.read()).done);
}

function start<T>(run: () => T, program: string): T {
  try {
    return run();
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new Error(`this test needs ${program}: apt-get install ${PACKAGES[program]}`, { cause });
  }
}

/** Runs a program to its end; returns what it printed. */
export async function run(
  program: string,
  args: readonly string[],
  options: { cwd?: URL; env?: Readonly<Record<string, string>>; clearEnv?: boolean; stdin?: string } = {},
): Promise<string> {
  const { stdin, ...rest } = options;
  const child = start(() =>
    new Deno.Command(program, {
      ...rest,
      args: [...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn(), program);
  const [{ code, stdout, stderr }] = await Promise.all([
    child.output(),
    ReadableStream.from([new TextEncoder().encode(stdin ?? "")]).pipeTo(child.stdin),
  ]);
  if (code !== 0) {
    throw new Error(`${program} ${args.join(" ")} ended with code ${code}: ${new TextDecoder().decode(stderr)}`);
  }
  return new TextDecoder().decode(stdout);
}

async function installed(program: string): Promise<void> {
  const { success } = await new Deno.Command("which", { args: [program], stdout: "null" }).output();
  if (!success) throw new Error(`this test needs ${program}: apt-get install ${PACKAGES[program]}`);
}

async function passwordHash(kind: "-apr1" | "-6"): Promise<string> {
  const command = new Deno.Command("openssl", { args: ["passwd", kind, PASSWORD] });
  const { stdout } = await start(() => command.output(), "openssl");
  return new TextDecoder().decode(stdout).trim();
}

/** A port that nobody has just now; somebody may take it, so {@linkcode retry}. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

async function retry<T>(attempt: () => Promise<T>): Promise<T> {
  for (let left = 2;; left--) {
    try {
      return await attempt();
    } catch (error) {
      if (left === 0 || !(error instanceof Error && error.message.includes("ended"))) throw error;
    }
  }
}

/** Waits until somebody listens on `port`. */
async function accepting(port: number, program: string, status: Promise<Deno.CommandStatus>): Promise<void> {
  let code: number | undefined;
  status.then((status) => code = status.code);
  for (const end = Date.now() + START_DEADLINE; Date.now() < end;) {
    if (code !== undefined) throw new Error(`${program} ended with code ${code} before it was ready`);
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return;
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  throw new Error(`${program} was not ready within ${START_DEADLINE} ms`);
}
