/** One of several candidates leads, whatever the server and the candidates do. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { lead, LeadershipLostError, type LeaseObject } from "../../lib/relay/leader_election.ts";
import { FakeClock } from "../client/fake_clock.ts";
import { ObjectServer, status } from "../client/object_server.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const LEASES = "/apis/coordination.k8s.io/v1/namespaces/relays/leases";

/** A candidate that may lead. */
class Candidate {
  readonly controller = new AbortController();
  leads = false;
  error: unknown;
  readonly done: Promise<void>;

  constructor(server: ObjectServer, identity: string) {
    const leases = server.cluster().resource<LeaseObject>({
      group: "coordination.k8s.io",
      version: "v1",
      plural: "leases",
      namespace: "relays",
    });
    this.done = lead(leases, { name: "operator", identity, signal: this.controller.signal }, async (signal) => {
      this.leads = true;
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
      this.leads = false;
    }).catch((error) => {
      this.error = error;
    });
  }

  async end(): Promise<void> {
    this.controller.abort(new Error("the test is over"));
    await this.done;
  }
}

interface Scene {
  readonly server: ObjectServer;
  readonly clock: FakeClock;
  readonly candidate: (identity: string) => Candidate;
  readonly lease: () => NonNullable<LeaseObject["spec"]>;
}

async function withServer(work: (scene: Scene) => Promise<void>): Promise<void> {
  // The requests' own deadlines are real time: they are not what is tested, and far longer than a test.
  using clock = new FakeClock();
  const server = new ObjectServer();
  const candidates: Candidate[] = [];
  const candidate = (identity: string) => {
    const candidate = new Candidate(server, identity);
    candidates.push(candidate);
    return candidate;
  };
  const lease = () => (server.objects.get(`${LEASES}/operator`) as LeaseObject | undefined)?.spec ?? {};
  await work({ server, clock, candidate, lease });
  for (const candidate of candidates) await candidate.end();
}

Deno.test("lead() makes the Lease, and renews it every two seconds or a little more", async () => {
  await withServer(async ({ server, clock, candidate, lease }) => {
    const a = candidate("a");
    await clock.settle();
    assert(a.leads);
    const { holderIdentity, leaseDurationSeconds, leaseTransitions, acquireTime } = lease();
    assertEquals([holderIdentity, leaseDurationSeconds, leaseTransitions], ["a", 15, 0]);
    assert(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(acquireTime ?? ""), "it is a MicroTime");
    const before = server.requests.length;
    await clock.pass(60_000);
    const renewals = server.requests.slice(before).filter((request) => request.startsWith("PUT")).length;
    assert(renewals >= 24 && renewals <= 30, `${renewals} renewals in a minute`);
    assertEquals(lease().acquireTime, acquireTime);
  });
});

Deno.test("lead() lets only one lead, and the next at once when that one ends", async () => {
  await withServer(async ({ clock, candidate, lease }) => {
    const a = candidate("a");
    await clock.settle();
    const b = candidate("b");
    await clock.pass(60_000);
    assertEquals([a.leads, b.leads], [true, false]);
    await a.end();
    assertEquals([a.leads, a.error, lease().holderIdentity, lease().leaseDurationSeconds], [false, undefined, "", 1]);
    await clock.pass(2_400);
    assertEquals([b.leads, lease().holderIdentity, lease().leaseTransitions], [true, "b", 1]);
  });
});

Deno.test("lead() gives the Lease back though a renewal that its end cut off was heard", async () => {
  await withServer(async ({ server, clock, candidate, lease }) => {
    const a = candidate("a");
    await clock.settle();
    const path = `${LEASES}/operator`;
    const held = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", spec: { ...lease(), renewTime: "later" } };
    server.put(path, held);
    await a.end();
    assertEquals([a.error, lease().holderIdentity, lease().leaseDurationSeconds], [undefined, "", 1]);
  });
});

Deno.test("lead() waits for a silent leader's lease to run out, by its own clock", async () => {
  await withServer(async ({ server, clock, candidate, lease }) => {
    // A leader whose clock is an hour ahead, and who is killed.
    const renewTime = new Date(Date.now() + 3_600_000).toISOString().replace("Z", "000Z");
    const spec = { holderIdentity: "gone", leaseDurationSeconds: 15, renewTime, leaseTransitions: 4 };
    server.put(`${LEASES}/operator`, { apiVersion: "coordination.k8s.io/v1", kind: "Lease", ...{ spec } });
    const b = candidate("b");
    await clock.pass(14_900);
    assertEquals(b.leads, false);
    await clock.pass(2_500);
    assertEquals([b.leads, lease().leaseTransitions], [true, 5]);
  });
});

