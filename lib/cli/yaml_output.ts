/**
 * JSON values as YAML, byte for byte as kubectl writes them (goyaml v2): sorted keys, lists that are not
 * indented, quotes only where the plain text would read as something else, lines folded after 80 columns.
 *
 * @module
 */

/** `value`, which is what JSON can hold, as a YAML document. */
export function toYaml(value: unknown): string {
  const writer = new YamlWriter();
  writer.node(value, 0, "top");
  return writer.text;
}

/** After this column a line is folded at its next space. */
const FOLD_AFTER = 80;

class YamlWriter {
  text = "";
  #column = 0;

  /** Writes `value` whose lines, if it takes several, start at `indent`. */
  node(value: unknown, indent: number, place: "top" | "value" | "item"): void {
    if (Array.isArray(value) && value.length > 0) return this.#list(value, indent, place);
    if (isObject(value) && Object.keys(value).length > 0) return this.#mapping(value, indent, place);
    if (place === "value") this.#put(" ");
    if (typeof value === "string") this.#string(value, indent, true);
    else this.#put(Array.isArray(value) ? "[]" : isObject(value) ? "{}" : String(value));
    if (this.#column > 0) this.#newLine();
  }

  #mapping(object: Readonly<Record<string, unknown>>, indent: number, place: "top" | "value" | "item"): void {
    if (place === "value") this.#newLine();
    Object.keys(object).sort(compareKeys).forEach((key, i) => {
      if (i > 0 || place !== "item") this.#put(" ".repeat(indent));
      this.#string(key, indent, false);
      this.#put(":");
      const value = object[key];
      // A list stands as far left as its key.
      this.node(value, Array.isArray(value) ? indent : indent + 2, "value");
    });
  }

  #list(items: readonly unknown[], indent: number, place: "top" | "value" | "item"): void {
    if (place === "value") this.#newLine();
    items.forEach((item, i) => {
      if (i > 0 || place !== "item") this.#put(" ".repeat(indent));
      this.#put("- ");
      this.node(item, indent + 2, "item");
    });
  }

  #string(text: string, indent: number, mayFold: boolean): void {
    const style = chooseStyle(text);
    if (style === "literal" && mayFold) return this.#literal(text, indent);
    if (style === "plain") return this.#folded(text, indent, mayFold, "");
    if (style === "single") {
      this.#put("'");
      this.#folded(text.replaceAll("'", "''"), indent, mayFold, "'");
      return this.#put("'");
    }
    this.#put('"');
    this.#folded([...text].map(escapeCharacter).join(""), indent, mayFold, '"');
    this.#put('"');
  }

  /** Writes one line of text, or several with the spaces between them turned into line ends. */
  #folded(text: string, indent: number, mayFold: boolean, quote: string): void {
    for (let i = 0; i < text.length; i++) {
      const character = text.charAt(i);
      const foldable = character === " " && text.charAt(i - 1) !== " " && this.#column > FOLD_AFTER && mayFold &&
        (quote === "" || (i > 0 && i < text.length - 1)) && (quote === '"' || text.charAt(i + 1) !== " ");
      if (!foldable) {
        this.#put(character);
        continue;
      }
      this.#newLine();
      this.#put(" ".repeat(indent));
      if (quote === '"' && text.charAt(i + 1) === " ") this.#put("\\");
    }
  }

  #literal(text: string, indent: number): void {
    const hint = /^[ \n]/.test(text) ? "2" : "";
    const chomp = text.endsWith("\n\n") || text === "\n" ? "+" : text.endsWith("\n") ? "" : "-";
    this.#put(`|${hint}${chomp}`);
    const lines = text.endsWith("\n") ? text.slice(0, -1).split("\n") : text.split("\n");
    for (const line of lines) {
      this.#newLine();
      if (line !== "") this.#put(" ".repeat(indent) + line);
    }
    this.#newLine();
  }

  #put(text: string): void {
    this.text += text;
    this.#column += text.length;
  }

  #newLine(): void {
    this.text += "\n";
    this.#column = 0;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

type Style = "plain" | "single" | "double" | "literal";

