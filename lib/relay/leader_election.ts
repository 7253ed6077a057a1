/**
 * One of several candidates leads: whoever holds a Lease and renews it (client-go `tools/leaderelection`).
 *
 * @module
 */
import { messageOf, pause, PodwireError } from "../bytes/mod.ts";
import { ApiError, type KubernetesObject, type Manifest, type Resource } from "../client/mod.ts";

/** A Lease (coordination.k8s.io/v1). */
export interface LeaseObject extends KubernetesObject {
  /** Who holds it. */
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
  };
}

/** How to be a candidate. All times in milliseconds; the defaults are Kubernetes'. */
export interface LeaderElectionOptions {
  /** The Lease's name. */
  readonly name: string;
  /** Who we are; no other candidate may say the same. */
  readonly identity: string;
  /** How long others wait for a leader that has gone silent. Default 15 000; whole seconds. */
  readonly leaseDuration?: number;
  /** How long the leader tries to renew before it gives up. Default 10 000; less than the lease's duration. */
  readonly renewDeadline?: number;
  /** Between two attempts to get or renew the Lease. Default 2 000. */
  readonly retryPeriod?: number;
  /** Ends it, and hands the Lease over at once. */
  readonly signal: AbortSignal;
  /** Is told what goes on. */
  readonly log?: (line: string) => void;
}

/** Somebody else may lead now: whatever a leader does has to end. */
export class LeadershipLostError extends PodwireError {
  /** The class's name. */
  override name = "LeadershipLostError";
}

/**
 * Waits until we lead, then does `work`, whose signal aborts when we lead no more. Resolves when the options' signal has
 * aborted and the work has ended.
 *
 * Nobody's clock is trusted: a Lease has run out when we have seen it unchanged for as long as it says.
 *
 * @throws {LeadershipLostError} If the Lease could not be renewed in time, or somebody else holds it.
 * @throws What the work throws.
 */
export async function lead(
  leases: Resource<LeaseObject>,
  options: LeaderElectionOptions,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const candidate = new Candidate(leases, options);
  if (!await candidate.acquire()) return;
  const leading = new AbortController();
  const signal = AbortSignal.any([options.signal, leading.signal]);
  const working = work(signal).finally(() => leading.abort(new Ended()));
  working.catch(() => {}); // It is waited for below.
  try {
    await candidate.renew(signal);
  } catch (error) {
    leading.abort(error);
    await working.catch(() => {}); // We are why it ends.
    throw error;
  }
  await working.finally(() => candidate.release());
}

/** The work has ended by itself. */
class Ended extends Error {}

class Candidate {
  readonly #leases: Resource<LeaseObject>;
  readonly #options: Required<Omit<LeaderElectionOptions, "log">>;
  readonly #log: (line: string) => void;
  /** The Lease as it was seen last, and when that was first, as `performance.now()`. */
  #seen: { readonly lease: LeaseObject; readonly at: number } | undefined;
  /** When we last asked for the Lease and got it: for others its time may have begun then, not when we heard of it. */
  #renewed = 0;

  constructor(leases: Resource<LeaseObject>, { log, ...options }: LeaderElectionOptions) {
    this.#leases = leases;
    this.#options = { leaseDuration: 15_000, renewDeadline: 10_000, retryPeriod: 2_000, ...options };
    this.#log = log ?? (() => {});
  }

  /** Whether we lead, after a while; not if the signal has aborted. */
  async acquire(): Promise<boolean> {
    const { signal, identity, renewDeadline } = this.#options;
    let holder: string | undefined;
    while (!signal.aborted) {
      try {
        if (await this.#acquireOrRenew(renewDeadline)) {
          this.#log(`${identity} leads`);
          return true;
        }
      } catch (error) {
        if (!signal.aborted) this.#log(`the lease cannot be had: ${messageOf(error)}`);
      }
      const now = this.#seen?.lease.spec?.holderIdentity;
      if (now && now !== holder) this.#log(`${now} leads; waiting`);
      holder = now;
      await this.#pause(signal);
    }
    return false;
  }

