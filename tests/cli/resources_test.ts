import { assertEquals } from "@std/assert";
import { Cluster, type Transport } from "../../lib/client/mod.ts";
import { collectionPath, Resources } from "../../lib/cli/resources.ts";

/** A server that answers what `answers` has for a path, and remembers what was asked. */
function fakeCluster(answers: Record<string, unknown>): { cluster: Cluster; asked: string[] } {
  const asked: string[] = [];
  const transport: Transport = {
    request: ({ path }) => {
      asked.push(path);
      const answer = answers[path];
      return Promise.resolve(answer ? Response.json(answer) : new Response("404 page not found", { status: 404 }));
    },
    openWebSocket: () => Promise.reject(new Error("not here")),
    openSpdy: () => Promise.reject(new Error("not here")),
    close: () => {},
  };
  return { cluster: new Cluster({ server: "http://cluster.example", transport }), asked };
}

const aggregated = (resource: string, kind: string, more: Record<string, unknown> = {}) => ({
  resource,
  responseKind: { group: "", version: "", kind },
  scope: "Namespaced",
  singularResource: kind.toLowerCase(),
  ...more,
});

const AGGREGATED = {
  "/api": {
    kind: "APIGroupDiscoveryList",
    items: [{
      metadata: {},
      versions: [{
        version: "v1",
        resources: [
          aggregated("pods", "Pod", { shortNames: ["po"], categories: ["all"] }),
          aggregated("nodes", "Node", { scope: "Cluster", shortNames: ["no"] }),
          aggregated("events", "Event", { shortNames: ["ev"] }),
        ],
      }],
    }],
  },
  "/apis": {
    kind: "APIGroupDiscoveryList",
    items: [
      {
        metadata: { name: "apps" },
        versions: [{
          version: "v1",
          resources: [aggregated("deployments", "Deployment", { shortNames: ["deploy"], categories: ["all"] })],
        }],
      },
      {
        metadata: { name: "events.k8s.io" },
        versions: [{ version: "v1", resources: [aggregated("events", "Event")] }],
      },
      {
        metadata: { name: "autoscaling" },
        versions: [
          { version: "v2", resources: [aggregated("horizontalpodautoscalers", "HorizontalPodAutoscaler")] },
          { version: "v1", resources: [aggregated("horizontalpodautoscalers", "HorizontalPodAutoscaler")] },
        ],
      },
    ],
  },
};

const find = async (resources: Resources, word: string) =>
  (await resources.find(word)).map((type) => collectionPath(type, "ns"));

Deno.test("Resources.find() knows a type by every name that kubectl knows it by", async () => {
  const resources = new Resources(fakeCluster(AGGREGATED).cluster, () => ({}));
  for (const word of ["pods", "pod", "po", "Pod", "PODS"]) {
    assertEquals(await find(resources, word), ["/api/v1/namespaces/ns/pods"], word);
  }
  for (const word of ["deploy", "deployments", "deployment.apps", "deployments.v1.apps", "deploy.apps"]) {
    assertEquals(await find(resources, word), ["/apis/apps/v1/namespaces/ns/deployments"], word);
  }
  assertEquals(await find(resources, "no"), ["/api/v1/nodes"]);
  assertEquals(await find(resources, "events"), ["/api/v1/namespaces/ns/events"]);
  assertEquals(await find(resources, "events.events.k8s.io"), ["/apis/events.k8s.io/v1/namespaces/ns/events"]);
  assertEquals(await find(resources, "nosuch"), []);
});

Deno.test("Resources.find() takes the preferred version unless another is named", async () => {
  const resources = new Resources(fakeCluster(AGGREGATED).cluster, () => ({}));
  assertEquals(await find(resources, "horizontalpodautoscalers"), [
    "/apis/autoscaling/v2/namespaces/ns/horizontalpodautoscalers",
  ]);
  assertEquals(await find(resources, "horizontalpodautoscalers.v1.autoscaling"), [
    "/apis/autoscaling/v1/namespaces/ns/horizontalpodautoscalers",
  ]);
});

Deno.test("Resources.find() finds all types of a category", async () => {
  const resources = new Resources(fakeCluster(AGGREGATED).cluster, () => ({}));
  assertEquals(await find(resources, "all"), ["/api/v1/namespaces/ns/pods", "/apis/apps/v1/namespaces/ns/deployments"]);
});

Deno.test("Resources.find() asks for no more than it takes, and once", async () => {
  const { cluster, asked } = fakeCluster(AGGREGATED);
  const resources = new Resources(cluster, () => ({}));
  await resources.find("pods");
  await resources.find("nodes");
  assertEquals(asked, ["/api"]);
  await resources.find("deploy");
  await resources.find("sts");
  assertEquals(asked, ["/api", "/apis"]);
});

Deno.test("Resources.find() reads a server without aggregated discovery", async () => {
  const { cluster } = fakeCluster({
    "/api": { kind: "APIVersions", versions: ["v1"] },
    "/api/v1": {
      kind: "APIResourceList",
      groupVersion: "v1",
      resources: [
        { name: "pods", singularName: "", namespaced: true, kind: "Pod", verbs: ["get"], shortNames: ["po"] },
        { name: "pods/exec", singularName: "", namespaced: true, kind: "PodExecOptions", verbs: ["create"] },
      ],
    },
    "/apis": {
      kind: "APIGroupList",
      groups: [{ name: "apps", versions: [{ groupVersion: "apps/v1", version: "v1" }] }],
    },
    "/apis/apps/v1": {
      kind: "APIResourceList",
      groupVersion: "apps/v1",
      resources: [{ name: "deployments", singularName: "deployment", namespaced: true, kind: "Deployment", verbs: [] }],
    },
  });
  const resources = new Resources(cluster, () => ({}));
  assertEquals(await find(resources, "pod"), ["/api/v1/namespaces/ns/pods"]);
  assertEquals(await find(resources, "po"), ["/api/v1/namespaces/ns/pods"]);
  assertEquals(await find(resources, "deployment"), ["/apis/apps/v1/namespaces/ns/deployments"]);
  assertEquals(await find(resources, "pods/exec"), []);
});
