/**
 * The custom resource `Relay`, and what its operator needs in a cluster.
 *
 * @module
 */
import type { KubernetesObject, Manifest } from "../client/mod.ts";
import type { HttpSpec, RelaySpec, TargetTlsSpec } from "./config.ts";
import { ADMIN_PORT, NODE_ADMIN_PORT, NODE_ADMIN_RELAY } from "./halves.ts";
import { CONFINED, USER } from "./manifest.ts";

/** The API group of {@linkcode RelayObject}. */
export const GROUP = "podwire.dev";

/** Its version. */
export const VERSION = "v1alpha1";

/** What the operator, its account and its lease are called. */
export const OPERATOR = "podwire-relay-operator";

/** A socket of nodes' localhost that appears as a Service. */
export interface RelayObject extends KubernetesObject {
  /** What shall be. */
  readonly spec: RelayObjectSpec;
  /** What is. */
  readonly status?: RelayObjectStatus;
}

/** What a {@linkcode RelayObject} asks for. The keys that a relay's configuration has too mean the same there. */
export interface RelayObjectSpec {
  /** Labels of the nodes; `{}` are all that run Linux. */
  readonly nodeSelector: Readonly<Record<string, string>>;
  /** The port of the Service and of the pods behind it; TCP or UDP, as the target is. */
  readonly port: number;
  /** The socket on the nodes. */
  readonly target: {
    /** `tcp:HOST:PORT` or `udp:HOST:PORT`. */
    readonly address: string;
    /** Speaks TLS to it. */
    readonly tls?: Pick<TargetTlsSpec, "serverName" | "insecureSkipVerify">;
  };
  /** Lets only these HTTP requests through. */
  readonly http?: HttpSpec;
  /** As {@linkcode RelaySpec.allowFrom}. */
  readonly allowFrom?: readonly string[];
  /** As {@linkcode RelaySpec.maxConnections}. */
  readonly maxConnections?: number;
  /** As {@linkcode RelaySpec.connectTimeout}. */
  readonly connectTimeout?: string;
  /** As {@linkcode RelaySpec.idleTimeout}. */
  readonly idleTimeout?: string;
}

/** What the operator says of a {@linkcode RelayObject}. */
export interface RelayObjectStatus {
  /** The `metadata.generation` that this is about. */
  readonly observedGeneration?: number;
  /** `Accepted`: whether it may be; `Ready`: whether it works on all of its nodes. */
  readonly conditions?: readonly Condition[];
  /** How many nodes it shall be on. */
  readonly desiredNodes?: number;
  /** On how many of them it works. */
  readonly readyNodes?: number;
  /** Each node, at most {@linkcode MAX_NODES}, those that are not ready first. */
  readonly nodes?: readonly NodeStatus[];
}

/** One node of a {@linkcode RelayObjectStatus}. */
export interface NodeStatus {
  /** Its name. */
  readonly name: string;
  /** `Ready`. */
  readonly conditions: readonly Condition[];
}

/** A condition (meta/v1). */
export interface Condition {
  /** What is true or not. */
  readonly type: string;
  /** Whether it is. */
  readonly status: "True" | "False" | "Unknown";
  /** Why, in one word. */
  readonly reason: string;
  /** Why, for people. */
  readonly message: string;
  /** When `status` changed last, RFC 3339. */
  readonly lastTransitionTime: string;
  /** The `metadata.generation` that it is about. */
  readonly observedGeneration?: number;
}

/** How many nodes a status names: an object has its limit in size. */
export const MAX_NODES = 100;

/** The relay, as configuration has it, that a custom resource asks for. */
export function toRelaySpec({ metadata, spec }: RelayObject): RelaySpec {
  const { nodeSelector: _, port, target, ...rest } = spec;
  const kind = target.address.startsWith("udp:") ? "udp" : "tcp";
  return { ...rest, name: metadata.name, listen: { address: `${kind}:[::]:${port}` }, target };
}

const text = (description: string, more: object = {}) => ({ type: "string", description, ...more });

