/**
 * The objects of an API server, played in memory: what a real one cannot be made to answer when a test wants it.
 *
 * @module
 */
import { Cluster, type Manifest } from "../../lib/client/mod.ts";
import type { ApiRequest, Transport } from "../../lib/client/mod.ts";

interface Watcher {
  readonly list: string;
  readonly controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
}

/** A server whose lists are of any resource; an object lies at `LIST/NAME`. */
export class ObjectServer {
  /** By path. */
  readonly objects = new Map<string, Manifest>();
  /** What was asked: method and path, with the query where there is one. */
  readonly requests: string[] = [];
  /** Answers a request in the server's place, if it gives a response. */
  intercept: (request: ApiRequest) => Response | undefined | Promise<Response | undefined> = () => undefined;
  readonly #watchers = new Set<Watcher>();
  #version = 100;

  /** A cluster that is this server. */
  cluster(): Cluster {
    const transport: Transport = {
      request: async (request) => {
        this.requests.push(`${request.method} ${request.path}`);
        const answer = await this.intercept(request) ?? this.#answer(request);
        request.signal?.throwIfAborted();
        return answer;
      },
      openWebSocket: () => Promise.reject(new Error("no streams here")),
      openSpdy: () => Promise.reject(new Error("no streams here")),
      close: () => {},
    };
    return new Cluster({ server: "https://cluster.test", transport });
  }

  /** How many watches are open. */
  get watches(): number {
    return this.#watchers.size;
  }

  /** Puts an object at `path`, as somebody else would. */
  put(path: string, object: Omit<Manifest, "metadata"> & { metadata?: object }): Manifest {
    const before = this.objects.get(path);
    const name = path.slice(path.lastIndexOf("/") + 1);
    const metadata = {
      uid: `uid-of-${name}`,
      ...before?.metadata,
      ...object.metadata,
      name,
      resourceVersion: String(++this.#version),
    };
    const after = { ...before, ...object, metadata } as Manifest;
    this.objects.set(path, after);
    this.emit(before ? "MODIFIED" : "ADDED", after, listOf(path));
    return after;
  }

  /** Takes an object away. */
  remove(path: string): void {
    const before = this.objects.get(path);
    this.objects.delete(path);
    if (before) {
      this.emit(
        "DELETED",
        { ...before, metadata: { ...before.metadata, resourceVersion: String(++this.#version) } },
        listOf(path),
      );
    }
  }

  /** Tells those who watch `list`. */
  emit(type: string, object: unknown, list: string): void {
    const line = new TextEncoder().encode(JSON.stringify({ type, object }) + "\n");
    for (const watcher of this.#watchers) if (watcher.list === list) watcher.controller.enqueue(line);
  }

  /** Ends all watches; with an error, as a connection breaks. */
  endWatches(error?: Error): void {
    for (const { controller } of this.#watchers) error ? controller.error(error) : controller.close();
    this.#watchers.clear();
  }

  #answer({ method, path, body, signal }: ApiRequest): Response {
    const url = new URL(path, "https://cluster.test");
    const place = url.pathname.replace(/\/status$/, "");
    const sent = body && JSON.parse(new TextDecoder().decode(body)) as Manifest;
    const there = this.objects.get(place);
    if (method === "GET" && url.searchParams.get("watch")) return this.#watch(place, signal);
    if (method === "GET" && there) return Response.json(there);
    if (method === "GET" && isList(place)) {
      const items = [...this.objects].filter(([path]) => listOf(path) === place).map(([, object]) => object);
      return Response.json({ metadata: { resourceVersion: String(this.#version) }, items });
    }
    if (method === "POST" && sent) {
      const path = `${place}/${sent.metadata.name}`;
      return this.objects.has(path) ? status(409) : Response.json(this.put(path, sent));
    }
    if (method === "PATCH" && sent) {
      const merged = merge(there, sent) as Manifest;
      const unchanged = JSON.stringify(merged) === JSON.stringify(there);
      return Response.json(unchanged ? there : this.put(place, merged));
    }
    if (!there) return status(404);
    if (method === "PUT" && sent) {
      const { resourceVersion = there.metadata.resourceVersion } = sent.metadata;
      if (resourceVersion !== there.metadata.resourceVersion) return status(409);
      const gone = Object.fromEntries(Object.keys(there).map((key) => [key, undefined]));
      return Response.json(this.put(place, { ...gone, ...sent }));
    }
    this.remove(place);
    return Response.json({});
  }

  #watch(list: string, signal: AbortSignal | undefined): Response {
    let watcher: Watcher;
    const end = () => this.#watchers.delete(watcher);
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => {
        watcher = { list, controller };
        this.#watchers.add(watcher);
        signal?.addEventListener("abort", () => {
          if (end()) controller.error(signal.reason);
        }, { once: true });
      },
      cancel: () => void end(),
    });
    return new Response(body);
  }
}

/** A refusal. */
export function status(code: number, message = `refused with ${code}`): Response {
  return Response.json({ kind: "Status", status: "Failure", message, code }, { status: code });
}

/** As a JSON merge patch has it (RFC 7396); near enough to what an apply does to fields of others. */
export function merge(before: unknown, patch: unknown): unknown {
  if (!isMapping(patch)) return patch;
  const after: Record<string, unknown> = isMapping(before) ? { ...before } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete after[key];
    else after[key] = merge(after[key], value);
  }
  return after;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function listOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

/** `/api/v1/nodes`, `/apis/GROUP/v1/namespaces/NAMESPACE/things`: not one that ends with a name. */
function isList(path: string): boolean {
  return /^\/(api|apis\/[^/]+)\/[^/]+(\/namespaces\/[^/]+)?\/[^/]+$/.test(path) && !/\/namespaces\/[^/]+$/.test(path);
}
