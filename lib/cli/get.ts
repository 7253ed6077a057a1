/**
 * `podwire get`: objects as a table, as names, as JSON or YAML.
 *
 * @module
 */
import { ApiError, type Cluster, namespacePath, pathSegment, TargetError } from "../client/mod.ts";
import { defineCommand, type Invocation } from "./command.ts";
import { type FlagDefinitions, UsageError } from "./flags.ts";
import { type ApiObject, kindName, listOf, toJson, toName, withoutManagedFields } from "./object_output.ts";
import { collectionPath, Resources, type ResourceType } from "./resources.ts";
import { copyAll, writeText } from "./standard_streams.ts";
import { formatTable, type Table } from "./table.ts";

const FORMATS = ["json", "name", "wide", "yaml"] as const;

const FLAGS = {
  "all-namespaces": { kind: "boolean", short: "A", help: "Objects of all namespaces, whatever --namespace says" },
  "chunk-size": {
    kind: "integer",
    default: "500",
    help: "Ask for long lists in parts of this many objects; 0 asks for all at once",
  },
  "field-selector": {
    kind: "string",
    help: "Only objects with these fields: '=', '==' and '!=' (status.phase=Running)",
  },
  "ignore-not-found": { kind: "boolean", help: "It is no error if an object does not exist" },
  "no-headers": { kind: "boolean", help: "Leave a table's headings out" },
  "output": { kind: "string", short: "o", help: `Output format, one of: ${FORMATS.join(", ")}`, reported: FORMATS },
  "raw": { kind: "string", help: "Request this path from the server and print the answer as it is" },
  "selector": {
    kind: "string",
    short: "l",
    help: "Only objects with these labels: '=', '==', '!=', 'in', 'notin' (app=web,tier in (a,b))",
  },
  "show-labels": { kind: "boolean", help: "All labels as a table's last column" },
  "show-managed-fields": { kind: "boolean", help: "Keep metadata.managedFields in JSON and YAML" },
} as const satisfies FlagDefinitions;

type GetInvocation = Invocation<typeof FLAGS>;

/** The command (kubectl `pkg/cmd/get`, cli-runtime `resource/builder.go`). */
export const command = defineCommand({
  name: "get",
  description: "Display one or many resources.\n\n" +
    "Prints a table of the most important information about them, as the server makes it. Of a type that lives in namespaces " +
    "it shows the current one's objects unless told otherwise.",
  usage:
    "get [(-o|--output=)json|name|wide|yaml] (TYPE[.VERSION][.GROUP] [NAME | -l label] | TYPE[.VERSION][.GROUP]/NAME ...) [flags]",
  examples: [
    ["All pods of the namespace", "podwire get pods"],
    ["The same with more columns, such as the node", "podwire get pods -o wide"],
    ["One deployment as YAML", "podwire get deployment web -o yaml"],
    ["Several types, or objects of several types", "podwire get rc,services\n  podwire get svc/web pod/web-0"],
    [
      "The running pods of an app, in all namespaces",
      "podwire get pods -A -l app=web --field-selector status.phase=Running",
    ],
    ["Any path of the API, as the server answers it", "podwire get --raw /version"],
    [
      "Over a unix socket that stands for the API server",
      "podwire --via-unix-socket ~/.myunixsocket --server mykubecluster.com get pods",
    ],
  ],
  flags: FLAGS,
  needsCluster: true,
  permissions: [],

  async run(invocation) {
    const { flags, words, connect } = invocation;
    if (flags.raw && words.length > 0) throw new UsageError("arguments may not be passed when --raw is specified");
    if (!flags.raw && words.length === 0) await failWithoutType(invocation);
    validate(invocation);
    await using cluster = await connect();
    if (flags.raw) return await printRaw(cluster, invocation);

    const resources = new Resources(cluster, invocation.requestOptions);
    const queries = await plan(words, resources, cluster.namespace, invocation);
    if (flags.output === "" || flags.output === "wide") return await printTables(cluster, queries, invocation);
    return await printObjects(cluster, queries, invocation);
  },
});

async function failWithoutType({ commandPath }: GetInvocation): Promise<never> {
  await writeText(Deno.stderr, "You must specify the type of resource to get.\n\n");
  throw new UsageError(`Required resource not specified.\nSee '${commandPath} -h' for help and examples`);
}

function validate({ flags }: GetInvocation): void {
  const { raw, output } = flags;
  if (raw && flags.selector) {
    throw new UsageError(
      "--raw may not be specified with other flags that filter the server request or alter the output",
    );
  }
  if (raw && output) throw new UsageError("--raw and --output are mutually exclusive");
  if (raw && !raw.startsWith("/")) {
    throw new UsageError(`--raw must be a valid URL path: parse ${JSON.stringify(raw)}: invalid URI for request`);
  }
  if (flags["show-labels"] && output && output !== "wide") {
    throw new UsageError(`--show-labels option cannot be used with ${output} printer`);
  }
  if (output && !FORMATS.some((format) => format === output)) {
    throw new UsageError(
      `unable to match a printer suitable for the output format ${JSON.stringify(output)}, ` +
        `allowed formats are: ${FORMATS.join(",")}`,
    );
  }
}

