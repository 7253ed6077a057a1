/** kubectl's rules and words. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  ApiError,
  chooseContainer,
  Cluster,
  type PodObject,
  refuseCompleted,
  TargetError,
} from "../../lib/client/mod.ts";
import type { Transport } from "../../lib/client/transport.ts";
import { compareActivity, formatSelector, resolvePod } from "../../lib/client/targets.ts";

const pod = (
  name: string,
  containers: string[],
  more: { annotations?: Record<string, string>; init?: string[]; ephemeral?: string[] } = {},
): PodObject => ({
  metadata: { name, namespace: "shop", ...(more.annotations && { annotations: more.annotations }) },
  spec: {
    containers: containers.map((name) => ({ name })),
    initContainers: (more.init ?? []).map((name) => ({ name })),
    ephemeralContainers: (more.ephemeral ?? []).map((name) => ({ name })),
  },
});

Deno.test("chooseContainer() takes the only container without a word", () => {
  assertEquals(chooseContainer(pod("web", ["a"])), { container: { name: "a" } });
});

Deno.test("chooseContainer() tells of a default among several", () => {
  assertEquals(
    chooseContainer(pod("web", ["a", "b"], { init: ["i"], ephemeral: ["e"] })).notice,
    'Defaulted container "a" out of: a, b, e (ephem), i (init)',
  );
  assertEquals(
    chooseContainer(pod("web", ["a"], { init: ["i"] })).notice,
    'Defaulted container "a" out of: a, i (init)',
  );
});

Deno.test("chooseContainer() finds init and ephemeral containers by name", () => {
  const both = pod("web", ["a"], { init: ["i"], ephemeral: ["e"] });
  assertEquals(chooseContainer(both, "i").container.name, "i");
  assertEquals(chooseContainer(both, "e"), { container: { name: "e" } });
});

Deno.test("chooseContainer() refuses a name that is not there, also the annotation's", () => {
  const text = "container x is not valid for pod web out of: a, b";
  assertThrows(() => chooseContainer(pod("web", ["a", "b"]), "x"), TargetError, text);
  const annotations = { "kubectl.kubernetes.io/default-container": "x" };
  assertThrows(() => chooseContainer(pod("web", ["a", "b"], { annotations })), TargetError, text);
  assertEquals(
    chooseContainer(pod("web", ["a", "b"], { annotations: { "kubectl.kubernetes.io/default-container": "b" } })),
    { container: { name: "b" } },
  );
  assertThrows(() => chooseContainer(pod("web", [])), TargetError, "pod shop/web does not have any containers");
});

Deno.test("refuseCompleted() refuses pods that have ended", () => {
  for (const phase of ["Succeeded", "Failed"]) {
    assertThrows(
      () => refuseCompleted({ metadata: { name: "p" }, status: { phase } }, "exec into"),
      TargetError,
      `cannot exec into a container in a completed pod; current phase is ${phase}`,
    );
  }
  refuseCompleted({ metadata: { name: "p" }, status: { phase: "Running" } }, "exec into");
});

Deno.test("compareActivity() puts the best candidate first", () => {
  const make = (
    name: string,
    status: PodObject["status"],
    nodeName = "n",
    created = "2026-01-01T00:00:00Z",
    deletionTimestamp?: string,
  ) => ({
    metadata: { name, creationTimestamp: created, ...(deletionTimestamp && { deletionTimestamp }) },
    spec: { nodeName },
    ...(status && { status }),
  });
  const ready = (since: string) => [{ type: "Ready", status: "True", lastTransitionTime: since }];
  const long = { phase: "Running", conditions: ready("2026-01-01T00:00:00Z") };
  const ordered = [
    make("ready for long", long),
    make("ready, older", { phase: "Running", conditions: ready("2026-01-02T00:00:00Z") }, "n", "2025-01-01T00:00:00Z"),
    make("ready, newer", { phase: "Running", conditions: ready("2026-01-02T00:00:00Z") }),
    make("restarted", {
      phase: "Running",
      conditions: ready("2026-01-02T00:00:00Z"),
      containerStatuses: [{ restartCount: 3 }],
    }),
    make("ready, ends later", long, "n", "2026-01-01T00:00:00Z", "2026-01-03T00:00:20Z"),
    make("ready, ends sooner", long, "n", "2026-01-01T00:00:00Z", "2026-01-03T00:00:10Z"),
    make("not ready", { phase: "Running" }),
    make("not ready, ends", { phase: "Running" }, "n", "2025-01-01T00:00:00Z", "2026-01-03T00:00:20Z"),
    make("unknown", { phase: "Unknown" }),
    make("pending", { phase: "Pending" }),
    make("unassigned", { phase: "Running" }, ""),
  ];
  const names = ordered.map((pod) => pod.metadata.name);
  assertEquals(ordered.toReversed().sort(compareActivity).map((pod) => pod.metadata.name), names);
});

Deno.test("formatSelector() writes every operator", () => {
  assertEquals(
    formatSelector({
      matchLabels: { app: "web" },
      matchExpressions: [
        { key: "a", operator: "In", values: ["x", "y"] },
        { key: "b", operator: "NotIn", values: ["z"] },
        { key: "c", operator: "Exists" },
        { key: "d", operator: "DoesNotExist" },
      ],
    }),
    "app=web,a in (x,y),b notin (z),c,!d",
  );
  assertThrows(() => formatSelector({ matchExpressions: [{ key: "a", operator: "Near" }] }), TargetError, "Near");
});

/** Requests that `answer` answers. */
function transport(answer: (request: { readonly path: string }) => Response): Transport {
  return {
    request: (request) => Promise.resolve(answer(request)),
    openWebSocket: () => Promise.reject(new Error("not in this test")),
    openSpdy: () => Promise.reject(new Error("not in this test")),
    close: () => {},
  };
}

