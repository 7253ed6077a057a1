import { assertEquals, assertRejects } from "@std/assert";
import type { ApiRequest, Transport } from "../../lib/client/mod.ts";
import { requestAttributes } from "../../lib/server/authorization.ts";
import { StatusError } from "../../lib/server/status_error.ts";
import { subjectAccessReview, type SubjectAccessReviewOptions } from "../../lib/server/subject_access_review.ts";

/** An authorizer and what the cluster, which gives `answers` in turn, was asked. */
function setUp(options: Omit<SubjectAccessReviewOptions, "transport">, answers: Array<() => Response>) {
  const asked: Array<{ path: string; body: unknown }> = [];
  const transport = {
    request({ method, path, body }: ApiRequest) {
      assertEquals(method, "POST");
      asked.push({ path, body: JSON.parse(new TextDecoder().decode(body)) });
      return Promise.resolve(answers.length > 1 ? answers.shift()!() : answers[0]!());
    },
  } as Partial<Transport> as Transport;
  const authorizer = subjectAccessReview({ ...options, transport });
  const { signal } = new AbortController();
  const ask = async (path: string) => await authorizer(requestAttributes("GET", path, ""), signal);
  return { ask, asked };
}

const answer = (status: unknown) => () => Response.json({ status }, { status: 201 });

Deno.test("subjectAccessReview() asks for a named user", async () => {
  const { ask, asked } = setUp({ user: "jane", groups: ["dev"] }, [
    answer({ allowed: true }),
    answer({ allowed: false, reason: "RBAC: no", evaluationError: "role gone" }),
  ]);
  assertEquals(await ask("/apis/apps/v1/namespaces/a/deployments/b/scale"), { allowed: true });
  assertEquals(await ask("/version"), { allowed: false, reason: "RBAC: no: role gone", user: "jane" });
  const kind = { kind: "SubjectAccessReview", apiVersion: "authorization.k8s.io/v1" };
  const path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
  const resourceAttributes = {
    namespace: "a",
    verb: "get",
    group: "apps",
    version: "v1",
    resource: "deployments",
    subresource: "scale",
    name: "b",
  };
  assertEquals(asked, [
    { path, body: { ...kind, spec: { resourceAttributes, user: "jane", groups: ["dev"] } } },
    {
      path,
      body: {
        ...kind,
        spec: { nonResourceAttributes: { path: "/version", verb: "get" }, user: "jane", groups: ["dev"] },
      },
    },
  ]);
});

Deno.test("subjectAccessReview() asks for whoever asks, if no user is named", async () => {
  const { ask, asked } = setUp({}, [answer({ allowed: false })]);
  assertEquals(await ask("/version"), { allowed: false, reason: "" });
  assertEquals(asked, [{
    path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    body: {
      kind: "SelfSubjectAccessReview",
      apiVersion: "authorization.k8s.io/v1",
      spec: { nonResourceAttributes: { path: "/version", verb: "get" } },
    },
  }]);
});

Deno.test("subjectAccessReview() remembers answers for a while, and so many", async () => {
  const { ask, asked } = setUp({ capacity: 2 }, [answer({ allowed: true })]);
  for (const path of ["/a", "/a", "/b", "/a", "/c", "/b", "/a", "/a"]) await ask(path);
  assertEquals(asked.length, 4); // a, b, c, and a again, which c had made leave.
  const long = `/${"x".repeat(10_000)}`;
  await ask(long);
  await ask(long);
  assertEquals(asked.length, 6);
  const impatient = setUp({ ttl: 0 }, [answer({ allowed: true })]);
  await impatient.ask("/a");
  await impatient.ask("/a");
  assertEquals(impatient.asked.length, 2);
});

Deno.test("subjectAccessReview() lets nobody pass without an answer, and remembers none", async () => {
  const { ask } = setUp({ user: "jane" }, [
    () => Response.json({ message: "subjectaccessreviews is forbidden" }, { status: 403 }),
    () => new Response("upstream gone", { status: 502 }),
    answer(undefined),
    answer({ allowed: "true" }),
  ]);
  const refused = await assertRejects(() => ask("/a"), StatusError);
  assertEquals(
    [refused.code, refused.message],
    [500, "the gateway cannot ask the cluster by SubjectAccessReview: subjectaccessreviews is forbidden"],
  );
  await assertRejects(() => ask("/a"), StatusError, "502, and no JSON");
  assertEquals((await ask("/a")).allowed, false);
  assertEquals((await ask("/b")).allowed, false);
});
