// Expected texts are kubectl's own, printed for `--stdin=…`, `-v=…`, `--pod-running-timeout=…`, `--request-timeout=…`.
import { assertEquals, assertThrows } from "@std/assert";
import { parseBoolean, parseDuration, parseInteger, parseRequestTimeout, ValueError } from "../../lib/cli/go_values.ts";

Deno.test("parseBoolean() reads what strconv.ParseBool reads, and nothing else", () => {
  for (const text of ["1", "t", "T", "true", "TRUE", "True"]) assertEquals(parseBoolean(text), true);
  for (const text of ["0", "f", "F", "false", "FALSE", "False"]) assertEquals(parseBoolean(text), false);
  for (const text of ["yes", "tRUE", "", "2"]) assertThrows(() => parseBoolean(text), ValueError, "invalid syntax");
});

Deno.test("parseInteger() says what is wrong with a number as strconv.ParseInt does", () => {
  assertEquals([parseInteger("7"), parseInteger("-7"), parseInteger("+7")], [7, -7, 7]);
  assertThrows(() => parseInteger("a"), ValueError, 'strconv.ParseInt: parsing "a": invalid syntax');
  assertThrows(() => parseInteger("1.5"), ValueError, "invalid syntax");
  assertThrows(
    () => parseInteger("99999999999"),
    ValueError,
    'strconv.ParseInt: parsing "99999999999": value out of range',
  );
});

Deno.test("parseDuration() reads Go durations in milliseconds", () => {
  for (
    const [text, expected] of [
      ["0", 0],
      ["1m0s", 60_000],
      ["1h2m3.5s", 3_723_500],
      ["500ms", 500],
      ["1.5h", 5_400_000],
      [".5s", 500],
      ["1.s", 1000],
      ["-2s", -2000],
      ["+2s", 2000],
      ["1000us", 1],
      ["1000µs", 1],
    ] as const
  ) assertEquals(parseDuration(text), expected, text);
});

Deno.test("parseDuration() says what is wrong as time.ParseDuration does", () => {
  for (
    const [text, message] of [
      ["", 'time: invalid duration ""'],
      ["-", 'time: invalid duration "-"'],
      ["soon", 'time: invalid duration "soon"'],
      ["5", 'time: missing unit in duration "5"'],
      ["5x", 'time: unknown unit "x" in duration "5x"'],
      ["1m5", 'time: missing unit in duration "1m5"'],
      ["1d2h", 'time: unknown unit "d" in duration "1d2h"'],
    ] as const
  ) assertEquals(assertThrows(() => parseDuration(text), ValueError).message, message);
});

Deno.test("parseRequestTimeout() also reads bare seconds", () => {
  assertEquals(["", "0", "30", "2m", "1.5s"].map(parseRequestTimeout), [0, 0, 30_000, 120_000, 1500]);
  for (const text of ["soon", "-5"]) {
    assertThrows(
      () => parseRequestTimeout(text),
      ValueError,
      "Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a corresponding " +
        `time unit (e.g. 1s | 2m | 3h): --request-timeout=${text}`,
    );
  }
});

Deno.test("a time longer than a timer can wait is the longest that it can", () => {
  assertEquals([parseDuration("600h"), parseRequestTimeout("600h"), parseRequestTimeout("9999999")], [
    0x7fffffff,
    0x7fffffff,
    0x7fffffff,
  ]);
});
