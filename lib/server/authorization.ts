/**
 * Who may do what: what a request asks for in Kubernetes' terms, and the question whether it may.
 *
 * @module
 */
import type { HeaderLines } from "./http.ts";
import { Query } from "./query.ts";
import { badRequest, StatusError } from "./status_error.ts";

/** What a request asks for, as the API server's authorizers see it (apiserver `pkg/endpoints/request/requestinfo.go`). */
export interface RequestAttributes {
  /** Whether it is about an object or a list of them; else only `verb` and `path` mean something. */
  readonly isResourceRequest: boolean;
  /** `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `proxy`; without a resource, the method in lower case. */
  readonly verb: string;
  /** The API group; empty for the core group. */
  readonly apiGroup: string;
  /** The version of the group, `v1`. */
  readonly apiVersion: string;
  /** `pods`. */
  readonly resource: string;
  /** `exec`; empty for the object itself. */
  readonly subresource: string;
  /** The namespace; empty at the cluster scope. A namespace itself is in the namespace of its name. */
  readonly namespace: string;
  /** The object's name; empty for a list, unless it selects one object by its name. */
  readonly name: string;
  /** The path, decoded. */
  readonly path: string;
}

/** What an authorizer says. */
export type Decision = { readonly allowed: true } | {
  readonly allowed: false;
  /** Why, for a person; may be empty. */
  readonly reason: string;
  /** As whom the client was judged, if it was as somebody. */
  readonly user?: string;
};

/** Says whether a request may pass. What it throws counts as no. */
export type Authorizer = (attributes: RequestAttributes, signal: AbortSignal) => Promise<Decision> | Decision;

/**
 * What a request asks for.
 *
 * Nobody behind may read the path in another way, or something else would happen than what was allowed. So a path with any of what
 * servers and proxies are known to differ in is refused: empty and dot segments, encoded slashes, backslashes,
 * percent signs and control characters, and characters that no URL has.
 *
 * @param path Still percent-encoded.
 * @param query What follows the `?`, raw.
 * @throws {StatusError} 400 for such a path; also for the query of a list, whose selector may decide, if it can be read in two ways.
 */
export function requestAttributes(method: string, path: string, query: string): RequestAttributes {
  const { segments, trailingSlash } = splitPath(path);
  const decoded = `/${segments.join("/")}${trailingSlash ? "/" : ""}`;
  const parts = segments.slice();
  const prefix = parts.shift();
  const hasGroup = prefix === "apis";
  if ((!hasGroup && prefix !== "api") || parts.length < (hasGroup ? 3 : 2)) {
    return { ...NOTHING, isResourceRequest: false, verb: method.toLowerCase(), path: decoded };
  }
  const apiGroup = hasGroup ? parts.shift()! : "";
  const apiVersion = parts.shift()!;
  let verb = VERBS[method] ?? "";
  if (SPECIAL_VERBS.has(parts[0]!)) {
    if (parts.length < 2) throw badRequest(`unable to determine kind and namespace from url, ${decoded}`);
    verb = parts.shift()!;
  }
  let namespace = "";
  if (parts[0] === "namespaces" && parts[1] !== undefined) {
    namespace = parts[1];
    if (parts[2] !== undefined && !NAMESPACE_SUBRESOURCES.has(parts[2])) parts.splice(0, 2);
  }
  const resource = parts[0]!;
  let name = parts[1] ?? "";
  const subresource = verb === "proxy" ? "" : parts[2] ?? "";
  // Below a proxy the path is the backend's, and to some backends the last slash matters.
  if (trailingSlash && subresource !== "proxy" && verb !== "proxy") throw badPath("ends with a slash");
  if (name === "" && verb === "get") {
    const options = plainQuery(query);
    verb = options.flag("watch") ? "watch" : "list";
    name = selectedName(options.get("fieldSelector") ?? "");
  }
  if (name === "" && verb === "delete") verb = "deletecollection";
  return { isResourceRequest: true, verb, apiGroup, apiVersion, resource, subresource, namespace, name, path: decoded };
}

/**
 * Lets no path go up, out of that of the server's URL: what lies above it may be another cluster's, behind the same credentials.
 * {@linkcode requestAttributes} refuses that too, and more.
 *
 * @throws {StatusError} 400 for such a path.
 */
export function refuseDotSegments(path: string): void {
  if (/(?:^|[/\\]|%2f|%5c)(?:\.|%2e){1,2}(?:[/\\]|%2f|%5c|$)/i.test(path)) throw badPath("has a dot segment");
}

/**
 * Asks whether a request may pass.
 *
 * exec, attach and port-forward take two rights however they are asked for: that of the method, and
 * `create` (KEP-4006; kubernetes `pkg/registry/core/pod/rest/authorize.go`). Else whoever may only read could run
 * commands, because a WebSocket begins with a GET.
 *
 * @throws {StatusError} 403 if it may not, in the API server's words.
 * @throws What the authorizer throws.
 */
export async function authorize(
  authorizer: Authorizer,
  attributes: RequestAttributes,
  signal: AbortSignal,
): Promise<void> {
  const asked = isStream(attributes) && attributes.verb !== "create"
    ? [attributes, { ...attributes, verb: "create" }]
    : [attributes];
  for (const each of asked) {
    const decision = await authorizer(each, signal);
    if (!decision.allowed) throw refusal(each, decision);
  }
}

