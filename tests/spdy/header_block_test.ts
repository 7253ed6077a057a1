/** Header blocks: the dictionary, both directions of the recorded ones, other compressors, and what is refused. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { DICTIONARY } from "../../lib/spdy/dictionary.ts";
import { SpdyProtocolError } from "../../lib/spdy/mod.ts";
import {
  HeaderCompressor,
  HeaderDecompressor,
  MAX_HEADER_SIZE,
  MAX_HEADERS,
  type SpdyHeaders,
} from "../../lib/spdy/header_block.ts";
import { CLIENT, SERVER } from "./golden.ts";
import { BlockReader, concat, type Field, hex, latin1, plain, StoredBlocks, toHex, u32 } from "./harness.ts";

const ERROR = { streamtype: "error" };
const STDIN = { streamtype: "stdin" };

/** Without the missing prototype, which assertEquals would see. */
function same(actual: SpdyHeaders, expected: SpdyHeaders): void {
  assertEquals({ ...actual }, expected);
}

function refuses(fields: readonly Field[] | Uint8Array, message: string): void {
  const bytes = fields instanceof Uint8Array ? fields : plain(fields as Field[]);
  assertThrows(() => new HeaderDecompressor().decompress(new StoredBlocks().raw(bytes)), SpdyProtocolError, message);
}

Deno.test("DICTIONARY is the one of SPDY/3", async () => {
  assertEquals(DICTIONARY.length, 1423);
  const digest = await crypto.subtle.digest("SHA-256", Uint8Array.from(DICTIONARY));
  assertEquals(
    toHex(new Uint8Array(digest)),
    "51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02",
  );
  let [a, b] = [1, 0];
  for (const byte of DICTIONARY) [a, b] = [(a + byte) % 65521, (a + byte + b) % 65521];
  assertEquals(toHex(concat(u32(b * 65536 + a))), "e3c6a7c2");
});

for (const [side, golden] of [["client", CLIENT], ["server", SERVER]] as const) {
  const blocks = golden.filter(({ frame }) => "headers" in frame).map(({ frame, bytes }) => ({
    headers: frame.headers as SpdyHeaders,
    block: bytes.subarray(frame.type === "syn_stream" ? 18 : 12),
  }));

  Deno.test(`HeaderDecompressor reads the recorded ${side}'s blocks`, () => {
    const decompressor = new HeaderDecompressor();
    for (const { block, headers } of blocks) same(decompressor.decompress(block), headers);
  });

  Deno.test(`HeaderCompressor says what the recorded ${side}'s blocks say`, () => {
    const compressor = new HeaderCompressor();
    const [ours, theirs] = [new BlockReader(), new BlockReader()];
    for (const [i, { block, headers }] of blocks.entries()) {
      const compressed = compressor.compress(headers);
      if (i === 0) assertEquals(toHex(compressed.slice(0, 6)), "78f9e3c6a7c2");
      // Go finds other matches than zlib, but for this one.
      if (i === 0 && side === "client") assertEquals(toHex(compressed), toHex(block));
      assertEquals(toHex(compressed.slice(-4)), "0000ffff");
      assertEquals(ours.fields(compressed), headers);
      assertEquals(theirs.fields(block), headers);
    }
  });
}

/** The blocks of {streamtype: error}, {streamtype: stdin}, {streamtype: error}, by zlib 1.3. */
const FOREIGN: Readonly<Record<string, readonly [string, string, string]>> = {
  "level 0 (stored)": [
    "783fe3c6a7c2001b00e4ff000000010000000a73747265616d74797065000000056572726f72000000ffff",
    "001b00e4ff000000010000000a73747265616d7479706500000005737464696e000000ffff",
    "001b00e4ff000000010000000a73747265616d74797065000000056572726f72000000ffff",
  ],
  "level 1": [
    "783fe3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff",
    "c22e555c02cc2e00000000ffff",
    "c22e05d605000000ffff",
  ],
  "level 6": [
    "78bbe3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff",
    "c22e555c02cc2e00000000ffff",
    "c2a30b000000ffff",
  ],
  "level 9": [
    "78f9e3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff",
    "c22e555c02cc2e00000000ffff",
    "c2a30b000000ffff",
  ],
  "a full flush": [
    "78f9e3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff",
    "62606060646060e02a2e294a4dcc2da92c4805f2588b4b5232f300000000ffff",
    "62606060646060e02a2e294a4dcc2da92c4805f258538b8af28b00000000ffff",
  ],
  // Which Go does not read from the second block on. It does no harm.
  "a partial flush": [
    "78f9e3c6a7c202a62346703a2b294a4dcc851625aca9a0800608",
    "20ec52c525c0ec0210",
    "4078740104",
  ],
  "two flushes": [
    "78f9e3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff000000ffff",
    "c22e555c02cc2e00000000ffff000000ffff",
    "c2a30b000000ffff",
  ],
};

