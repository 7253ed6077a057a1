/**
 * Tables as the API server sends them (meta/v1 `Table`), laid out as kubectl does
 * (cli-runtime `printers/tableprinter.go`).
 *
 * @module
 */

/** A table, as far as it is printed. */
export interface Table {
  /** `Table`, if the server made one. */
  readonly kind: string;
  /** The columns. */
  readonly columnDefinitions: readonly TableColumn[];
  /** The rows. */
  readonly rows: readonly TableRow[];
}

/** A column of a {@linkcode Table}. */
export interface TableColumn {
  /** Its heading. */
  readonly name: string;
  /** `string`, `integer` … */
  readonly type?: string;
  /** `name` marks the column that names the object. */
  readonly format?: string;
  /** 0 is always shown, everything else only with `-o wide`. */
  readonly priority?: number;
}

/** A row of a {@linkcode Table}. */
export interface TableRow {
  /** A cell a column. */
  readonly cells: readonly unknown[];
  /** The object's metadata. */
  readonly object?: {
    readonly metadata?: {
      readonly name?: string;
      readonly namespace?: string;
      readonly labels?: Readonly<Record<string, string>>;
    };
  };
}

/** How a table is printed. */
export interface TableOptions {
  /** Columns of every priority. */
  readonly wide?: boolean;
  /** Leave the headings out. */
  readonly noHeaders?: boolean;
  /** A column with the namespace in front. */
  readonly withNamespace?: boolean;
  /** A column with all labels at the end. */
  readonly showLabels?: boolean;
  /** Write names as `KIND/NAME`, with this kind. */
  readonly kind?: string;
}

/** `table` as lines of text; an empty string if it has no rows. */
export function formatTable(table: Table, options: TableOptions = {}): string {
  if (table.rows.length === 0) return "";
  const columns = table.columnDefinitions;
  const shown = columns.map((_, i) => i).filter((i) => options.wide || !columns[i]?.priority);
  const nameColumn = options.kind
    ? columns.findIndex(({ type, format }) => type === "string" && format === "name")
    : -1;
  const lines = table.rows.map(({ cells, object }) => [
    ...(options.withNamespace ? [object?.metadata?.namespace ?? ""] : []),
    ...shown.map((i) => i === nameColumn ? `${options.kind}/${formatCell(cells[i])}` : formatCell(cells[i])),
    ...(options.showLabels ? [formatLabels(object?.metadata?.labels)] : []),
  ]);
  if (!options.noHeaders) {
    lines.unshift([
      ...(options.withNamespace ? ["NAMESPACE"] : []),
      ...shown.map((i) => columns[i]?.name.toUpperCase() ?? ""),
      ...(options.showLabels ? ["LABELS"] : []),
    ]);
  }
  return layOut(lines);
}

/** The narrowest column and the space after a column's longest cell, as kubectl sets its tabwriter. */
const MIN_WIDTH = 6;
const PADDING = 3;

function layOut(lines: readonly (readonly string[])[]): string {
  const widths = lines[0]?.map(() => MIN_WIDTH) ?? [];
  for (const line of lines) {
    line.forEach((cell, i) => widths[i] = Math.max(widths[i] ?? 0, countCharacters(cell) + PADDING));
  }
  const text = lines.map((line) =>
    line.map((cell, i) => i === line.length - 1 ? cell : cell + " ".repeat((widths[i] ?? 0) - countCharacters(cell)))
      .join("")
  );
  return text.join("\n") + "\n";
}

function formatCell(cell: unknown): string {
  if (cell === null || cell === undefined) return "";
  if (typeof cell !== "string") return escapeText(String(cell));
  const end = cell.search(/[\f\n\r]/);
  return end < 0 ? escapeText(cell) : `${escapeText(cell.slice(0, end))}...`;
}

/** Keeps what a server sends from driving the terminal, as kubectl does. */
function escapeText(text: string): string {
  return text.replaceAll("\x1b", "^[");
}

function formatLabels(labels: Readonly<Record<string, string>> | undefined): string {
  const pairs = Object.entries(labels ?? {}).map(([key, value]) => `${key}=${value}`);
  return pairs.length === 0 ? "<none>" : pairs.sort().join(",");
}

function countCharacters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
