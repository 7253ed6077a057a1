/** Standard streams that a remote command inherits: processes of their own against a server that says what it is told to. */
import { assertEquals, assertMatch } from "@std/assert";
import { denoFlags, ROOT } from "../offline/flags.ts";
import { closeFrame, message, type RawConnection, SUCCESS, withRawServer } from "./raw_server.ts";

Deno.test.sanitizer({ ops: true, resources: true });

interface Ran {
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a scenario of stdio_client.ts; `use` may feed or close its streams. */
async function run(
  scenario: string,
  script: (connection: RawConnection) => Promise<void>,
  use: (child: Deno.ChildProcess) => Promise<void> = (child) => child.stdin.close(),
): Promise<Ran> {
  return await withRawServer(script, async (server) => {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", ...await denoFlags(), "tests/client/stdio_client.ts", scenario, server],
      cwd: ROOT,
      env: { NO_COLOR: "1" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const stderr = new Response(child.stderr).text();
    await use(child);
    const stdout = child.stdout.locked ? "" : await new Response(child.stdout).text();
    assertEquals((await child.status).code, 0, await stderr);
    return { stdout, stderr: await stderr };
  });
}

async function succeed(connection: RawConnection): Promise<void> {
  await connection.write(message(3, SUCCESS));
  await connection.write(closeFrame());
  await connection.gone();
}

Deno.test('Stdio "inherit": status says that nobody reads this process\'s stdout', async () => {
  const { stderr } = await run("closed stdout", async (connection) => {
    await connection.accept();
    const flood = message(1, new Uint8Array(32 * 1024));
    try {
      for (;;) await connection.write(flood);
    } catch {
      // The client has gone.
    }
  }, async (child) => {
    const reader = child.stdout.getReader();
    await reader.read();
    await reader.cancel();
    await child.stdin.close();
  });
  assertMatch(stderr, /^BrokenPipe: .*\n$/);
});

Deno.test('Stdio "inherit": two commands at once share stdout', async () => {
  const both = Promise.withResolvers<void>();
  let connections = 0;
  const { stdout, stderr } = await run("two outputs", async (connection) => {
    await connection.accept();
    if (++connections === 2) both.resolve();
    await both.promise; // Each of them has stdout while the other one writes.
    await connection.message(1, "line\n");
    await succeed(connection);
  });
  assertEquals([stdout, stderr], ["line\nline\n", "0,0\n"]);
});

Deno.test('Stdio "inherit": stdin is one command\'s at a time', async () => {
  let connections = 0;
  const { stderr } = await run("two inputs at once", async (connection) => {
    connections++;
    await connection.accept();
    for (let frame = await connection.frame(); frame?.payload[0] !== 255;) frame = await connection.frame(); // The end of input.
    await succeed(connection);
  }, async (child) => {
    const reader = child.stdout.getReader();
    await reader.read(); // The second one has been refused; the first one waits for its input's end.
    await child.stdin.close();
    await reader.cancel();
  });
  assertEquals(stderr, 'TypeError: Cannot inherit stdin: somebody else reads it; use "piped"\n');
  assertEquals(connections, 1, "a command that cannot have its input is not started");
});

Deno.test('Stdio "inherit": stdin that was read to its end is at its end for the next command too', async () => {
  const inputs: string[] = [];
  const { stderr } = await run("one input after the other", async (connection) => {
    await connection.accept();
    let input = "";
    for (let frame = await connection.frame(); frame && frame.payload[0] !== 255; frame = await connection.frame()) {
      input += new TextDecoder().decode(frame.payload.subarray(1));
    }
    inputs.push(input);
    await succeed(connection);
  }, async (child) => {
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode("all of it"));
    await writer.close();
  });
  assertEquals([inputs, stderr], [["all of it", ""], "0\n0\n"]);
});

Deno.test('Stdio "inherit": a command that ended before its input did leaves none to the next one', async () => {
  const ended = Promise.withResolvers<void>();
  const { stderr } = await run("one input after the other", async (connection) => {
    await connection.accept();
    await succeed(connection);
    ended.resolve();
  }, async (child) => {
    await ended.promise;
    await child.stdin.close();
  });
  assertMatch(stderr, /^0\nTypeError: Cannot inherit stdin: a command that had it ended before its input did;/);
});

Deno.test('Stdio "inherit" needs Deno, and says so before anything is run', async () => {
  let connections = 0;
  const { stderr } = await run("no Deno", async (connection) => {
    connections++;
    await connection.gone();
  });
  assertEquals(stderr, 'TypeError: Cannot inherit standard streams outside Deno: use "piped"\n'.repeat(3));
  assertEquals(connections, 0);
});
