/**
 * Checksums that both ends of a copy can make.
 *
 * @module
 */

/** The program in the container, best first: SHA-256; a CRC with the size (POSIX `cksum`); the size alone. */
export type SumTool = "sha256sum" | "cksum" | "wc";

/** A checksum in the making. */
export interface Digest {
  /** Takes more bytes. */
  update(data: Uint8Array): void;
  /** The checksum of what has come so far, as the program prints it. */
  peek(): string;
  /** The checksum of all of them; ends the digest. */
  finish(): string;
}

/** Which checksums this runtime can make of a stream; each makes a new digest. */
export interface Digests {
  /** SHA-256; missing in a browser, which hashes nothing that is not in memory as a whole. */
  readonly sha256sum?: () => Digest;
  /** The CRC of POSIX. */
  readonly cksum: () => Digest;
  /** Nothing but the size. */
  readonly wc: () => Digest;
}

/** Loads what there is. */
export async function loadDigests(): Promise<Digests> {
  const plain = { cksum: () => new Crc(), wc: () => new Size() };
  try {
    const { createHash } = await import("node:crypto");
    const sha256sum = () => {
      const hash = createHash("sha256");
      return {
        update: (data: Uint8Array) => void hash.update(data),
        peek: () => hash.copy().digest("hex"),
        finish: () => hash.digest("hex"),
      };
    };
    return { ...plain, sha256sum };
  } catch {
    return plain; // A browser.
  }
}

class Size implements Digest {
  #size = 0;

  update(data: Uint8Array): void {
    this.#size += data.length;
  }

  peek(): string {
    return String(this.#size);
  }

  finish(): string {
    return this.peek();
  }
}

/** The CRC of POSIX `cksum`: polynomial 0x04C11DB7, high bit first, the size behind the data, inverted. */
class Crc implements Digest {
  #crc = 0;
  #size = 0;

  update(data: Uint8Array): void {
    const table = crcTable();
    let crc = this.#crc;
    for (let i = 0; i < data.length; i++) crc = (crc << 8) ^ table[(crc >>> 24) ^ data[i]!]!;
    this.#crc = crc;
    this.#size += data.length;
  }

  peek(): string {
    const [crc, size] = [this.#crc, this.#size];
    const length: number[] = [];
    for (let rest = size; rest > 0; rest = Math.floor(rest / 256)) length.push(rest % 256);
    this.update(Uint8Array.from(length));
    const sum = `${~this.#crc >>> 0} ${size}`;
    [this.#crc, this.#size] = [crc, size];
    return sum;
  }

  finish(): string {
    return this.peek();
  }
}

let madeTable: Int32Array | undefined;

function crcTable(): Int32Array {
  if (madeTable) return madeTable;
  const table = new Int32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte << 24;
    for (let bit = 0; bit < 8; bit++) crc = crc < 0 ? (crc << 1) ^ 0x04C11DB7 : crc << 1;
    table[byte] = crc;
  }
  return madeTable = table;
}
