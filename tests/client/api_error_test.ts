/** What is made of an API server's refusals. */
import { assertEquals, assertRejects } from "@std/assert";
import { ApiError } from "../../lib/client/mod.ts";

/** A body that breaks off after `text`. */
function broken(text: string, reason: unknown): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    pull(controller) {
      if (text === "") return controller.error(reason);
      controller.enqueue(new TextEncoder().encode(text));
      text = "";
    },
  }, { highWaterMark: 0 });
}

Deno.test("ApiError.from() keeps a refusal whose body breaks off", async () => {
  const response = new Response(broken("not for y", new Error("reset")), { status: 403, statusText: "Forbidden" });
  const error = await ApiError.from(response);
  assertEquals([error.code, error.message], [403, "not for y"]);
  const empty = await ApiError.from(new Response(broken("", new Error("reset")), { status: 502, statusText: "Bad" }));
  assertEquals([empty.code, empty.message], [502, "502 Bad"]);
});

Deno.test("ApiError.from() gives up with the signal's reason", async () => {
  const reason = new Error("enough");
  const response = new Response(broken("half", reason), { status: 403 });
  const rejected = await assertRejects(() => ApiError.from(response, { signal: AbortSignal.abort(reason) }));
  assertEquals(rejected, reason);
});