async function printRaw(cluster: Cluster, { flags, requestOptions }: GetInvocation): Promise<number> {
  const response = await cluster.request(flags.raw, requestOptions());
  if (!response.ok) throw await ApiError.from(response);
  if (response.body) await copyAll(response.body, Deno.stdout);
  return 0;
}

/** What to ask for: one object by its name, or a list. */
interface Query {
  readonly type: ResourceType;
  /** Empty for all namespaces, and for a type that has none. */
  readonly namespace: string;
  /** Of one object. */
  readonly name?: string;
}

/** Reads the words `TYPE[,TYPE…] [NAME…]` or `TYPE/NAME…`. */
async function plan(
  words: readonly string[],
  resources: Resources,
  namespace: string,
  { flags }: GetInvocation,
): Promise<Query[]> {
  const pairs = pairUp(words);
  const place = flags["all-namespaces"] ? "" : namespace;
  const filtered = flags.selector !== "" || flags["field-selector"] !== "";
  if (filtered && pairs.some(([, name]) => name !== undefined)) {
    throw new UsageError(
      words.some((word) => word.includes("/"))
        ? "selectors and the all flag cannot be used when passing resource/name arguments"
        : "name cannot be provided when a selector is specified",
    );
  }
  if (pairs.some(([, name]) => name === "")) throw new UsageError("resource name may not be empty");
  const queries: Query[] = [];
  for (const [word, name] of pairs) {
    const types = await resources.find(word);
    if (types.length === 0) {
      throw new UsageError(`the server doesn't have a resource type ${JSON.stringify(word.split(".", 1)[0])}`);
    }
    for (const type of types) {
      if (name !== undefined && type.namespaced && place === "") {
        throw new UsageError("a resource cannot be retrieved by name across all namespaces");
      }
      queries.push({ type, namespace: type.namespaced ? place : "", ...(name !== undefined && { name }) });
    }
  }
  const isList = ({ name }: Query) => name === undefined;
  return queries.filter((query, i) =>
    !isList(query) || queries.findIndex((other) => isList(other) && other.type === query.type) === i
  );
}

/**
 * Where it is.
 *
 * @throws {TargetError} If nothing can have such a name.
 */
function pathOf({ type, namespace, name }: Query): string {
  const collection = collectionPath(type, namespace);
  return name === undefined ? collection : `${collection}/${pathSegment(name)}`;
}

function pairUp(words: readonly string[]): Array<[type: string, name?: string]> {
  const withSlash = words.filter((word) => word.includes("/"));
  if (withSlash.length === 0) {
    const [types = "", ...names] = words;
    const each = types.split(",");
    return names.length === 0
      ? each.map((type) => [type])
      : each.flatMap((type) => names.map((name): [string, string] => [type, name]));
  }
  if (withSlash.length < words.length) {
    throw new UsageError(
      "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form " +
        "(e.g. 'podwire get resource/<resource_name>' instead of 'podwire get resource resource/<resource_name>'",
    );
  }
  return words.map((word) => {
    const [type = "", name = "", ...more] = word.split("/");
    if (more.length > 0) {
      throw new UsageError("arguments in resource/name form may not have more than one slash");
    }
    if (type === "" || name === "" || type.includes(",")) {
      throw new UsageError("arguments in resource/name form must have a single resource and name");
    }
    return [type, name];
  });
}

/** Answers in the order of the queries; a query that fails does not stop the others. */
async function ask<T>(queries: readonly Query[], fetch: (query: Query) => Promise<T>, ignoreNotFound: boolean) {
  const answers: Array<{ query: Query; answer: T }> = [];
  const errors: unknown[] = [];
  for (const query of queries) {
    try {
      answers.push({ query, answer: await fetch(query) });
    } catch (error) {
      if (!(error instanceof ApiError || error instanceof TargetError)) throw error;
      if (!(ignoreNotFound && error instanceof ApiError && error.code === 404)) errors.push(error);
    }
  }
  return { answers, errors };
}

/** The parts of a list, or the one object. */
async function* fetchParts<T extends { readonly metadata?: Readonly<Record<string, unknown>> }>(
  cluster: Cluster,
  query: Query,
  accept: string,
  { flags, requestOptions }: GetInvocation,
): AsyncGenerator<T> {
  const path = pathOf(query);
  const isList = query.name === undefined;
  let next: unknown;
  do {
    const parameters = new URLSearchParams();
    if (isList) {
      if (flags.selector) parameters.set("labelSelector", flags.selector);
      if (flags["field-selector"]) parameters.set("fieldSelector", flags["field-selector"]);
      if (flags["chunk-size"] > 0) parameters.set("limit", String(flags["chunk-size"]));
      if (typeof next === "string") parameters.set("continue", next);
    }
    const part = await cluster.get<T>(path, { ...requestOptions(), accept, query: parameters })
      .catch((error) => explain(error, cluster, query, { flags, requestOptions }));
    yield part;
    next = isList ? part.metadata?.continue : undefined;
  } while (next);
}