const duration = (description: string, more: object = {}) =>
  text(`${description}, as 5s or 1m30s`, { maxLength: 32, pattern: "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$", ...more });

const CONDITIONS = {
  type: "array",
  "x-kubernetes-list-type": "map",
  "x-kubernetes-list-map-keys": ["type"],
  items: {
    type: "object",
    required: ["type", "status", "reason", "message", "lastTransitionTime"],
    properties: {
      type: { type: "string" },
      status: { type: "string", enum: ["True", "False", "Unknown"] },
      reason: { type: "string" },
      message: { type: "string" },
      lastTransitionTime: { type: "string", format: "date-time" },
      observedGeneration: { type: "integer", format: "int64" },
    },
  },
};

const DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

const SPEC = {
  type: "object",
  required: ["nodeSelector", "port", "target"],
  "x-kubernetes-validations": [
    { rule: "!has(self.http) || self.target.address.startsWith('tcp:')", message: "http needs a tcp target" },
    {
      rule: "!has(self.target.tls) || self.target.address.startsWith('tcp:')",
      message: "target.tls needs a tcp target",
    },
    {
      rule: "!has(self.idleTimeout) || self.target.address.startsWith('tcp:') || " +
        "duration(self.idleTimeout) > duration('0s')",
      message: "idleTimeout must be more than 0 for a udp target: flows of datagrams have no other end",
    },
  ],
  properties: {
    nodeSelector: {
      type: "object",
      description: "Labels of the nodes; {} are all that run Linux",
      maxProperties: 16,
      additionalProperties: { type: "string", maxLength: 63, pattern: "^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$" },
      "x-kubernetes-validations": [{
        rule: "!('kubernetes.io/os' in self) || self['kubernetes.io/os'] == 'linux'",
        message: "kubernetes.io/os must be linux",
      }, {
        // As the API server has it for the pods: it would refuse them, again and again.
        rule: `self.all(key, key.matches('^(${DNS_LABEL}([.]${DNS_LABEL})*/)?` +
          "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
        message: "a label's key must be [DOMAIN/]NAME",
      }],
    },
    port: {
      type: "integer",
      format: "int32",
      minimum: 1,
      maximum: 65535,
      description: "The port of the Service; no two relays of the same nodes can have one",
      "x-kubernetes-validations": [
        {
          rule: `!(self in [${ADMIN_PORT}, ${NODE_ADMIN_PORT}])`,
          message: `the pods use the ports ${ADMIN_PORT} and ${NODE_ADMIN_PORT} themselves`,
        },
      ],
    },
    target: {
      type: "object",
      required: ["address"],
      properties: {
        address: text("The socket on the nodes: tcp:HOST:PORT or udp:HOST:PORT", {
          maxLength: 270,
          "x-kubernetes-validations": [{
            rule: String.raw`self.matches('^(tcp|udp):(([A-Za-z0-9_.-]+|\\[[0-9a-fA-F:.]+\\]):)?[0-9]{1,5}$')`,
            message: "must be tcp:HOST:PORT or udp:HOST:PORT",
          }, {
            // What is no port at all is the other rule's.
            rule: "!self.matches(':0+$') && " +
              "(!self.matches(':[0-9]{1,5}$') || int(self.substring(self.lastIndexOf(':') + 1)) <= 65535)",
            message: "PORT must be from 1 to 65535",
          }],
        }),
        tls: {
          type: "object",
          description: "Speak TLS to the target",
          properties: {
            serverName: text("The name that its certificate must have, instead of HOST", { maxLength: 253 }),
            insecureSkipVerify: {
              type: "boolean",
              description:
                "Do not check its certificate: for a server of the same machine with one that nobody can know",
            },
          },
        },
      },
    },
    http: {
      type: "object",
      required: ["paths"],
      description:
        "Speak HTTP/1.1 and let only GET and HEAD of these paths through, with the header fields that scrapers " +
        "send; everything else is answered 403",
      properties: {
        paths: {
          type: "array",
          minItems: 1,
          maxItems: 32,
          "x-kubernetes-list-type": "set",
          items: {
            type: "string",
            maxLength: 512,
            "x-kubernetes-validations": [
              { rule: "self.matches('^/[^?#]*$')", message: "must begin with / and have no query" },
            ],
          },
        },
      },
    },
    allowFrom: {
      type: "array",
      minItems: 1,
      maxItems: 64,
      description: "The source addresses (CIDR, or one address) that may connect; all, if absent",
      items: {
        type: "string",
        maxLength: 49,
        "x-kubernetes-validations": [{
          rule: "isCIDR(self) ? cidr(self) == cidr(self).masked() : isIP(self)",
          message: "must be a range such as 10.0.0.0/8 or fd00::/8, without bits beyond its prefix, or one address",
        }],
      },
    },
    maxConnections: {
      type: "integer",
      format: "int32",
      minimum: 1,
      maximum: 1_000_000,
      description: "The most connections, or flows of datagrams, at once on each node",
    },
    connectTimeout: duration("How long connecting to the target may take", {
      "x-kubernetes-validations": [{ rule: "duration(self) > duration('0s')", message: "must be more than 0" }],
    }),
    idleTimeout: duration("How long neither side may say anything"),
  },
};

