/**
 * What the machine must have, and the Debian package that has it.
 *
 * @module
 */

import { GroundError } from "./errors.ts";
import { must } from "./process.ts";

/** The busybox that images are made of. */
export const BUSYBOX = "/bin/busybox";

/** Where Debian keeps the CNI plugins. */
export const CNI_PLUGINS = "/usr/lib/cni";

const GO_AT_LEAST = [1, 26] as const;

const TO_RUN: readonly (readonly [program: string, debianPackage: string])[] = [
  ["runc", "runc"],
  ["ip", "iproute2"],
  ["iptables", "iptables"],
  ["nsenter", "util-linux"],
  ["unshare", "util-linux"],
  ["mount", "mount"],
  ["umount", "mount"],
  ["openssl", "openssl"],
  [`${CNI_PLUGINS}/bridge`, "containernetworking-plugins"],
  [`${CNI_PLUGINS}/host-local`, "containernetworking-plugins"],
];

/** Throws with everything at once that the machine lacks to build (`go`) and to run the cluster. */
export async function requireMachine(purpose: "build" | "run"): Promise<void> {
  const missing = purpose === "build" ? await goProblem() : await runProblems();
  if (missing.length === 0) return;
  throw new GroundError(
    ["The machine lacks what the test cluster needs:", ...missing.map((one) => `  ${one}`)].join("\n"),
  );
}

async function goProblem(): Promise<string[]> {
  const needed = `go ${GO_AT_LEAST.join(".")} or newer (Debian package golang-go, or https://go.dev/dl)`;
  if (!(await isProgram("go"))) return [needed];
  const version = (await must(["go", "env", "GOVERSION"])).trim();
  const [major = 0, minor = 0] = version.replace(/^go/, "").split(".").map((part) => parseInt(part));
  const enough = major > GO_AT_LEAST[0] || (major === GO_AT_LEAST[0] && minor >= GO_AT_LEAST[1]);
  return enough ? [] : [`${needed}; there is ${version}`];
}

async function runProblems(): Promise<string[]> {
  const problems: string[] = [];
  if (Deno.build.os !== "linux") problems.push(`Linux; this is ${Deno.build.os}`);
  else if (Deno.uid() !== 0) problems.push("root, for namespaces and containers");
  for (const [program, debianPackage] of TO_RUN) {
    if (!(await isProgram(program))) problems.push(`${program} (Debian package ${debianPackage})`);
  }
  if (!(await isStatic(BUSYBOX))) problems.push(`${BUSYBOX}, statically linked (Debian package busybox-static)`);
  return problems;
}

async function isProgram(name: string): Promise<boolean> {
  const folders = name.startsWith("/") ? [""] : (Deno.env.get("PATH") ?? "").split(":").map((folder) => `${folder}/`);
  for (const folder of folders) {
    try {
      const info = await Deno.stat(`${folder}${name}`);
      if (info.isFile && (info.mode ?? 0) & 0o111) return true;
    } catch {
      // Not in this folder.
    }
  }
  return false;
}

/** Whether a file is a 64-bit ELF program that asks for no interpreter (System V ABI, program header type PT_INTERP). */
async function isStatic(path: string): Promise<boolean> {
  const PT_INTERP = 3;
  let bytes: Uint8Array;
  try {
    bytes = await Deno.readFile(path);
  } catch {
    return false; // No such file: not a static program either.
  }
  const view = new DataView(bytes.buffer);
  if (bytes.length < 64 || view.getUint32(0) !== 0x7f454c46) return false;
  const [offset, size, count] = [
    Number(view.getBigUint64(32, true)),
    view.getUint16(54, true),
    view.getUint16(56, true),
  ];
  for (let i = 0; i < count; i++) {
    if (view.getUint32(offset + i * size, true) === PT_INTERP) return false;
  }
  return true;
}