for (const [form, blocks] of Object.entries(FOREIGN)) {
  Deno.test(`HeaderDecompressor reads blocks compressed with ${form}`, () => {
    const decompressor = new HeaderDecompressor();
    for (const [i, headers] of [ERROR, STDIN, ERROR].entries()) {
      same(decompressor.decompress(hex(blocks[i]!)), headers);
    }
  });
}

Deno.test("HeaderDecompressor reads a block with a flush in its middle", () => {
  const blocks = new StoredBlocks();
  const bytes = plain([["a", "b"]]);
  const block = concat(blocks.raw(bytes.slice(0, 7)), blocks.raw(bytes.slice(7)));
  same(new HeaderDecompressor().decompress(block), { a: "b" });
});

/** What follows a first block of level 9, which is fine, and is refused at once or with the block after. */
const BROKEN: Readonly<Record<string, readonly string[]>> = {
  "a zlib stream of its own": [FOREIGN["level 9"]![0]],
  "bytes behind the flush": ["c22e555c02cc2e00000000ffff0102", "c2a30b000000ffff"],
  "a stream that ended": ["c32e555c02cc2e003c8f0d09", FOREIGN["level 9"]![0]],
  "an ended stream, and more behind it": ["c32e555c02cc2e003c8f0d09c22e555c02cc2e00000000ffff", "c2a30b000000ffff"],
  "no compression": ["000000010000000a73747265616d7479706500000005737464696e"],
  "a cut block": ["c22e555c02cc"],
  "no bytes": [""],
  "a distance before the beginning": ["a2 ff ff ff ff 0000ffff"],
};

for (const [what, blocks] of Object.entries(BROKEN)) {
  Deno.test(`HeaderDecompressor refuses ${what} as a second block`, () => {
    const decompressor = new HeaderDecompressor();
    same(decompressor.decompress(hex(FOREIGN["level 9"]![0])), ERROR);
    assertThrows(() => blocks.forEach((block) => decompressor.decompress(hex(block))), SpdyProtocolError);
  });
}

/** J.4's TestReadMalformedZlibHeader: every beginning but the right one. */
const FIRST: Readonly<Record<string, string>> = {
  "no zlib head": "02a62346703a2b294a4dcc851625aca9a08006000000ffff",
  "a wrong checksum in the head": "78fae3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff",
  "another method": "77f9e3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff",
  "another dictionary": "78f9e3c6a7c302a62346703a2b294a4dcc851625aca9a08006000000ffff",
  "half a head": "78f9e3c6",
  "nothing": "",
};

for (const [what, block] of Object.entries(FIRST)) {
  Deno.test(`HeaderDecompressor refuses ${what} as the first block`, () => {
    assertThrows(() => new HeaderDecompressor().decompress(hex(block)), SpdyProtocolError);
  });
}

Deno.test("HeaderDecompressor gives the fields of each block in order, whatever their names", () => {
  const [decompressor, blocks] = [new HeaderDecompressor(), new StoredBlocks()];
  same(decompressor.decompress(blocks.of()), {});
  same(decompressor.decompress(blocks.of(["a", ""], ["b", "x\0y"])), { a: "", b: "x\0y" });
  const odd = decompressor.decompress(blocks.of(["__proto__", "1"], ["constructor", "2"]));
  assertEquals(Object.entries(odd), [["__proto__", "1"], ["constructor", "2"]]);
});

