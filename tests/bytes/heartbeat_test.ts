/** When there is a Ping, and when the peer counts as gone: with a clock that the tests move. */
import { assertEquals } from "@std/assert";
import { Heartbeat, type PingOptions } from "../../lib/bytes/mod.ts";

/** A connection, as its heartbeat sees it. */
class Connection {
  reading = true;
  sent = 0;
  /** The `bytesSent` of each Ping. */
  readonly pings: number[] = [];
  /** For how long the peer had been silent, once it is taken for dead. */
  silence: number | undefined;
  now = 0;
  #beat = () => {};
  readonly heartbeat: Heartbeat;
  readonly #interval: number;
  #beats = 0;

  constructor(options: PingOptions) {
    this.#interval = options.interval;
    const { setInterval } = globalThis;
    try {
      globalThis.setInterval = ((beat: () => void) => {
        this.#beat = beat;
        return 0;
      }) as unknown as typeof setInterval;
      this.heartbeat = this.#at(() =>
        new Heartbeat(options, {
          isReading: () => this.reading,
          bytesSent: () => this.sent,
          lastWrite: () => 0,
          ping: (bytesSent) => this.pings.push(bytesSent),
          dead: (silence) => this.silence = silence,
        })
      );
    } finally {
      globalThis.setInterval = setInterval;
    }
  }

  /** Something arrives `after` so many milliseconds. */
  hear(after = 0): void {
    this.now += after;
    this.#at(() => this.heartbeat.heard());
  }

  /** The next beat. */
  beat(): void {
    this.now = this.#beats += this.#interval;
    this.#at(() => this.#beat());
  }

  get stalledFor(): number {
    return this.#at(() => this.heartbeat.stalledFor);
  }

  #at<T>(work: () => T): T {
    const { performance } = globalThis;
    const now = performance.now;
    performance.now = () => this.now;
    try {
      return work();
    } finally {
      performance.now = now;
    }
  }
}

const OPTIONS = { interval: 100, timeout: 1000 };

Deno.test("Heartbeat pings once an interval where the answers are all there is to hear", () => {
  const connection = new Connection(OPTIONS);
  for (let i = 0; i < 20; i++) {
    connection.beat();
    connection.hear(5);
  }
  assertEquals(connection.pings.length, 20);
  assertEquals(connection.silence, undefined);
});

Deno.test("Heartbeat does not ping while bytes come: the server may have sent its last ones and gone", () => {
  const connection = new Connection(OPTIONS);
  for (let i = 0; i < 200; i++) {
    connection.hear(10);
    if (i % 10 === 9) connection.beat();
  }
  assertEquals(connection.pings, []);
  assertEquals(connection.stalledFor < 2 * OPTIONS.interval, true, "nothing to confirm is no stall");
  connection.beat();
  connection.beat();
  assertEquals(connection.pings.length > 0, true, "it asks once there is silence");
});

Deno.test("Heartbeat does not ping, and counts no silence, while nobody reads", () => {
  const connection = new Connection(OPTIONS);
  connection.reading = false;
  for (let i = 0; i < 50; i++) connection.beat();
  assertEquals([connection.pings.length, connection.silence], [0, undefined]);
  connection.reading = true;
  for (let i = 0; i < 10; i++) connection.beat();
  assertEquals(connection.silence, 1000);
});

Deno.test("Heartbeat asks how far the peer is with what it was sent, whatever comes from it", () => {
  const connection = new Connection(OPTIONS);
  connection.sent = 100_000;
  for (let i = 0; i < 3; i++) {
    connection.hear(70);
    connection.beat();
  }
  assertEquals(connection.pings, [100_000, 100_000, 100_000]);
  assertEquals(connection.stalledFor, 300);
  connection.heartbeat.confirm(100_000);
  connection.hear(70);
  connection.beat();
  assertEquals(connection.pings.length, 3);
});
