/** What holds the house together: the rooms' order, the two configurations, the version. */
import { assert, assertEquals } from "@std/assert";
import { denoFlags, ROOT } from "./offline/flags.ts";
import { VERSION } from "../lib/client/version.ts";

/** Lowest first: a room imports only from rooms before it. */
const ROOMS = [
  "bytes",
  "websocket",
  "spdy",
  "channels",
  "dial",
  "kubeconfig",
  "client",
  "server",
  "relay",
  "cli",
] as const;

interface Source {
  readonly path: string;
  readonly text: string;
  readonly imports: readonly string[];
}

async function* sources(folder: URL): AsyncGenerator<Source> {
  for await (const entry of Deno.readDir(folder)) {
    const url = new URL(entry.name, folder);
    if (entry.isDirectory) yield* sources(new URL(`${entry.name}/`, folder));
    else if (entry.name.endsWith(".ts")) {
      const text = await Deno.readTextFile(url);
      const imports = [...text.matchAll(/^\s*(?!\*).*?(?:\bfrom|\bimport\()\s*"([^"]+)"/gm)].map((match) => match[1]!);
      yield { path: url.pathname.slice(ROOT.pathname.length), text, imports };
    }
  }
}

Deno.test("the rooms are the folders of lib", async () => {
  const folders = await Array.fromAsync(Deno.readDir(new URL("lib/", ROOT)), ({ name }) => name);
  assertEquals(folders.sort(), [...ROOMS].sort());
});

Deno.test("a room imports only from rooms above it, and only their mod.ts", async () => {
  let seen = 0;
  for await (const { path, imports } of sources(new URL("lib/", ROOT))) {
    const room = path.split("/")[1]!;
    const rank = ROOMS.findIndex((name) => name === room);
    assert(rank >= 0, `${path} is in no room`);
    for (const specifier of imports.filter((specifier) => specifier.startsWith("."))) {
      const target = new URL(specifier, new URL(path, ROOT)).pathname.slice(ROOT.pathname.length);
      const [, targetRoom = "", ...inside] = target.split("/");
      if (targetRoom === room) continue;
      const targetRank = ROOMS.findIndex((name) => name === targetRoom);
      assert(targetRank >= 0 && targetRank < rank, `${path} imports ${specifier}`);
      // A part of a room that others need without the rest is a folder in there, with a mod.ts of its own.
      assert(/^(?:\w+\/)?mod\.ts$/.test(inside.join("/")), `${path} reaches into ${targetRoom}: ${specifier}`);
      seen++;
    }
  }
  assert(seen > 20, `only ${seen} imports between rooms were found: is the pattern still right?`);
});

Deno.test("mod.ts reaches no Deno. and no node: while it is loaded", async () => {
  const { modules } = await graph("mod.ts");
  const own = modules.filter(({ specifier }) => specifier.startsWith(ROOT.href));
  assert(own.length > 20, `only ${own.length} modules`);
  for (const { specifier, dependencies = [] } of own) {
    // A bundle puts the modules that are loaded later into the same file, their imports at its top.
    for (const { code, isDynamic } of dependencies) {
      assert(!code?.specifier.startsWith("node:") || isDynamic, `${specifier} imports ${code?.specifier}`);
    }
    const text = await Deno.readTextFile(new URL(specifier));
    const early = /^(?:export )?(?:const|let|var) .*\b(?:Deno\.|process\.)/m.exec(text);
    assertEquals(early?.[0], undefined, `${specifier} uses the runtime while it is loaded`);
  }
});

Deno.test("mod.ts loads no YAML reader, no inflater and no copying before somebody uses them", async () => {
  const { roots, redirects, modules } = await graph("mod.ts");
  const known = new Map(modules.map((module) => [module.specifier, module]));
  const loaded = new Set(roots);
  for (const specifier of loaded) {
    for (const { code, isDynamic } of known.get(specifier)?.dependencies ?? []) {
      if (code && !isDynamic) loaded.add(redirects[code.specifier] ?? code.specifier);
    }
  }
  assert(loaded.size > 20, `only ${loaded.size} modules`);
  const late = /^npm:|\/lib\/(?:kubeconfig\/yaml|spdy)\/|\/copy_(?!error\b)/;
  assertEquals([...loaded].filter((specifier) => late.test(specifier)), []);
});

Deno.test("mod.ts exports every error of the client's, to be told from others by instanceof", async () => {
  const errors: string[] = [];
  for await (const { text } of sources(new URL("lib/client/", ROOT))) {
    errors.push(...[...text.matchAll(/^export class (\w+Error)\b/gm)].map((match) => match[1]!));
  }
  assert(errors.includes("ApiError") && errors.includes("UdpForwardError"), `only ${errors}`);
  const exported = Object.keys(await import("../mod.ts"));
  assertEquals(errors.filter((name) => !exported.includes(name)), []);
});

/** The modules that `entry` reaches, as `deno info` tells them. */
async function graph(entry: string): Promise<Graph> {
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", ...await denoFlags(), "--json", entry],
    cwd: ROOT,
    stderr: "inherit",
  }).output();
  assertEquals(code, 0);
  return JSON.parse(new TextDecoder().decode(stdout));
}

interface Graph {
  readonly roots: string[];
  readonly redirects: Record<string, string>;
  readonly modules: Array<{ readonly specifier: string; readonly dependencies?: Dependency[] }>;
}

interface Dependency {
  /** Missing for a type-only import. */
  readonly code?: { readonly specifier: string };
  readonly isDynamic?: boolean;
}

Deno.test("deno.offline.json is deno.json without tasks and with links to the stand-ins", async () => {
  const online = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  const offline = JSON.parse(await Deno.readTextFile(new URL("deno.offline.json", ROOT)));
  assert(offline.links.length > 0);
  // What the package imports has to be published with it, or the dry run fails.
  online.publish.exclude.push("!tests/offline/encoding/");
  const { tasks: _, ...settings } = online;
  assertEquals(offline, { ...settings, links: offline.links });
});

Deno.test("VERSION is the version of deno.json", async () => {
  assertEquals(VERSION, JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT))).version);
});