const STATUS = {
  type: "object",
  properties: {
    observedGeneration: { type: "integer", format: "int64" },
    conditions: CONDITIONS,
    desiredNodes: { type: "integer", format: "int32" },
    readyNodes: { type: "integer", format: "int32" },
    nodes: {
      type: "array",
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["name"],
      items: { type: "object", required: ["name"], properties: { name: { type: "string" }, conditions: CONDITIONS } },
    },
  },
};

/** The definition of `Relay`. The name becomes a Service's, hence its rule. */
export const CRD: Manifest = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: `relays.${GROUP}` },
  spec: {
    group: GROUP,
    scope: "Namespaced",
    names: { kind: "Relay", listKind: "RelayList", plural: "relays", singular: "relay" },
    versions: [{
      name: VERSION,
      served: true,
      storage: true,
      subresources: { status: {} },
      additionalPrinterColumns: [
        { name: "Target", type: "string", jsonPath: ".spec.target.address" },
        { name: "Port", type: "integer", jsonPath: ".spec.port" },
        { name: "Accepted", type: "string", jsonPath: '.status.conditions[?(@.type=="Accepted")].status' },
        { name: "Ready", type: "string", jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
        { name: "Nodes", type: "integer", jsonPath: ".status.desiredNodes" },
        { name: "Ready Nodes", type: "integer", jsonPath: ".status.readyNodes" },
        { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
      ],
      schema: {
        openAPIV3Schema: {
          type: "object",
          description: "A socket of nodes' localhost that appears as a Service of the same name",
          required: ["spec"],
          "x-kubernetes-validations": [{
            rule: "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$')",
            message: "the name becomes a Service's: at most 63 of a-z, 0-9 and -, a letter first",
          }, {
            rule: `self.metadata.name != '${NODE_ADMIN_RELAY.name}'`,
            message: "the name is taken by podwire itself",
          }],
          properties: {
            apiVersion: { type: "string" },
            kind: { type: "string" },
            metadata: { type: "object" },
            spec: SPEC,
            status: STATUS,
          },
        },
      },
    }],
  },
} as Manifest;

/**
 * The operator's account, and what it may do: everything that it does, and nothing else. With `makeNamespace` the namespace
 * too: one of somebody else's shall not lose its Pod Security by it.
 */
export function operatorAccess(namespace: string, { makeNamespace }: { readonly makeNamespace: boolean }): Manifest[] {
  const rbac = "rbac.authorization.k8s.io";
  const name = OPERATOR;
  const own = { name, namespace };
  const subjects = [{ kind: "ServiceAccount", ...own }];
  // Objects are replaced, not patched: what others put into them has to go.
  const write = ["get", "list", "watch", "create", "update", "delete"];
  // The relays' pods have host paths, half of them the host's network; nothing else should live here.
  const labels = { "pod-security.kubernetes.io/enforce": "privileged" };
  const manifests = [
    ...(makeNamespace ? [{ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace, labels } }] : []),
    { apiVersion: "v1", kind: "ServiceAccount", metadata: own },
    {
      apiVersion: `${rbac}/v1`,
      kind: "Role",
      metadata: own,
      rules: [
        { apiGroups: [GROUP], resources: ["relays"], verbs: ["list", "watch"] },
        { apiGroups: [GROUP], resources: ["relays/status"], verbs: ["patch"] },
        { apiGroups: [""], resources: ["configmaps", "services"], verbs: write },
        { apiGroups: ["apps"], resources: ["daemonsets"], verbs: write },
        { apiGroups: [""], resources: ["pods"], verbs: ["list", "watch", "patch"] },
        { apiGroups: [""], resources: ["events"], verbs: ["create"] },
        { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["create"] },
        { apiGroups: ["coordination.k8s.io"], resources: ["leases"], resourceNames: [name], verbs: ["get", "update"] },
      ],
    },
    {
      apiVersion: `${rbac}/v1`,
      kind: "RoleBinding",
      metadata: own,
      roleRef: { apiGroup: rbac, kind: "Role", name },
      subjects,
    },
    {
      apiVersion: `${rbac}/v1`,
      kind: "ClusterRole",
      metadata: { name },
      rules: [{ apiGroups: [""], resources: ["nodes"], verbs: ["list", "watch"] }],
    },
    {
      apiVersion: `${rbac}/v1`,
      kind: "ClusterRoleBinding",
      metadata: { name: `${name}:${namespace}` }, // There may be an operator in another namespace too.
      roleRef: { apiGroup: rbac, kind: "ClusterRole", name },
      subjects,
    },
  ];
  return manifests as Manifest[];
}