/** An API server that answers from a table of paths. */
function cluster(answers: Record<string, unknown>): Cluster {
  const answered = transport(({ path }) => {
    const answer = answers[decodeURIComponent(path).replaceAll("+", " ")];
    if (answer instanceof Response) return answer;
    if (answer !== undefined) return Response.json(answer);
    const missing = { kind: "Status", status: "Failure", message: `no ${path}`, reason: "NotFound" };
    return Response.json(missing, { status: 404 });
  });
  return new Cluster({ server: "http://test.invalid", namespace: "shop", transport: answered });
}

Deno.test("resolvePod() reads every form of target", async () => {
  const running = { metadata: { name: "web-1" }, spec: { nodeName: "n" }, status: { phase: "Running" } };
  const pending = { metadata: { name: "web-2" }, status: { phase: "Pending" } };
  const labels = { spec: { selector: { matchLabels: { app: "web" } } }, metadata: { name: "web" } };
  const plain = { spec: { selector: { app: "web" } }, metadata: { name: "web" } };
  const pods = { items: [pending, running] };
  const base = "/api/v1/namespaces/shop";
  const api = cluster({
    [`${base}/pods/web-1`]: running,
    [`${base}/services/web`]: plain,
    [`${base}/replicationcontrollers/web`]: plain,
    "/apis/apps/v1/namespaces/shop/deployments/web": labels,
    "/apis/apps/v1/namespaces/shop/replicasets/web": labels,
    "/apis/apps/v1/namespaces/shop/statefulsets/web": labels,
    "/apis/apps/v1/namespaces/shop/daemonsets/web": labels,
    "/apis/batch/v1/namespaces/shop/jobs/web": labels,
    [`${base}/pods?labelSelector=app=web`]: pods,
  });
  for (
    const target of [
      "web-1",
      "pod/web-1",
      "po/web-1",
      "svc/web",
      "rc/web",
      "deploy/web",
      "deployments.apps/web",
      "rs/web",
      "sts/web",
      "ds/web",
      "job/web",
    ]
  ) {
    assertEquals((await api.resolvePod(target)).metadata.name, "web-1", target);
  }
});

