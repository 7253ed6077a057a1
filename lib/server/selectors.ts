/**
 * Label and field selectors of list requests.
 *
 * @module
 */
import { badRequest } from "./status_error.ts";

type Labels = Readonly<Record<string, string>>;

/**
 * The test that a label selector stands for (apimachinery `labels.Parse`).
 *
 * @throws {StatusError} If it is malformed.
 */
export function parseLabelSelector(text: string): (labels: Labels) => boolean {
  const tests = splitTerms(text).map(parseLabelTerm);
  return (labels) => tests.every((test) => test(labels));
}

/**
 * The test that a field selector stands for.
 *
 * @throws {StatusError} If it is malformed or names a field that is not in `known`.
 */
export function parseFieldSelector(text: string, known: readonly string[]): (fields: Labels) => boolean {
  const tests = text.split(",").filter((term) => term !== "").map((term) => {
    const match = /^([^=!]+)(==|=|!=)(.*)$/.exec(term);
    if (!match) throw badRequest(`invalid selector: '${text}'; can't understand '${term}'`);
    const [, field = "", operator, value] = match;
    if (!known.includes(field)) throw badRequest(`field label not supported: ${field}`);
    return (fields: Labels) => (fields[field] === value) === (operator !== "!=");
  });
  return (fields) => tests.every((test) => test(fields));
}

/** Splits at commas outside of parentheses. */
function splitTerms(text: string): string[] {
  return text.split(/,(?![^(]*\))/).map((term) => term.trim()).filter((term) => term !== "");
}

function parseLabelTerm(term: string): (labels: Labels) => boolean {
  const key = "([A-Za-z0-9][A-Za-z0-9._/-]*)";
  let match = new RegExp(`^${key}\\s*(==|=|!=)\\s*([A-Za-z0-9._-]*)$`).exec(term);
  if (match) {
    const [, name = "", operator, value] = match;
    return (labels) => (labels[name] === value) === (operator !== "!=");
  }
  match = new RegExp(`^${key}\\s+(in|notin)\\s*\\(([^()]*)\\)$`).exec(term);
  if (match) {
    const [, name = "", operator, list = ""] = match;
    const values = list.split(",").map((value) => value.trim());
    return (labels) => values.includes(labels[name] ?? NOTHING) === (operator === "in");
  }
  match = new RegExp(`^(!?)\\s*${key}$`).exec(term);
  if (match) {
    const [, not, name = ""] = match;
    return (labels) => (name in labels) === (not === "");
  }
  throw badRequest(`unable to parse requirement: ${JSON.stringify(term)}`);
}

/** No value of a label, so that a missing one is in no set. */
const NOTHING = "\0";
