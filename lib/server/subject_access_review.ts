/**
 * An authorizer that asks the cluster.
 *
 * @module
 */
import { messageOf } from "../bytes/mod.ts";
import type { Transport } from "../client/mod.ts";
import type { Authorizer, Decision, RequestAttributes } from "./authorization.ts";
import { goJson } from "./go_json.ts";
import { StatusError } from "./status_error.ts";

/** Options of {@linkcode subjectAccessReview}. */
export interface SubjectAccessReviewOptions {
  /** The cluster, as somebody who may ask. */
  readonly transport: Transport;
  /** Whose rights count, which takes the right to create `subjectaccessreviews`. Default: those of whoever asks. */
  readonly user?: string;
  /** The user's groups. Default: `system:authenticated`. */
  readonly groups?: readonly string[];
  /** How long an answer holds, in milliseconds. Default 10 000. */
  readonly ttl?: number;
  /** Answers to remember. Default 1000. */
  readonly capacity?: number;
}

/**
 * An authorizer that asks the cluster with a SubjectAccessReview, or a SelfSubjectAccessReview where no user is named
 * (authorization.k8s.io/v1). It remembers answers for a while: a right that is taken away still holds for that long.
 *
 * The authorizer throws a {@linkcode StatusError} 500 if the cluster gives no answer.
 *
 * @example
 * ```ts
 * import { loadAccess, requestAttributes, subjectAccessReview, Upstream } from "@podwire/podwire/server";
 *
 * async function mayJaneRead(): Promise<boolean> {
 *   using upstream = Upstream.create(await loadAccess());
 *   const authorizer = subjectAccessReview({ transport: upstream.transport, user: "jane" });
 *   const attributes = requestAttributes("GET", "/api/v1/namespaces/default/pods", "");
 *   return (await authorizer(attributes, AbortSignal.timeout(10_000))).allowed;
 * }
 * ```
 */
export function subjectAccessReview(options: SubjectAccessReviewOptions): Authorizer {
  const { ttl = 10_000, capacity = 1000 } = options;
  /** In the order of their making, which is that of their end. */
  const answers = new Map<string, { readonly decision: Decision; readonly until: number }>();
  return async (attributes, signal) => {
    const key = JSON.stringify(attributes);
    const known = answers.get(key);
    if (known && known.until > performance.now()) return known.decision;
    const decision = await ask(attributes, options, signal);
    if (key.length > MAX_KEY) return decision;
    answers.delete(key);
    answers.set(key, { decision, until: performance.now() + ttl });
    for (const oldest of answers.keys()) {
      if (answers.size <= capacity) break;
      answers.delete(oldest);
    }
    return decision;
  };
}

/** Answers to longer questions are not remembered, in characters (apiserver `plugin/pkg/authorizer/webhook`). */
const MAX_KEY = 10_000;

const GROUP = "authorization.k8s.io/v1";

async function ask(
  attributes: RequestAttributes,
  { transport, user, groups = ["system:authenticated"] }: SubjectAccessReviewOptions,
  signal: AbortSignal,
): Promise<Decision> {
  const { verb, apiGroup, apiVersion, resource, subresource, namespace, name, path } = attributes;
  const question = attributes.isResourceRequest
    ? { resourceAttributes: { namespace, verb, group: apiGroup, version: apiVersion, resource, subresource, name } }
    : { nonResourceAttributes: { path, verb } };
  const kind = user === undefined ? "SelfSubjectAccessReview" : "SubjectAccessReview";
  const spec = user === undefined ? question : { ...question, user, groups };
  const response = await transport.request({
    method: "POST",
    path: `/apis/${GROUP}/${kind.toLowerCase()}s`,
    headers: [["Content-Type", "application/json"], ["Accept", "application/json"]],
    body: new TextEncoder().encode(goJson({ kind, apiVersion: GROUP, spec })),
    signal,
  });
  const { status, message } = await response.json().catch((error) => {
    signal.throwIfAborted();
    throw noAnswer(kind, `${response.status}, and no JSON: ${messageOf(error)}`);
  }) as { readonly status?: unknown; readonly message?: string };
  if (!response.ok) throw noAnswer(kind, message ?? String(response.status));
  const { allowed, reason, evaluationError } = (status ?? {}) as Readonly<Record<string, unknown>>;
  if (allowed === true) return { allowed };
  const why = [reason, evaluationError].filter((text) => typeof text === "string" && text !== "").join(": ");
  return { allowed: false, reason: why, ...(user !== undefined && { user }) };
}

function noAnswer(kind: string, why: string): StatusError {
  return new StatusError(500, "InternalError", `the gateway cannot ask the cluster by ${kind}: ${why}`);
}