Deno.test("resolvePod() takes the new pod of a rollout, not the one that is ending", async () => {
  const make = (name: string, since: string, deletionTimestamp?: string) => ({
    metadata: { name, creationTimestamp: since, ...(deletionTimestamp && { deletionTimestamp }) },
    spec: { nodeName: "n" },
    status: { phase: "Running", conditions: [{ type: "Ready", status: "True", lastTransitionTime: since }] },
  });
  const api = cluster({
    "/apis/apps/v1/namespaces/shop/deployments/web": { spec: { selector: { matchLabels: { app: "web" } } } },
    "/api/v1/namespaces/shop/pods?labelSelector=app=web": {
      items: [make("old", "2026-11-01T00:00:00Z", "2026-11-21T21:50:30Z"), make("new", "2026-11-21T21:49:00Z")],
    },
  });
  assertEquals((await api.resolvePod("deploy/web")).metadata.name, "new");
});

Deno.test("resolvePod() says what is wrong with a target", async () => {
  const base = "/api/v1/namespaces/shop";
  const api = cluster({
    [base]: { metadata: { name: "shop" } },
    [`${base}/services/headless`]: { metadata: { name: "headless" }, spec: {} },
  });
  await assertRejects(() => api.resolvePod("nope"), ApiError, "no /api/v1/namespaces/shop/pods/nope");
  await assertRejects(
    () => api.resolvePod("nope", { namespace: "gone" }),
    ApiError,
    "no /api/v1/namespaces/gone",
    "the namespace is what is missing",
  );
  await assertRejects(() => api.resolvePod("cm/x"), TargetError, '"cm"');
  for (const bad of ["pod/", "/x", "pod/x/y"]) await assertRejects(() => api.resolvePod(bad), TargetError, "single");
  await assertRejects(
    () => api.resolvePod("svc/headless"),
    TargetError,
    "cannot attach to *v1.Service: invalid service 'headless': Service is defined without a selector",
  );
});

Deno.test("resolvePod() waits for a first pod, and not for ever", async () => {
  const base = "/api/v1/namespaces/shop";
  const watch = `${base}/pods?labelSelector=app=web&resourceVersion=7&timeoutSeconds=300&watch=true`;
  const service = { metadata: { name: "web" }, spec: { selector: { app: "web" } } };
  const event = JSON.stringify({ type: "ADDED", object: { metadata: { name: "web-9" } } });
  const answers = (body: ReadableStream | string) => ({
    [`${base}/services/web`]: service,
    [`${base}/pods?labelSelector=app=web`]: { metadata: { resourceVersion: "7" }, items: [] },
    [watch]: new Response(body),
  });
  const api = cluster(answers(event.slice(0, 9) + event.slice(9) + "\n"));
  assertEquals((await api.resolvePod("svc/web")).metadata.name, "web-9");

  // What the server ends, or says is too old, is no timeout: it is looked for anew.
  for (
    const end of [
      "",
      JSON.stringify({ type: "ERROR", object: { kind: "Status", code: 410, message: "too old" } }) + "\n",
    ]
  ) {
    let lists = 0;
    const appears = new Cluster({
      server: "http://test.invalid",
      transport: transport(({ path }) => {
        if (path.includes("/services/")) return Response.json(service);
        if (path.includes("watch=true")) return new Response(end);
        return Response.json({
          metadata: { resourceVersion: "7" },
          items: ++lists < 2 ? [] : [{ metadata: { name: "web-9" } }],
        });
      }),
    });
    assertEquals((await appears.resolvePod("svc/web")).metadata.name, "web-9");
    assertEquals(lists, 2);
  }

  const refusal = { type: "ERROR", object: { kind: "Status", code: 500, message: "etcd is gone" } };
  const refused = cluster(answers(JSON.stringify(refusal) + "\n"));
  await assertRejects(() => refused.resolvePod("svc/web"), ApiError, "etcd is gone");

  const silent = cluster(answers(""));
  await assertRejects(
    () => resolvePod(silent, "svc/web", { namespace: "shop", timeout: 1 }),
    TargetError,
    "timed out waiting for the condition",
  );
});