  /** Renews until the signal aborts. */
  async renew(signal: AbortSignal): Promise<void> {
    const { identity, renewDeadline } = this.#options;
    let cause: unknown = new Error("there was no time to ask");
    for (;;) {
      await this.#pause(signal);
      if (signal.aborted) return;
      const left = this.#renewed + renewDeadline - performance.now();
      try {
        if (left > 0 && await this.#acquireOrRenew(left)) continue;
        if (left > 0) cause = new Error("somebody else wrote to the lease at the same time");
      } catch (error) {
        cause = error;
      }
      if (signal.aborted) return;
      const holder = this.#seen?.lease.spec?.holderIdentity;
      if (holder && holder !== identity) throw new LeadershipLostError(`${holder} holds the lease`);
      if (performance.now() - this.#renewed < renewDeadline) continue;
      const why = messageOf(cause);
      throw new LeadershipLostError(`the lease could not be renewed within ${renewDeadline} ms: ${why}`, { cause });
    }
  }

  /** Hands the Lease over: the next candidate need not wait. */
  async release(): Promise<void> {
    const { name, identity, retryPeriod } = this.#options;
    const limit = { signal: AbortSignal.timeout(retryPeriod) };
    try {
      for (let lease = this.#seen?.lease; lease?.spec?.holderIdentity === identity;) {
        const spec = { ...lease.spec, holderIdentity: "", leaseDurationSeconds: 1, renewTime: microTime() };
        try {
          return void await this.#leases.update(manifest(lease, spec), limit);
        } catch (error) {
          // A renewal that the end cut off may have been heard.
          if (!(error instanceof ApiError && error.code === 409)) throw error;
          lease = await this.#leases.get(name, limit);
        }
      }
    } catch (error) {
      // It runs out by itself.
      this.#log(`the lease could not be released: ${messageOf(error)}`);
    }
  }

  /** Whether we hold the Lease now. */
  async #acquireOrRenew(timeout: number): Promise<boolean> {
    const asked = performance.now();
    if (!await this.#take(timeout)) return false;
    this.#renewed = asked;
    return true;
  }

  async #take(timeout: number): Promise<boolean> {
    const { name, identity, leaseDuration } = this.#options;
    const limit = { signal: AbortSignal.any([this.#options.signal, AbortSignal.timeout(Math.ceil(timeout))]) };
    const now = microTime();
    const spec = { holderIdentity: identity, leaseDurationSeconds: Math.ceil(leaseDuration / 1000), renewTime: now };
    let lease: LeaseObject;
    try {
      lease = await this.#leases.get(name, limit);
    } catch (error) {
      if (!(error instanceof ApiError && error.code === 404)) throw error;
      const first = { metadata: { name } };
      this.#see(await this.#leases.create(manifest(first, { ...spec, acquireTime: now, leaseTransitions: 0 }), limit));
      return true;
    }
    this.#see(lease);
    const held = lease.spec ?? {};
    const ours = held.holderIdentity === identity;
    if (held.holderIdentity && !ours && !this.#hasRunOut()) return false;
    const next = ours
      ? { ...held, ...spec }
      : { ...held, ...spec, acquireTime: now, leaseTransitions: (held.leaseTransitions ?? 0) + 1 };
    try {
      // With the version that was read: if another candidate was faster, this is a conflict.
      this.#see(await this.#leases.update(manifest(lease, next), limit));
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.code === 409) return false;
      throw error;
    }
  }

  #see(lease: LeaseObject): void {
    if (this.#seen?.lease.metadata.resourceVersion === lease.metadata.resourceVersion) return;
    this.#seen = { lease, at: performance.now() };
  }

  #hasRunOut(): boolean {
    if (!this.#seen) return false;
    const { lease, at } = this.#seen;
    return performance.now() - at > (lease.spec?.leaseDurationSeconds ?? 0) * 1000;
  }

  /** client-go's jitter keeps candidates from asking all at once. */
  #pause(signal: AbortSignal): Promise<void> {
    return pause(this.#options.retryPeriod * (1 + Math.random() * 0.2), signal);
  }
}

function manifest({ metadata }: LeaseObject, spec: LeaseObject["spec"]): Manifest {
  const lease = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata, spec };
  return lease;
}

/** RFC 3339 with six digits (meta/v1 `MicroTime`). */
function microTime(): string {
  return new Date().toISOString().replace("Z", "000Z");
}