/**
 * Whether a request creates its object if there is none: an update does for some kinds (services, leases, roles), a server-side apply for
 * all. The API server wants the right to `create` then (apiserver `pkg/endpoints/handlers/update.go` `withAuthorization`): of a gateway's
 * user, who has it. So the gateway has to ask for the client's.
 */
export function createsIfAbsent(attributes: RequestAttributes, headers: HeaderLines): boolean {
  const { isResourceRequest, verb, name, subresource } = attributes;
  if (!isResourceRequest || name === "" || subresource !== "") return false;
  return verb === "update" || (verb === "patch" && headers.getAll("content-type").some((type) => /apply/i.test(type)));
}

const NOTHING = { apiGroup: "", apiVersion: "", resource: "", subresource: "", namespace: "", name: "" };

const VERBS: Readonly<Record<string, string>> = {
  GET: "get",
  HEAD: "get",
  POST: "create",
  PUT: "update",
  PATCH: "patch",
  DELETE: "delete",
};

/** Verbs of paths from before there were query parameters for them. */
const SPECIAL_VERBS: ReadonlySet<string> = new Set(["proxy", "watch"]);

/** What follows a namespace's name without being a resource in it. */
const NAMESPACE_SUBRESOURCES: ReadonlySet<string> = new Set(["status", "finalize"]);

/** Subresources of pods that open a stream. */
const STREAMS: ReadonlySet<string> = new Set(["exec", "attach", "portforward"]);

function isStream({ apiGroup, resource, subresource }: RequestAttributes): boolean {
  return apiGroup === "" && resource === "pods" && STREAMS.has(subresource);
}

/** The segments of a path, decoded. */
function splitPath(path: string): { segments: string[]; trailingSlash: boolean } {
  if (!path.startsWith("/")) throw badPath("does not start with a slash");
  // RFC 3986 section 3.3: all that may stand in a path.
  if (!/^[\w\-.~!$&'()*+,;=:@%/]*$/.test(path)) throw badPath("has characters that must be percent-encoded");
  const segments = path.slice(1).split("/");
  const trailingSlash = segments.length > 1 && segments.at(-1) === "";
  if (trailingSlash || path === "/") segments.pop();
  return { segments: segments.map(decodeSegment), trailingSlash };
}

function decodeSegment(segment: string): string {
  let text: string;
  try {
    text = decodeURIComponent(segment);
  } catch {
    throw badPath("has a malformed percent-encoding");
  }
  if (text === "") throw badPath("has an empty segment");
  if (text === "." || text === "..") throw badPath("has a dot segment");
  // deno-lint-ignore no-control-regex -- control characters are what is looked for
  if (/[/\\%\x00-\x1f\x7f]/.test(text)) {
    throw badPath("has an encoded slash, backslash, percent sign or control character");
  }
  return text;
}

/** A query that Go reads no otherwise: what it cannot decode it takes as it is or leaves out, and of too many parameters it takes none. */
function plainQuery(text: string): Query {
  if (!/^[\x21-\x7e]*$/.test(text) || text.includes(";")) throw badQuery("has characters that must be percent-encoded");
  if (text.split("&").length > MAX_PARAMETERS) throw badQuery(`has more than ${MAX_PARAMETERS} parameters`);
  try {
    decodeURIComponent(text);
  } catch {
    throw badQuery("has a malformed percent-encoding");
  }
  return new Query(text);
}

/** Far below where Go stops to count (net/url `urlmaxqueryparams`: 10,000). */
const MAX_PARAMETERS = 1000;

function badQuery(what: string): StatusError {
  return badRequest(`the query ${what}: the gateway passes on none that others could read in another way`);
}

function badPath(what: string): StatusError {
  return badRequest(`the path ${what}: the gateway passes on no path that others could read in another way`);
}

/** The name of the one object that a field selector leaves; nothing where that is not beyond doubt. */
function selectedName(selector: string): string {
  const terms = selector.split(",").map((term) => /^([\w.-]+)(==|=|!=)([\w.:-]*)$/.exec(term));
  if (terms.includes(null)) return "";
  const [, , , name = ""] = terms.find((term) => term?.[1] === "metadata.name" && term[2] !== "!=") ?? [];
  return name === "." || name === ".." ? "" : name;
}

/** 403, as `responsewriters.ForbiddenStatus` of the API server words it. */
function refusal(attributes: RequestAttributes, decision: Decision & { allowed: false }): StatusError {
  const { verb, apiGroup, resource, subresource, namespace, name, path } = attributes;
  const who = decision.user === undefined ? "the client" : `User ${JSON.stringify(decision.user)}`;
  const why = decision.reason === "" ? "" : `: ${decision.reason}`;
  if (!attributes.isResourceRequest) {
    return new StatusError(403, "Forbidden", `forbidden: ${who} cannot ${verb} path ${JSON.stringify(path)}${why}`, {});
  }
  const what = JSON.stringify(subresource === "" ? resource : `${resource}/${subresource}`);
  const where = namespace === "" ? "at the cluster scope" : `in the namespace ${JSON.stringify(namespace)}`;
  const object = [
    apiGroup === "" ? resource : `${resource}.${apiGroup}`,
    ...(name === "" ? [] : [JSON.stringify(name)]),
  ];
  return new StatusError(
    403,
    "Forbidden",
    `${object.join(" ")} is forbidden: ${who} cannot ${verb} resource ${what} in API group ${
      JSON.stringify(apiGroup)
    } ${where}${why}`,
    { ...(name !== "" && { name }), ...(apiGroup !== "" && { group: apiGroup }), kind: resource },
  );
}