/** What the operator's Deployment runs with. */
export interface OperatorDeploymentOptions {
  /** Its namespace, where the relays live too. */
  readonly namespace: string;
  /** The image of the operator and of the relays' pods: Deno, and podwire as `/podwire.js`. */
  readonly image: string;
  /** When it is pulled; as Kubernetes has it, if absent. */
  readonly imagePullPolicy?: string;
  /** What relays may expose, as `podwire relay operator --allow` has it. */
  readonly allow: readonly string[];
}

/** The operator's Deployment. */
export function operatorDeployment({ namespace, image, imagePullPolicy, allow }: OperatorDeploymentOptions): Manifest {
  const labels = { "app.kubernetes.io/name": OPERATOR };
  const pull = imagePullPolicy === undefined ? {} : { imagePullPolicy };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: OPERATOR, namespace, labels },
    spec: {
      replicas: 1,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          serviceAccountName: OPERATOR,
          enableServiceLinks: false,
          securityContext: {
            runAsNonRoot: true,
            runAsUser: USER,
            runAsGroup: USER,
            seccompProfile: { type: "RuntimeDefault" },
          },
          containers: [{
            name: "operator",
            image,
            ...pull,
            command: [
              ...["deno", "run", "--no-config", "--no-prompt", "--allow-net"],
              ...["--allow-env=KUBERNETES_SERVICE_HOST,KUBERNETES_SERVICE_PORT"],
              ...["--allow-read=/var/run/secrets/kubernetes.io", "/podwire.js"],
              ...["relay", "operator", `--namespace=${namespace}`, `--image=${image}`],
              ...(imagePullPolicy === undefined ? [] : [`--image-pull-policy=${imagePullPolicy}`]),
              // A container that is started anew in the same pod is the same candidate: it leads on at once.
              "--identity=$(POD_NAME)",
              ...allow.map((entry) => `--allow=${entry}`),
            ],
            env: [{ name: "POD_NAME", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } }],
            securityContext: CONFINED,
            resources: { requests: { cpu: "10m", memory: "96Mi" }, limits: { cpu: "1", memory: "256Mi" } },
          }],
        },
      },
    },
  } as Manifest;
}
