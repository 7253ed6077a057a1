/** Heads of HTTP messages as they go out, and the fields in them. */
import { assertEquals, assertThrows } from "@std/assert";
import { encodeResponseHead } from "../../lib/dial/http_head.ts";
import { endToEnd, isToken } from "../../lib/dial/mod.ts";

Deno.test("encodeResponseHead() writes each character as a byte", () => {
  const head = encodeResponseHead(200, "Gr\xfc\xdfe", [["X-Text", "a\t\xe9"], ["x-text", ""]]);
  const expected = "HTTP/1.1 200 Gr\xfc\xdfe\r\nX-Text: a\t\xe9\r\nx-text: \r\n\r\n";
  assertEquals(String.fromCharCode(...head), expected);
});

Deno.test("encodeResponseHead() refuses what would end a line, or has no place in one", () => {
  for (const text of ["a\r\nX: 1", "a\n", "a\r", "\0", "\x01", "\x7f", "€"]) {
    assertThrows(() => encodeResponseHead(200, text, []), TypeError, "cannot send");
    assertThrows(() => encodeResponseHead(200, "OK", [["X", text]]), TypeError, "cannot send");
    assertThrows(() => encodeResponseHead(200, "OK", [[text, ""]]), TypeError, "cannot send");
  }
});

Deno.test("endToEnd() leaves out what is for one connection, by its name or by what any Connection names", () => {
  const one = [
    "Connection",
    "HTTP2-Settings",
    "Keep-Alive",
    "Proxy-Authenticate",
    "proxy-authorization",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
  ].map((name): [string, string] => [name, "x"]);
  const named: Array<[string, string]> = [["connection", "close , X-One,,"], ["CONNECTION", "x-two"], ["x-one", "1"]];
  const kept: Array<[string, string]> = [["Accept", "a"], ["accept", "b"], ["X-Three", "3"], ["Content-Length", "0"]];
  assertEquals(endToEnd([...one, ...named, ...kept, ["X-Two", "2"]]), kept);
});

Deno.test("isToken() takes what RFC 9110 calls a token", () => {
  for (const text of ["GET", "X-Request-Id", "!#$%&'*+-.^_`|~09azAZ"]) assertEquals(isToken(text), true, text);
  for (const text of ["", " ", "a b", "a:", "a\n", "\n", "é", "(", '"', "/", "@", "[", "{"]) {
    assertEquals(isToken(text), false, text);
  }
});
