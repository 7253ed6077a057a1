/**
 * `podwire cp`: files and folders to, from and between containers.
 *
 * @module
 */
import { messageOf, orAbort } from "../bytes/mod.ts";
import {
  chooseContainer,
  type Cluster,
  ContainerFiles,
  contentOf,
  CopyError,
  type CopyEvent,
  type Pod,
  refuseCompleted,
  type SumTool,
  type TreeEntry,
  type TreeSource,
} from "../client/mod.ts";
import { defineCommand, type Invocation } from "./command.ts";
import { Ending } from "./cp_ending.ts";
import { expandGlob } from "./cp_glob.ts";
import { LocalSink } from "./cp_local_sink.ts";
import { LocalSource } from "./cp_local_source.ts";
import { Progress } from "./cp_progress.ts";
import { baseName, cleanPath, type FileSpec, joinClean, parseFileSpec } from "./cp_spec.ts";
import { UsageError } from "./flags.ts";
import { WEBSOCKET_SWITCH } from "./pod_session.ts";
import { writeAll, writeText } from "./standard_streams.ts";

/** The command (kubectl `pkg/cmd/cp`). */
export const command = defineCommand({
  name: "cp",
  description: "Copy files and directories to and from containers.\n\n" +
    "What is copied is compared with what the container has (SHA-256 where it can), and replaces what was there only " +
    "then; after a break the copy goes on where it stopped. Modes, times, links and empty directories are kept. The container " +
    "needs a shell; with tar small files go faster.",
  usage: "cp SOURCE... DESTINATION [flags], each [[NAMESPACE/]POD:]PATH; - is stdin or stdout",
  examples: [
    ["A directory into a pod of the current namespace", "podwire cp ./site web-0:/srv/site"],
    ["A file into the container 'app' of a pod elsewhere", "podwire cp ./app.conf shop/web-0:/etc/app.conf -c app"],
    ["A file from a pod", "podwire cp web-0:/var/log/app.log ./app.log"],
    ["A database dump from one pod to another", "podwire cp db-0:/backup/dump.sql staging/db-0:/restore/dump.sql"],
    ["Several files into a directory", "podwire cp a.txt b.txt web-0:/srv"],
    ["What a program writes, as a file", "pg_dump shop | podwire cp - web-0:/backup/shop.sql"],
  ],
  flags: {
    "container": {
      kind: "string",
      short: "c",
      help:
        "Container to copy to or from. By default the one that the pod's annotation kubectl.kubernetes.io/default-container " +
        "names, else its first one",
    },
    "jobs": { kind: "integer", default: "4", help: "How many bundles of small files to send at once" },
    "no-preserve": { kind: "boolean", help: "Keep neither permissions nor owners of what is copied" },
    "progress": {
      kind: "string",
      default: "auto",
      help: "How far the copy is, on stderr: bar, json, none, or auto: bars on a terminal. -v=1 tells of each file",
    },
    "retries": {
      kind: "integer",
      default: "10",
      help: "How many breaks of the connection in a row to survive: 0 none, negative any number",
    },
  },
  needsCluster: true,
  permissions: [
    "--allow-read=PATH and --allow-write=FOLDER of what is copied here",
    "--allow-run=tar for names that are no UTF-8",
    "--allow-sys=uid to keep owners, as root",
  ],
  webSocketSwitch: WEBSOCKET_SWITCH,

  async run(invocation) {
    await using cluster = await invocation.connect();
    const { words, rest = [], flags } = invocation;
    const places = [...words, ...rest];
    if (places.length < 2) throw new UsageError("source and destination are required");
    if (flags.jobs < 1) throw new UsageError(`--jobs must be at least 1, not ${flags.jobs}`);
    const specs = places.map(parseFileSpec);
    if (specs.some(({ path }) => path === "")) throw new UsageError("filepath can not be empty");
    const destination = specs.pop()!;
    if (destination.pod === undefined && specs.some(({ pod }) => pod === undefined)) {
      throw new UsageError("one of src or dest must be a remote file specification");
    }
    using progress = new Progress(flags.progress, {
      lines: invocation.verbosity > 0,
      terminal: Deno.stderr.isTerminal(),
      write: (text) => void Deno.stderr.writeSync(new TextEncoder().encode(text)),
    });
    using ending = new Ending(() => progress.note("Ending: what was staged is removed. A second signal ends at once"));
    using run = new CopyRun(cluster, invocation, progress, ending.signal);
    try {
      await run.copy(specs, destination);
    } catch (error) {
      if (ending.code !== undefined) {
        if (error !== ending.signal.reason) progress.note(messageOf(error)); // For example where the stage still lies.
      } else {
        if (!(error instanceof CopyError) || !error.code) throw error;
        progress.note(`${error.message}\ncommand terminated with exit code ${error.code}`);
        return error.code;
      }
    }
    return ending.code ?? 0;
  },
});

