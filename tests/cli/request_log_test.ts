import { assertEquals } from "@std/assert";
import { formatRequest } from "../../lib/cli/request_log.ts";

const EVENT = {
  method: "GET",
  url: "https://cluster.example/api",
  requestHeaders: [["Accept", "application/json"]],
  status: 200,
  responseHeaders: new Headers({ "content-type": "application/json" }),
  milliseconds: 5,
} as const;

Deno.test("formatRequest() shows more the more is asked for", () => {
  const line = "GET https://cluster.example/api 200 in 5 ms\n";
  assertEquals(formatRequest(EVENT, 6), line);
  assertEquals(formatRequest(EVENT, 7), line);
  assertEquals(formatRequest(EVENT, 8), `${line}> Accept: application/json\n< content-type: application/json\n`);
  assertEquals(formatRequest({ ...EVENT, status: 0 }, 6), "GET https://cluster.example/api no answer in 5 ms\n");
});
