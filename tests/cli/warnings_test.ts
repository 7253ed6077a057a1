import { assertEquals } from "@std/assert";
import { readWarnings } from "../../lib/cli/warnings.ts";

const read = (...fields: string[]) => readWarnings(new Headers(fields.map((field) => ["Warning", field])));

Deno.test("readWarnings() reads the texts, quotes and commas in them included", () => {
  assertEquals(read(), []);
  assertEquals(read('299 - "v1 Endpoints is deprecated"'), ["v1 Endpoints is deprecated"]);
  assertEquals(read('299 - "one, \\"two\\" \\\\ three"', '299 host "four" "Sat, 25 Aug 2012 23:34:45 GMT"'), [
    'one, "two" \\ three',
    "four",
  ]);
  assertEquals(read('199 - "miscellaneous"', "nonsense"), []);
});
