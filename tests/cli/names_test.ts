/** Names on the command line that no object can have: kubectl's words, and no request that goes elsewhere. */
import { assertEquals } from "@std/assert";
import { Ground } from "./harness.ts";

Deno.test("names that would lead elsewhere are refused in kubectl's words", async () => {
  await using ground = await Ground.start();
  const dots = "[may not be '..']";
  const percent = "[may not contain '%']";
  // As kubectl 1.36 prints them.
  const commands: ReadonlyArray<readonly [command: string, stderr: string]> = [
    ["exec .. -- id", `error: invalid resource name "..": ${dots}\n`],
    ["exec deploy/.. -- id", `error: invalid resource name "..": ${dots}\n`],
    ["-n a%b exec one -- id", `error: invalid namespace "a%b": ${percent}\n`],
    ["attach ..", `error: invalid resource name "..": ${dots}\n`],
    ["port-forward svc/.. :80", `error: invalid resource name "..": ${dots}\n`],
    ["get pods ..", `error: invalid resource name "..": ${dots}\n`],
    ["-n .. get pods", `error: invalid namespace "..": ${dots}\n`],
    [
      "get pods a%b c%d nope",
      `invalid resource name "a%b": ${percent}\ninvalid resource name "c%d": ${percent}\n` +
      `Error from server (NotFound): pods "nope" not found\n`,
    ],
  ];
  for (const [command, stderr] of commands) {
    const ended = await ground.run(command.split(" "));
    assertEquals([ended.stderr, ended.stdout, ended.code], [stderr, "", 1], command);
  }
});
