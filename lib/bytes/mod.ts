/**
 * Bounded bytes: the two-way stream that every transport is, and the queues between the protocols; and what every room needs:
 * the base of all errors, waiting with an end, checks of what users give.
 *
 * @module
 */
export { concat } from "./concat.ts";
export type { Duplex } from "./duplex.ts";
export { checkDuration } from "./duration.ts";
export { readEnvironment } from "./environment.ts";
export { messageOf, PodwireError, systemText } from "./errors.ts";
export { hasToken } from "./has_token.ts";
export { Heartbeat, type HeartbeatTarget, type PingOptions } from "./heartbeat.ts";
export { maskPath } from "./mask_path.ts";
export { MAX_DELAY } from "./max_delay.ts";
export { oneOf } from "./one_of.ts";
export { orAbort } from "./or_abort.ts";
export { pause } from "./pause.ts";
export { ByteQueue, type ByteQueueOptions, DEFAULT_CAPACITY } from "./queue.ts";
export { duplexPair } from "./pair.ts";
export { tell } from "./tell.ts";
export { streamOf } from "./stream_of.ts";
export { toBytes } from "./to_bytes.ts";
export { Wakeup } from "./wakeup.ts";
export { readRefusal } from "./refusal.ts";
export { withDeadline } from "./with_deadline.ts";
export { within } from "./within.ts";