Deno.test("lead() goes on at once as the one who holds the Lease already", async () => {
  await withServer(async ({ server, clock, candidate, lease }) => {
    const spec = { holderIdentity: "a", leaseDurationSeconds: 15, leaseTransitions: 4, acquireTime: "then" };
    server.put(`${LEASES}/operator`, { apiVersion: "coordination.k8s.io/v1", kind: "Lease", ...{ spec } });
    const a = candidate("a");
    await clock.settle();
    assertEquals([a.leads, lease().leaseTransitions, lease().acquireTime], [true, 4, "then"]);
  });
});

Deno.test("lead() outlives a server that is back in time for another attempt", async () => {
  await withServer(async ({ server, clock, candidate }) => {
    const a = candidate("a");
    await clock.settle();
    server.intercept = () => status(503);
    await clock.pass(7_000);
    server.intercept = () => undefined;
    await clock.pass(60_000);
    assertEquals([a.leads, a.error], [true, undefined]);
  });
});

Deno.test("lead() ends its work and rejects when it could not renew in time", async () => {
  await withServer(async ({ server, clock, candidate }) => {
    const a = candidate("a");
    await clock.settle();
    server.intercept = () => status(503, "no quorum");
    await clock.pass(12_500);
    assertEquals(a.leads, false);
    assert(a.error instanceof LeadershipLostError, `it is ${a.error}`);
    assertStringIncludes(a.error.message, "no quorum");
  });
});

Deno.test("lead() counts its time from when it asked: an answer that came late gives it no more", async () => {
  await withServer(async ({ server, clock, candidate }) => {
    const late = Promise.withResolvers<undefined>();
    server.intercept = ({ method }) => method === "POST" ? late.promise : undefined;
    const a = candidate("a");
    await clock.pass(9_000);
    late.resolve(undefined);
    await clock.settle();
    assertEquals(a.leads, true);
    server.intercept = () => status(503);
    // The Lease may be 15 seconds old at 15 seconds; without a renewal nobody leads from 10 on.
    await clock.pass(5_000);
    assertEquals([a.leads, a.error instanceof LeadershipLostError], [false, true]);
  });
});

Deno.test("lead() goes on when its renewal met another write, and it still holds the Lease", async () => {
  await withServer(async ({ server, clock, candidate, lease }) => {
    const a = candidate("a");
    await clock.settle();
    let conflicts = 0;
    server.intercept = ({ method }) => method === "PUT" && conflicts++ === 0 ? status(409) : undefined;
    await clock.pass(20_000);
    assertEquals([a.leads, a.error, lease().holderIdentity], [true, undefined, "a"]);
    assert(conflicts > 1, "it met one");
  });
});

Deno.test("lead() rejects when another one has taken the Lease", async () => {
  await withServer(async ({ server, clock, candidate, lease }) => {
    const a = candidate("a");
    await clock.settle();
    server.put(`${LEASES}/operator`, {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      ...{ spec: { ...lease(), holderIdentity: "thief" } },
    });
    await clock.pass(2_400); // Until its next look.
    assertEquals([a.leads, a.error instanceof LeadershipLostError], [false, true]);
    assertEquals((a.error as Error).message, "thief holds the lease");
    assertEquals(lease().holderIdentity, "thief");
  });
});

Deno.test("lead() gives the Lease back when its work ends or fails", async () => {
  await withServer(async ({ server, clock, lease }) => {
    const leases = server.cluster().resource<LeaseObject>({
      group: "coordination.k8s.io",
      version: "v1",
      plural: "leases",
      namespace: "relays",
    });
    const { signal } = new AbortController();
    const options = { name: "operator", identity: "a", signal };
    await lead(leases, options, () => Promise.resolve());
    assertEquals(lease().holderIdentity, "");
    await assertRejects(() => lead(leases, options, () => Promise.reject(new Error("broken"))), Error, "broken");
    assertEquals(lease().holderIdentity, "");
    await clock.settle();
  });
});
