/**
 * A session in this terminal with a server that takes everything and never answers: `session_client.ts [redraw | hang]`.
 * During the dial the terminal becomes one of 100 × 40. The sizes that the server is sent are printed.
 * With `hang` the dial does not end. Run by terminal_test.ts.
 *
 * @module
 */
import { runSession } from "../../lib/cli/pod_session.ts";
import type { RemoteCommandWire } from "../../lib/channels/mod.ts";
import { RemoteCommand } from "../../lib/client/remote_command.ts";

const broken = Promise.withResolvers<never>();
const say = (text: string) => console.log(`${text}\r`);
const wire: RemoteCommandWire = {
  type: "websocket",
  protocol: "v5.channel.k8s.io",
  stalledFor: 0,
  receive: () => broken.promise,
  sendInput: () => Promise.resolve(true),
  endInput: () => broken.promise,
  sendSize: (data) => Promise.resolve(say(`size ${new TextDecoder().decode(data)}`)),
  abort: (reason) => broken.reject(reason),
  close: () => Promise.resolve(),
};

const { code } = await runSession(
  (options) =>
    new RemoteCommand(async () => {
      if (Deno.args.includes("hang")) {
        say("dialling");
        await Deno.listen({ port: 0 }).accept();
      }
      await new Deno.Command("stty", { args: ["columns", "100", "rows", "40"], stdin: "inherit" }).output();
      return { wire };
    }, options),
  {
    stdin: true,
    tty: true,
    quiet: false,
    container: "main",
    detachKeys: Uint8Array.of(16, 17),
    redraw: Deno.args.includes("redraw"),
  },
);
console.log(`left with ${code}`);
