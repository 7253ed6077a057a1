// Expected texts were written by Go's sigs.k8s.io/yaml 1.6.0, kubectl's own YAML.
import { assertEquals } from "@std/assert";
import { toYaml } from "../../lib/cli/yaml_output.ts";

Deno.test("toYaml() sorts keys as goyaml does: letters after everything else, numbers by value", () => {
  assertEquals(
    toYaml({ "1": 1, "b": 1, "a10": 1, "a9": 1, "A": 1, "a/b": 1, "a.b": 1, "app.kubernetes.io/name": "x" }).split(
      "\n",
    ),
    [
      '"1": 1',
      "A: 1",
      "a.b: 1",
      "a/b: 1",
      "a9: 1",
      "a10: 1",
      "app.kubernetes.io/name: x",
      "b: 1",
      "",
    ],
  );
});

Deno.test("toYaml() leaves lists where their key stands", () => {
  assertEquals(
    toYaml({
      "spec": {
        "containers": [{ "name": "a", "args": ["x", "y"], "env": [] }, { "name": "b", "resources": {} }],
        "tolerations": [[1, [2]], []],
      },
    }).split("\n"),
    [
      "spec:",
      "  containers:",
      "  - args:",
      "    - x",
      '    - "y"',
      "    env: []",
      "    name: a",
      "  - name: b",
      "    resources: {}",
      "  tolerations:",
      "  - - 1",
      "    - - 2",
      "  - []",
      "",
    ],
  );
});

Deno.test("toYaml() quotes what would read as something else", () => {
  assertEquals(
    toYaml({
      "l": [
        "",
        "true",
        "y",
        "on",
        "null",
        "~",
        "1",
        "1_000",
        "-1.5e3",
        ".5",
        "0x1f",
        "0b1",
        "1:30",
        "2024-01-02",
        "2024-01-02T03:04:05Z",
        ".inf",
        "1.2.3",
        "v1",
        "0o7",
        "1e",
        "08",
        "+",
        "-",
        "1-2",
      ],
    }).split("\n"),
    [
      "l:",
      '- ""',
      '- "true"',
      '- "y"',
      '- "on"',
      '- "null"',
      '- "~"',
      '- "1"',
      '- "1_000"',
      '- "-1.5e3"',
      '- ".5"',
      '- "0x1f"',
      '- "0b1"',
      '- "1:30"',
      '- "2024-01-02"',
      '- "2024-01-02T03:04:05Z"',
      '- ".inf"',
      "- 1.2.3",
      "- v1",
      '- "0o7"',
      "- 1e",
      '- "08"',
      "- +",
      "- '-'",
      "- 1-2",
      "",
    ],
  );
});

Deno.test("toYaml() keeps numbers, booleans and null plain", () => {
  assertEquals(toYaml({ "l": [1, -5, true, false, null, 1234567890] }).split("\n"), [
    "l:",
    "- 1",
    "- -5",
    "- true",
    "- false",
    "- null",
    "- 1234567890",
    "",
  ]);
});

Deno.test("toYaml() single-quotes what plain text cannot say", () => {
  assertEquals(
    toYaml({
      "l": [
        "a: b",
        "a #b",
        "#a",
        "- a",
        "-a",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "{a",
        "[a",
        "'a",
        '"a',
        "|a",
        ">a",
        "? a",
        "?a",
        ": a",
        ":a",
        "a:",
        "a:b",
        " a",
        "a ",
        "---",
        "...x",
        "it's",
        "a,b",
        "=",
        "<<",
      ],
    }).split("\n"),
    [
      "l:",
      "- 'a: b'",
      "- 'a #b'",
      "- '#a'",
      "- '- a'",
      "- -a",
      "- '*a'",
      "- '&a'",
      "- '!a'",
      "- '%a'",
      "- '@a'",
      "- '`a'",
      "- '{a'",
      "- '[a'",
      "- '''a'",
      "- '\"a'",
      "- '|a'",
      "- '>a'",
      "- '? a'",
      "- ?a",
      "- ': a'",
      "- :a",
      "- 'a:'",
      "- a:b",
      "- ' a'",
      "- 'a '",
      "- '---'",
      "- '...x'",
      "- it's",
      "- a,b",
      "- =",
      "- <<",
      "",
    ],
  );
});

Deno.test("toYaml() double-quotes what must be escaped", () => {
  assertEquals(
    toYaml({ "l": ["tab\there", "bell\u0007", "nul\u0000", "esc\u001b[0m", "emoji 😀", "line \nend", 'quote" \u0001'] })
      .split("\n"),
    [
      "l:",
      '- "tab\\there"',
      '- "bell\\a"',
      '- "nul\\0"',
      '- "esc\\e[0m"',
      '- "emoji \\U0001F600"',
      '- "line \\nend"',
      '- "quote\\" \\x01"',
      "",
    ],
  );
});

Deno.test("toYaml() writes lines as a literal block", () => {
  assertEquals(
    toYaml({
      "a": "one\ntwo\n",
      "b": "one\ntwo",
      "c": "one\n\ntwo\n\n",
      "d": " indented\n",
      "e": ["x\ny", "\n"],
      "f": "last space \nx",
      "g": "end ",
    }).split("\n"),
    [
      "a: |",
      "  one",
      "  two",
      "b: |-",
      "  one",
      "  two",
      "c: |+",
      "  one",
      "",
      "  two",
      "",
      "d: |2",
      "   indented",
      "e:",
      "- |-",
      "  x",
      "  y",
      "- |2+",
      "",
      'f: "last space \\nx"',
      "g: 'end '",
      "",
    ],
  );
});

Deno.test("toYaml() folds long lines at their spaces", () => {
  assertEquals(
    toYaml({
      "message":
        "containers with unready status: [main] and so on and so forth until the line is longer than eighty columns, then it goes on",
      "quoted": "this one: has a colon and is also long enough to be folded somewhere near the eightieth column of it",
      "list": [
        "word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word",
      ],
      "doubled":
        "x\ty and a lot of words that follow so that the line gets longer than eighty columns  with two spaces",
    }).split("\n"),
    [
      'doubled: "x\\ty and a lot of words that follow so that the line gets longer than eighty',
      '  columns  with two spaces"',
      "list:",
      "- word word word word word word word word word word word word word word word word",
      "  word word word word word word word word word word word word word word",
      "message: 'containers with unready status: [main] and so on and so forth until the",
      "  line is longer than eighty columns, then it goes on'",
      "quoted: 'this one: has a colon and is also long enough to be folded somewhere near",
      "  the eightieth column of it'",
      "",
    ],
  );
});

Deno.test("toYaml() puts a key in quotes where it needs them", () => {
  assertEquals(toYaml({ "1": 1, "true": 1, "a b": 1, "": 1, "x: y": 1, "*": 1 }).split("\n"), [
    '"": 1',
    "'*': 1",
    '"1": 1',
    "a b: 1",
    '"true": 1',
    "'x: y': 1",
    "",
  ]);
});