/** One call of the command. */
class CopyRun implements Disposable {
  readonly #cluster: Cluster;
  readonly #invocation: Pick<Invocation<typeof command.flags>, "flags" | "requestOptions" | "verbosity">;
  readonly #progress: Progress;
  readonly #signal: AbortSignal;
  readonly #open = new Map<string, Promise<ContainerFiles>>();

  constructor(
    cluster: Cluster,
    invocation: Pick<Invocation<typeof command.flags>, "flags" | "requestOptions" | "verbosity">,
    progress: Progress,
    signal: AbortSignal,
  ) {
    this.#cluster = cluster;
    this.#invocation = invocation;
    this.#progress = progress;
    this.#signal = signal;
  }

  async copy(sources: readonly FileSpec[], destination: FileSpec): Promise<void> {
    const found: FileSpec[] = [];
    for (const source of sources) {
      if (source.pod === undefined && source.path !== "-") {
        found.push(...(await localFiles(source.path)).map((path) => ({ path })));
      } else found.push(source);
    }
    if (found.length > 1 && !await this.#isFolder(destination)) {
      throw new UsageError(`${destination.path} must be a directory to copy ${found.length} files into it`);
    }
    if (this.#progress.bars && destination.path !== "-") {
      for (const source of found) this.#progress.expect(await this.#estimate(source));
    }
    for (const source of found) {
      if (destination.pod !== undefined) await this.#upload(source, destination);
      else await this.#download(source, destination, found.length > 1);
    }
  }

  async #estimate(source: FileSpec): Promise<number | undefined> {
    if (source.pod !== undefined) return await (await this.#files(source)).estimate(source.path);
    return source.path === "-" ? undefined : await new LocalSource(cleanPath(source.path)).estimate();
  }

