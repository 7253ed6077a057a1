/**
 * Holds one connection to an echo server: `HOST PORT`. Says "held" once it works, then sends a number every 20 ms and wants each
 * back. Ends when its input does, with the count; with an error as soon as one is missing.
 *
 * @module
 */
const [hostname = "", port = ""] = Deno.args;
const connection = await Deno.connect({ hostname, port: Number(port) });
const lines = connection.readable.pipeThrough(new TextDecoderStream()).pipeThrough(
  new TransformStream<string, string>({
    transform: (text, controller) => text.split(/(?<=\n)/).forEach((line) => controller.enqueue(line)),
  }),
).getReader();
const writer = connection.writable.getWriter();
let ended = false;
new Response(Deno.stdin.readable).bytes().then(() => ended = true);
let count = 0;
let rest = "";
while (!ended) {
  await writer.write(new TextEncoder().encode(`${count}\n`));
  while (!rest.endsWith("\n")) {
    const { done, value } = await lines.read();
    if (done) throw new Error(`the connection ended after ${count} answers`);
    rest += value;
  }
  if (rest !== `${count}\n`) throw new Error(`${JSON.stringify(rest)} came back in place of ${count}`);
  rest = "";
  if (count++ === 0) console.log("held");
  await new Promise((resolve) => setTimeout(resolve, 20));
}
console.log(count);
Deno.exit();
