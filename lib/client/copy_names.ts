/**
 * File names as a container has them: any bytes but NUL, in no encoding that one could rely on.
 *
 * Inside of a copy a name is a *byte string*: one UTF-16 unit a byte. It compares, splits and joins as any string, and
 * loses nothing on the way from one container to another.
 *
 * @module
 */

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** ASCII is the same in UTF-8: most names take the short way. */
// deno-lint-ignore no-control-regex -- All of ASCII is meant.
const ASCII = /^[\x00-\x7f]*$/;

/** The bytes of a byte string. */
export function bytesOf(name: string): Uint8Array<ArrayBuffer> {
  if (ASCII.test(name)) return encoder.encode(name);
  const bytes = new Uint8Array(name.length);
  for (let i = 0; i < name.length; i++) bytes[i] = name.charCodeAt(i);
  return bytes;
}

/** `bytes` as a byte string. */
export function byteString(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    // Not spread, which takes the bytes one by one; `apply` takes any array, whatever its type says.
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + 8192) as unknown as number[]);
  }
  return text;
}

/** Text as a byte string: its UTF-8. */
export function fromText(text: string): string {
  return ASCII.test(text) ? text : byteString(encoder.encode(text));
}

/** A byte string as text; `undefined` if it is no UTF-8. */
export function toText(name: string): string | undefined {
  if (ASCII.test(name)) return name;
  try {
    return utf8.decode(bytesOf(name));
  } catch {
    return undefined;
  }
}

/** A byte string for a person to read. */
export function showName(name: string): string {
  return toText(name) ??
    name.replaceAll(/[^\x20-\x7e]/g, (unit) => `\\x${unit.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/** A byte string as one word of a POSIX shell. */
export function quote(name: string): string {
  return `'${name.replaceAll("'", `'\\''`)}'`;
}

/** A path that no program takes for a flag. */
export function plainPath(path: string): string {
  return path.startsWith("-") ? `./${path}` : path;
}

/** The folder that a path is in: `.` for a bare name, as dirname(1). */
export function folderOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, slash) || "/";
}

/** The last part of a path. */
export function baseOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** A name inside of a folder. */
export function joinPath(folder: string, name: string): string {
  if (name === "" || name === ".") return folder;
  return folder.endsWith("/") ? folder + name : `${folder}/${name}`;
}
