/**
 * What a relay that runs is, whatever goes through it.
 *
 * @module
 */
import type { Address } from "./address.ts";
import type { Relay } from "./config.ts";
import type { Counters } from "./counters.ts";
import { RelayError } from "./errors.ts";
import type { TlsFiles } from "./tls_files.ts";

/** A relay that runs. */
export interface RunningRelay {
  /** Connections or flows that are open. */
  readonly open: number;
  /** Where it listens, with the port that it got; `undefined` while it does not. */
  readonly listening: Address | undefined;
  /** Whether it listens, and its socket's file is still there. */
  intact(): Promise<boolean>;
  /** Takes certificates that have changed. */
  renew(files: TlsFiles): void;
  /** Stops listening, so that the address is free; connections go on. */
  stopListening(): Promise<void>;
  /** Listens again, after {@linkcode RunningRelay.stopListening}. */
  listen(): Promise<void>;
  /** Ends its connections. */
  endSessions(): Promise<void>;
}

/** What a relay is started with. */
export interface RelayStart {
  /** The relay. */
  readonly relay: Relay;
  /** Its counters. */
  readonly counters: Counters;
  /** Its certificates and keys. */
  readonly files: TlsFiles;
  /** Told when the target cannot be reached, and, with `undefined`, when it can again. */
  readonly onTarget: (failure: Error | undefined) => void;
}

/** What `connect` resolves with; `onTarget` is told whether the target can be reached. */
export async function telling<T>(
  onTarget: RelayStart["onTarget"],
  connect: () => Promise<T>,
): Promise<T> {
  try {
    const target = await connect();
    onTarget(undefined);
    return target;
  } catch (error) {
    if (error instanceof RelayError) onTarget(error);
    throw error;
  }
}
