/**
 * Container images without a registry, as OCI archives that `ctr images import` takes (OCI image layout 1.0.0, in a POSIX
 * ustar file): the machine's busybox, and whatever a test adds to it.
 *
 * @module
 */

import { BUSYBOX } from "./machine.ts";
import { must } from "./process.ts";

const TYPES = { file: "0", link: "2", folder: "5" } as const;

/** A file of an image, without the leading slash. */
export interface Entry {
  readonly name: string;
  readonly type: keyof typeof TYPES;
  readonly mode: number;
  readonly data?: Uint8Array;
  readonly target?: string;
}

/** An image. */
export interface Image {
  /** The archive. */
  readonly path: string;
  /** The image's name with its tag. */
  readonly name: string;
  /** The files beside busybox and links to all its applets. */
  readonly files?: readonly Entry[];
  /** What it runs unless told otherwise. */
  readonly entrypoint?: readonly string[];
}

/** Writes images. */
export async function writeImages(images: readonly Image[]): Promise<void> {
  const busybox = await busyboxFiles();
  for (const image of images) await writeImage(image, tar([...busybox, ...image.files ?? []]));
}

async function writeImage({ path, name, entrypoint }: Image, layer: Uint8Array): Promise<void> {
  const layerDigest = await digest(layer);
  const config = json({
    architecture: { x86_64: "amd64", aarch64: "arm64" }[Deno.build.arch],
    os: "linux",
    config: {
      ...(entrypoint ? { Entrypoint: entrypoint } : { Cmd: ["/bin/sleep", "infinity"] }),
      Env: ["PATH=/bin"],
    },
    rootfs: { type: "layers", diff_ids: [layerDigest] },
  });
  const configDigest = await digest(config);
  const type = "application/vnd.oci.image";
  const manifest = json({
    schemaVersion: 2,
    mediaType: `${type}.manifest.v1+json`,
    config: { mediaType: `${type}.config.v1+json`, digest: configDigest, size: config.length },
    layers: [{ mediaType: `${type}.layer.v1.tar`, digest: layerDigest, size: layer.length }],
  });
  const manifestDigest = await digest(manifest);
  const index = json({
    schemaVersion: 2,
    manifests: [{
      mediaType: `${type}.manifest.v1+json`,
      digest: manifestDigest,
      size: manifest.length,
      annotations: { "io.containerd.image.name": name },
    }],
  });
  const blob = (digest: string, data: Uint8Array) => file(`blobs/${digest.replace(":", "/")}`, data);
  await Deno.writeFile(
    path,
    tar([
      file("oci-layout", json({ imageLayoutVersion: "1.0.0" })),
      file("index.json", index),
      blob(layerDigest, layer),
      blob(configDigest, config),
      blob(manifestDigest, manifest),
    ]),
  );
}

async function busyboxFiles(): Promise<Entry[]> {
  const applets = (await must([BUSYBOX, "--list"])).split("\n").filter((name) => name && name !== "busybox");
  const folders = ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"];
  return [
    ...folders.map((name): Entry => ({ name, type: "folder", mode: name === "tmp" ? 0o1777 : 0o755 })),
    { ...file("bin/busybox", await Deno.readFile(BUSYBOX)), mode: 0o755 },
    ...applets.map((name): Entry => ({ name: `bin/${name}`, type: "link", mode: 0o777, target: "busybox" })),
    file("etc/passwd", new TextEncoder().encode("root:x:0:0:root:/root:/bin/sh\n")),
    file("etc/group", new TextEncoder().encode("root:x:0:\n")),
  ];
}

/** An ordinary file. */
export function file(name: string, data: Uint8Array): Entry {
  return { name, type: "file", mode: 0o644, data };
}

function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

async function digest(data: Uint8Array): Promise<string> {
  return `sha256:${new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(data))).toHex()}`;
}

/** A ustar archive: per entry a header of 512 bytes and its data, both padded; two empty blocks at the end. */
function tar(entries: readonly Entry[]): Uint8Array {
  const padded = (size: number) => Math.ceil(size / 512) * 512;
  const total = entries.reduce((sum, { data }) => sum + 512 + padded(data?.length ?? 0), 1024);
  const archive = new Uint8Array(total);
  let at = 0;
  for (const entry of entries) {
    archive.set(header(entry), at);
    archive.set(entry.data ?? [], at + 512);
    at += 512 + padded(entry.data?.length ?? 0);
  }
  return archive;
}

function header({ name, type, mode, data, target = "" }: Entry): Uint8Array {
  const block = new Uint8Array(512);
  const put = (at: number, text: string) => block.set(new TextEncoder().encode(text), at);
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, "0");
  put(0, name);
  put(100, octal(mode, 7));
  put(108, octal(0, 7)); // uid
  put(116, octal(0, 7)); // gid
  put(124, octal(data?.length ?? 0, 11));
  put(136, octal(0, 11)); // modification time
  put(148, " ".repeat(8)); // The checksum counts itself as blanks.
  put(156, TYPES[type]);
  put(157, target);
  put(257, "ustar\0" + "00");
  put(148, `${octal(block.reduce((sum, byte) => sum + byte, 0), 6)}\0 `);
  return block;
}