/** goyaml's `stringv` and libyaml's `yaml_emitter_select_scalar_style`. */
function chooseStyle(text: string): Style {
  if (UNPRINTABLE.test(text) || / \n/.test(text)) return "double";
  if (text.includes("\n")) return text.endsWith(" ") ? "double" : "literal";
  if (readsAsOther(text)) return "double";
  return canBePlain(text) ? "plain" : "single";
}

/** What goyaml does not write as it is: control characters (a tab too), the byte order mark, anything beyond U+FFFF. */
// deno-lint-ignore no-control-regex -- control characters are what it looks for
const UNPRINTABLE = /[\x00-\x09\x0b-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]/;

function canBePlain(text: string): boolean {
  if (/^ | $/.test(text)) return false;
  if (/^(---|\.\.\.)/.test(text)) return false;
  if (/^[#,[\]{}&*!|>'"%@`]/.test(text) || /^[?:-]( |$)/.test(text)) return false;
  return !/:( |$)/.test(text) && !text.includes(" #");
}

const WORDS = new Set(
  ("y Y yes Yes YES true True TRUE on On ON n N no No NO false False FALSE off Off OFF ~ null Null NULL " +
    ".nan .NaN .NAN .inf .Inf .INF +.inf +.Inf +.INF -.inf -.Inf -.INF").split(" "),
);

/** Whether a plain `text` would read as null, a boolean, a number or a time (goyaml `resolve`). */
function readsAsOther(text: string): boolean {
  if (text === "" || WORDS.has(text)) return true;
  if (/^[-+]?\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?$/.test(text)) return true; // base 60
  if (/^\d{4}-\d{1,2}-\d{1,2}([Tt ]\d{1,2}:\d{1,2}:\d{1,2}(\.\d+)?(Z|[-+]\d\d:\d\d)?)?$/.test(text)) return true;
  if (text.startsWith(".")) return /^\.\d[\d_]*([eE][-+]?\d+)?$/.test(text);
  if (!/^[-+\d]/.test(text)) return false;
  const plain = text.replaceAll("_", "");
  return /^[-+]?(\d+|0[xX][\da-fA-F]+|0[oO][0-7]+|0[bB][01]+)$/.test(plain) ||
    /^[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$/.test(plain);
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\0": "\\0",
  "\x07": "\\a",
  "\b": "\\b",
  "\t": "\\t",
  "\n": "\\n",
  "\v": "\\v",
  "\f": "\\f",
  "\r": "\\r",
  "\x1b": "\\e",
  '"': '\\"',
  "\\": "\\\\",
  "\x85": "\\N",
  "\u2028": "\\L",
  "\u2029": "\\P",
};

function escapeCharacter(character: string): string {
  const escape = ESCAPES[character];
  if (escape) return escape;
  if (!UNPRINTABLE.test(character)) return character;
  const code = character.codePointAt(0) ?? 0;
  const [letter, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
  return `\\${letter}${code.toString(16).toUpperCase().padStart(digits, "0")}`;
}

/** goyaml's order of keys: letters after everything else, numbers by their value. */
function compareKeys(a: string, b: string): number {
  const [x, y] = [[...a], [...b]];
  for (let i = 0; i < Math.min(x.length, y.length); i++) {
    const [p = "", q = ""] = [x[i], y[i]];
    if (p === q) continue;
    const [pLetter, qLetter] = [/\p{L}/u.test(p), /\p{L}/u.test(q)];
    if (pLetter !== qLetter) return pLetter ? 1 : -1;
    if (pLetter) return compareCharacters(p, q);
    // Behind a number's first digit that is not 0, a 0 counts as any other digit.
    const inNumber = (p === "0" || q === "0") && /[1-9]\d*$/.test(x.slice(0, i).join(""));
    const [pDigits = "", qDigits = ""] = [x, y].map((key) => /^\d*/.exec(key.slice(i).join(""))?.[0]);
    const lead = inNumber ? "1" : "0";
    const difference = Number(lead + pDigits) - Number(lead + qDigits) || pDigits.length - qDigits.length;
    return difference || compareCharacters(p, q);
  }
  return x.length - y.length;
}

function compareCharacters(a: string, b: string): number {
  return (a.codePointAt(0) ?? 0) - (b.codePointAt(0) ?? 0);
}