/** Says of a refused request what kubectl says of it: which namespace is missing, which selector is wrong. */
async function explain(
  error: unknown,
  cluster: Cluster,
  { type, namespace, name }: Query,
  { flags, requestOptions }: Pick<GetInvocation, "flags" | "requestOptions">,
): Promise<never> {
  if (!(error instanceof ApiError)) throw error;
  if (name !== undefined && error.code === 404 && namespace !== "" && namespace !== "default") {
    const answer = await cluster.request(namespacePath(namespace), requestOptions());
    if (answer.status === 404) throw await ApiError.from(answer);
    await answer.body?.cancel();
  }
  if (name === undefined && (error.code === 400 || error.code === 404) && error.status.kind === "Status") {
    const { selector, "field-selector": fields } = flags;
    const subject = `"${type.group}/${type.version}, Resource=${type.plural}"`;
    const message = selector || fields
      ? `Unable to find ${subject} that match label selector ${JSON.stringify(selector)}, ` +
        `field selector ${JSON.stringify(fields)}: ${error.message}`
      : `Unable to list ${subject}: ${error.message}`;
    throw new ApiError(error.code, { ...error.status, message }, { cause: error });
  }
  throw error;
}

const TABLE =
  "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

async function printTables(cluster: Cluster, queries: readonly Query[], invocation: GetInvocation): Promise<number> {
  const { flags } = invocation;
  const { answers, errors } = await ask(queries, async (query): Promise<Table> => {
    let table: Table | undefined;
    for await (const part of fetchParts<Table & ApiObject>(cluster, query, TABLE, invocation)) {
      if (part.kind !== "Table") {
        throw new UsageError(`the server makes no table of ${query.type.plural}: use -o name, json or yaml`);
      }
      table = table ? { ...table, rows: [...table.rows, ...part.rows ?? []] } : { ...part, rows: part.rows ?? [] };
    }
    return table ?? { kind: "Table", columnDefinitions: [], rows: [] };
  }, flags["ignore-not-found"]);

  // What comes from the same type, one after another, is one table.
  const tables: Array<{ type: ResourceType; table: Table }> = [];
  for (const { query, answer } of answers) {
    const last = tables.at(-1);
    if (last?.type === query.type && answer.rows.length > 0 && last.table.rows.length > 0) {
      last.table = { ...last.table, rows: [...last.table.rows, ...answer.rows] };
    } else if (answer.rows.length > 0) {
      tables.push({ type: query.type, table: answer });
    }
  }
  const severalTypes = new Set(answers.map(({ query }) => query.type)).size > 1;
  const texts = tables.map(({ type, table }) =>
    formatTable(table, {
      wide: flags.output === "wide",
      noHeaders: flags["no-headers"],
      showLabels: flags["show-labels"],
      withNamespace: flags["all-namespaces"] && type.namespaced,
      ...(severalTypes && { kind: kindName(`${type.group}${type.group && "/"}${type.version}`, type.kind) }),
    })
  );
  await writeText(Deno.stdout, texts.join(flags["no-headers"] ? "" : "\n"));
  if (texts.length === 0 && errors.length === 0 && !flags["ignore-not-found"]) {
    const namespaced = !flags["all-namespaces"] && answers.every(({ query }) => query.type.namespaced);
    await writeText(
      Deno.stderr,
      namespaced ? `No resources found in ${cluster.namespace} namespace.\n` : "No resources found\n",
    );
  }
  if (errors.length > 0) throw new AggregateError(errors);
  return 0;
}

async function printObjects(cluster: Cluster, queries: readonly Query[], invocation: GetInvocation): Promise<number> {
  const { flags } = invocation;
  const { answers, errors } = await ask(queries, async (query) => {
    const objects: ApiObject[] = [];
    for await (const part of fetchParts<ApiObject>(cluster, query, "application/json", invocation)) {
      for (const object of query.name === undefined ? itemsOf(part) : [part]) objects.push(object);
    }
    return objects;
  }, flags["ignore-not-found"]);

  const isSingle = queries.length === 1 && queries[0]?.name !== undefined;
  let objects = answers.flatMap(({ answer }) => answer);
  const isNothing = objects.length === 0 && (isSingle || flags["ignore-not-found"]);
  if (!isNothing) {
    if (!flags["show-managed-fields"]) objects = objects.map(withoutManagedFields);
    await writeText(Deno.stdout, await format(objects, isSingle, flags.output));
  }
  if (errors.length > 0) throw new AggregateError(errors);
  return 0;
}

async function format(objects: readonly ApiObject[], isSingle: boolean, output: string): Promise<string> {
  if (output === "name") return objects.map(toName).join("");
  const object = isSingle ? objects[0] : listOf(objects);
  if (output === "json") return toJson(object);
  const { toYaml } = await import("./yaml_output.ts");
  return toYaml(object);
}

/** A list's items, with the kind that a server leaves out of each. */
function itemsOf(list: ApiObject): ApiObject[] {
  const items = (list.items ?? []) as ApiObject[];
  const kind = list.kind?.replace(/List$/, "");
  return items.map((item) => ({
    ...(list.apiVersion && { apiVersion: list.apiVersion }),
    ...(kind && { kind }),
    ...item,
  }));
}