Deno.test("HeaderDecompressor joins the values of a name that comes twice", () => {
  const block = new StoredBlocks().of(["a", "x"], ["b", "z"], ["a", "y"]);
  same(new HeaderDecompressor().decompress(block), { a: "x\0y", b: "z" });
});

Deno.test("HeaderDecompressor reads values as UTF-8, byte order marks included, and replaces what is none", () => {
  const [decompressor, blocks] = [new HeaderDecompressor(), new StoredBlocks()];
  same(decompressor.decompress(blocks.of(["a", "gr\xc3\xb6\xc3\x9fer"])), { a: "größer" });
  same(decompressor.decompress(blocks.of(["a", "\xef\xbb\xbfx"])), { a: "\ufeffx" });
  same(decompressor.decompress(blocks.of(["a", "\xff"])), { a: "\ufffd" });
});

Deno.test("HeaderCompressor writes UTF-8, and several values with NUL between them", () => {
  const compressed = new HeaderCompressor().compress({ a: "größer", b: "x\0y" });
  assertEquals(
    toHex(new BlockReader().plain(compressed)),
    toHex(plain([["a", "gr\xc3\xb6\xc3\x9fer"], ["b", "x\0y"]])),
  );
});

Deno.test("HeaderDecompressor refuses names with upper-case letters", () => {
  refuses([["Streamtype", "x"]], "header was not lowercased");
  refuses([["streamtypE", "x"]], "header was not lowercased");
  refuses([["\xc3\x89", "x"]], "header was not lowercased"); // É
});

for (const name of ["host", "connection", "keep-alive", "proxy-connection", "transfer-encoding"]) {
  Deno.test(`HeaderDecompressor refuses the header ${name}`, () => {
    refuses([["a", "b"], [name, "x"]], "frame contained invalid header");
  });
}

Deno.test("HeaderDecompressor refuses blocks that are too short or too long for their fields", () => {
  const whole = plain([["streamtype", "error"]]);
  for (let end = 0; end < whole.length; end++) refuses(whole.slice(0, end), "");
  refuses(concat(whole, hex("00")), "too many");
  refuses(plain([["a", "b"], ["c", "d"]], 1), "too many");
  refuses(plain([["a", "b"]], 2), "too short");
});

Deno.test("HeaderDecompressor takes 1000 fields and refuses 1001", () => {
  assertEquals(MAX_HEADERS, 1000);
  const fields = Array.from({ length: 1000 }, (_, i): Field => [`n${i}`, "v"]);
  const headers = new HeaderDecompressor().decompress(new StoredBlocks().of(...fields));
  assertEquals(Object.keys(headers).length, 1000);
  refuses([...fields, ["one-more", "v"]], "");
  refuses(u32(0xffff_ffff), "");
  refuses(concat(u32(1001)), "");
});

Deno.test("HeaderDecompressor takes names and values of 1 MiB and refuses longer ones", () => {
  assertEquals(MAX_HEADER_SIZE, 1 << 20);
  const longest = "x".repeat(1 << 20);
  const headers = new HeaderDecompressor().decompress(new StoredBlocks().of([longest, "v"], ["n", longest]));
  assertEquals(headers[longest], "v");
  assert(headers.n === longest);
  refuses([["n", `${longest}y`]], "");
  refuses([[`${longest}y`, "v"]], "");
  // A length that nothing stands behind.
  refuses(concat(u32(1), u32(0xffff_ffff)), "");
  refuses(concat(u32(1), u32(1), latin1("n"), u32(0x7fff_ffff)), "");
});

Deno.test("HeaderDecompressor stops in the middle of a block that grows beyond every limit", async () => {
  // 64 MiB of zeros, which zlib makes about 64 KiB of.
  const zeros = new ReadableStream({
    start(controller) {
      for (let i = 0; i < 64; i++) controller.enqueue(new Uint8Array(1 << 20));
      controller.close();
    },
  });
  const raw = await new Response(zeros.pipeThrough(new CompressionStream("deflate-raw"))).bytes();
  assert(raw.length < 128 * 1024);
  assertThrows(
    () => new HeaderDecompressor().decompress(concat(hex("78f9 e3c6a7c2"), raw)),
    SpdyProtocolError,
    "larger than",
  );
});
