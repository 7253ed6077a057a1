/**
 * Goes the ways that it is told, in a process of its own: of Node, or where names mean something else.
 *
 * Standard input is a JSON array of rows; standard output becomes one of `[name, "ok" or an error's text]`.
 *
 * @module
 */
import process from "node:process";
import { exchange, type Row } from "./rows.ts";

let input = "";
for await (const text of process.stdin.setEncoding("utf8")) input += text;
const results: Array<[string, string]> = [];
for (const row of JSON.parse(input) as Row[]) {
  results.push([row.name, await exchange(row).then(() => "ok", String)]);
}
// The program ends by itself now, unless the dialer has left something behind.
process.stdout.write(JSON.stringify(results));
