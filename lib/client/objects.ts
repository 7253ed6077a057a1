/**
 * The Kubernetes objects that podwire reads, with the fields that it reads.
 *
 * @module
 */

/** What every object has. */
export interface ObjectMeta {
  /** The name. */
  readonly name: string;
  /** The namespace, for a namespaced object. */
  readonly namespace?: string;
  /** The unique id. */
  readonly uid?: string;
  /** The labels. */
  readonly labels?: Readonly<Record<string, string>>;
  /** The annotations. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** RFC 3339. */
  readonly creationTimestamp?: string;
  /** RFC 3339; set once the object is on its way out. */
  readonly deletionTimestamp?: string;
  /** Grows with every change. */
  readonly resourceVersion?: string;
  /** Grows with every change of what shall be (`spec`). */
  readonly generation?: number;
  /** What made the object. */
  readonly ownerReferences?: readonly OwnerReference[];
}

/** What made an object: when all of its owners are gone, it goes too. */
export interface OwnerReference {
  /** The owner's API group and version. */
  readonly apiVersion?: string;
  /** Its kind. */
  readonly kind: string;
  /** Its name. */
  readonly name?: string;
  /** Its unique id. */
  readonly uid?: string;
  /** Whether it is the one that manages the object. */
  readonly controller?: boolean;
}

/** What every object is. */
export interface KubernetesObject {
  /** The API group and version: `v1`, `apps/v1`. The items of a list lack it. */
  readonly apiVersion?: string;
  /** The kind: `DaemonSet`. The items of a list lack it. */
  readonly kind?: string;
  /** Name, labels and so on. */
  readonly metadata: ObjectMeta;
}

/** A pod (core/v1). */
export interface PodObject {
  /** Name, labels and so on. */
  readonly metadata: ObjectMeta;
  /** What shall run. */
  readonly spec?: {
    readonly nodeName?: string;
    readonly containers?: readonly ContainerSpec[];
    readonly initContainers?: readonly ContainerSpec[];
    readonly ephemeralContainers?: readonly ContainerSpec[];
  };
  /** What does run. */
  readonly status?: {
    readonly phase?: string;
    readonly conditions?: ReadonlyArray<
      { readonly type: string; readonly status: string; readonly lastTransitionTime?: string }
    >;
    readonly containerStatuses?: ReadonlyArray<{ readonly restartCount?: number }>;
  };
}

/** A container of a pod. */
export interface ContainerSpec {
  /** The name, unique in its pod. */
  readonly name: string;
  /** Whether it has a terminal. */
  readonly tty?: boolean;
  /** Whether it reads input. */
  readonly stdin?: boolean;
  /** The ports that it says it listens on. */
  readonly ports?: ReadonlyArray<
    { readonly name?: string; readonly containerPort: number; readonly protocol?: string }
  >;
}

/** A service (core/v1). */
export interface ServiceObject {
  /** Name, labels and so on. */
  readonly metadata: ObjectMeta;
  /** Which pods it stands for, and how its ports are theirs. */
  readonly spec?: {
    readonly clusterIP?: string;
    readonly ports?: readonly ServicePort[];
  };
}

/** A port of a service. */
export interface ServicePort {
  /** Its name; a service with one port may do without. */
  readonly name?: string;
  /** The service's port number. */
  readonly port: number;
  /** `TCP`, `UDP` or `SCTP`; the server always fills it in. */
  readonly protocol?: string;
  /** The pod's port, by number or by the name that a container gives it; the same as `port` without one. */
  readonly targetPort?: number | string;
}

/** A label selector (meta/v1). */
export interface LabelSelector {
  /** Labels that must have these values. */
  readonly matchLabels?: Readonly<Record<string, string>>;
  /** Further requirements. */
  readonly matchExpressions?: ReadonlyArray<
    { readonly key: string; readonly operator: string; readonly values?: readonly string[] }
  >;
}