  async #upload(source: FileSpec, destination: FileSpec): Promise<void> {
    const to = await this.#files(destination);
    let path = destination.path;
    if (source.path !== "-" && await to.isFolder(path)) path = joinClean(path, baseName(source.path));
    if (source.pod !== undefined) {
      const from = await this.#files(source);
      if (from === to && await to.isBelow(path, source.path)) {
        throw new UsageError(`cannot copy ${source.path} into itself, ${path}`);
      }
      to.agree(from);
    }
    const tree = await this.#tree(source);
    const { flags } = this.#invocation;
    await to.write(tree, cleanPath(path), {
      preserve: !flags["no-preserve"],
      ...(source.path === "-" && { keep: {} }),
      jobs: flags.jobs,
      onEvent: (event) => this.#show(event, source.path),
    });
    this.#say(to.checkedBy);
    if ("failure" in tree && tree.failure) throw tree.failure;
  }

  async #download(source: FileSpec, destination: FileSpec, several: boolean): Promise<void> {
    if (destination.path === "-" || await isDevice(destination.path)) return await this.#pour(source, destination.path);
    const from = await this.#files(source);
    const tree = from.read(source.path);
    const path = several ? joinClean(destination.path, baseName(source.path)) : destination.path;
    const sink = new LocalSink(cleanPath(path), tree, {
      preserve: !this.#invocation.flags["no-preserve"],
      signal: this.#signal,
      digest: () => from.digest(),
      onEvent: (event) => this.#show(event, source.path),
      onWarning: (text) => this.#progress.note(text),
      linkWarning: (link, target) => this.#linkWarning(source, link, target),
    });
    const problems = await sink.run();
    this.#say(from.checkedBy);
    if (tree.failure) throw tree.failure;
    if (problems.length > 0) throw new CopyError(problems.join("\n"));
  }

  /** Writes a file to standard output (`-`) or a device. */
  async #pour(source: FileSpec, path: string): Promise<void> {
    // A pipe is not open before somebody reads it, and takes no more than is read.
    using device = path === "-"
      ? undefined
      : await orAbort(Deno.open(path, { write: true }), this.#signal, (file) => file.close());
    const { pod, ...options } = await this.#place(source);
    const { readable, checkedBy } = await pod.download(source.path, options);
    for await (const chunk of readable) await orAbort(writeAll(device ?? Deno.stdout, chunk), this.#signal);
    this.#say(checkedBy);
  }

  #linkWarned = false;

  /** kubectl's words; the first time with what to do. */
  #linkWarning({ pod, namespace = "", path }: FileSpec, link: string, target: string): string {
    const [from, to] = [JSON.stringify(link), JSON.stringify(target)];
    const hint = this.#linkWarned
      ? ""
      : ` (consider using "podwire exec -n ${JSON.stringify(namespace)} ${JSON.stringify(pod)} -- tar cf - ` +
        `${JSON.stringify(path)} | tar xf -")`;
    this.#linkWarned = true;
    return `warning: skipping symlink: ${from} -> ${to}${hint}`;
  }

  async #tree(source: FileSpec): Promise<TreeSource & { readonly failure?: CopyError | undefined }> {
    if (source.pod !== undefined) return (await this.#files(source)).read(source.path);
    return source.path === "-" ? standardInput() : new LocalSource(cleanPath(source.path));
  }

  async #isFolder(spec: FileSpec): Promise<boolean> {
    if (spec.pod !== undefined) return await (await this.#files(spec)).isFolder(spec.path);
    return await Deno.stat(spec.path).then(({ isDirectory }) => isDirectory, () => false);
  }

  #pod({ pod = "", namespace = this.#cluster.namespace }: FileSpec): Pod {
    return this.#cluster.pod(pod, { namespace });
  }

  /** The shell of a container; one for all that is copied to or from it. */
  #files(spec: FileSpec): Promise<ContainerFiles> {
    const key = `${spec.namespace ?? this.#cluster.namespace}/${spec.pod}`;
    const open = this.#open.get(key) ?? this.#place(spec).then((place) => ContainerFiles.open(place));
    this.#open.set(key, open);
    return open;
  }

  async #place(spec: FileSpec) {
    const pod = this.#pod(spec);
    const { signal: timeout } = this.#invocation.requestOptions();
    const object = await pod.get({ signal: AbortSignal.any([this.#signal, ...(timeout ? [timeout] : [])]) });
    refuseCompleted(object, "exec into");
    const { container, notice } = chooseContainer(object, this.#invocation.flags.container);
    if (notice) await writeText(Deno.stderr, `${notice}\n`);
    return {
      pod,
      container: container.name,
      retries: this.#invocation.flags.retries,
      signal: this.#signal,
      onRetry: (retry: number, limit: number, error: unknown) => {
        // Nothing is lost by a break that the first attempt mends: no reason for alarm.
        if (retry === 1 && this.#invocation.verbosity === 0) return;
        const why = messageOf(error);
        this.#progress.note(`note: ${why}; resuming, retry ${retry}${limit < 0 ? "" : `/${limit}`}`);
      },
    };
  }

  #show(event: CopyEvent, root: string): void {
    this.#progress.update(event, event.path === "" ? baseName(root) : event.path);
  }

  /** Says so if a checksum was not to be had. */
  #say(checkedBy: SumTool): void {
    if (checkedBy === "wc") {
      this.#progress.note("note: only sizes were compared: the container has neither sha256sum nor cksum");
    }
  }

  [Symbol.dispose](): void {
    for (const open of this.#open.values()) open.then((files) => files.close(), () => {}); // Who opened it has heard.
  }
}

/** The files of this machine that `path` means: itself if it is there, else what it matches. */
async function localFiles(path: string): Promise<string[]> {
  try {
    await Deno.stat(path);
    return [path];
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const found = await expandGlob(path);
    if (found.length > 0) return found;
    throw new UsageError(`${path} doesn't exist in local filesystem`);
  }
}

async function isDevice(path: string): Promise<boolean> {
  const info = await Deno.stat(path).catch(() => undefined);
  return info !== undefined && !info.isFile && !info.isDirectory;
}

/** Standard input as a file. */
function standardInput(): TreeSource {
  const stream = Deno.stdin.readable;
  const entry: TreeEntry = {
    path: "",
    type: "file",
    mode: 0o644,
    mtime: Date.now() / 1000,
    uid: 0,
    gid: 0,
    size: undefined,
    content: contentOf(stream),
  };
  return { name: "standard input", entries: () => ReadableStream.from([entry]), changed: () => Promise.resolve([]) };
}
