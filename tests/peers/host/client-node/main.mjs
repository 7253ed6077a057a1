/** client-node as a program: does to the cluster of KUBECONFIG what its first argument says, and prints what came. */
import { createConnection, createServer } from "node:net";
import { once } from "node:events";
import { PassThrough, Readable } from "node:stream";
// @ts-ignore Node runs this, with the package.json beside it; Deno has no such package.
import { Attach, CoreV1Api, Exec, KubeConfig, Log, PortForward, Watch } from "@kubernetes/client-node";

const config = new KubeConfig();
config.loadFromDefault();
const [action, pod, container, ...words] = process.argv.slice(2);
const namespace = "default";

/** A stream that collects what is written to it. */
function collector() {
  const stream = new PassThrough();
  stream.text = "";
  stream.on("data", (data) => stream.text += data);
  return stream;
}

/** Waits until `stream` has collected so many characters. */
async function until(stream, length) {
  while (stream.text.length < length) await once(stream, "data");
  return stream.text;
}

const actions = {
  async list() {
    const { items } = await config.makeApiClient(CoreV1Api).listNamespacedPod({ namespace });
    return items.map((item) => item.metadata.name);
  },
  async exec() {
    const [stdout, stderr] = [collector(), collector()];
    const stdin = words[0] === "--stdin" ? Readable.from([words.splice(0, 2)[1]]) : null;
    const status = await new Promise((resolve, reject) => {
      new Exec(config).exec(namespace, pod, container, words, stdout, stderr, stdin, false, resolve).catch(reject);
    });
    return { stdout: stdout.text, stderr: stderr.text, status: status.status, message: status.message };
  },
  async attach() {
    const stdout = collector();
    const stdin = new PassThrough();
    const socket = await new Attach(config).attach(namespace, pod, container, stdout, null, stdin, false);
    stdin.write(words[0]);
    const text = await until(stdout, words[0].length);
    socket.close();
    return text;
  },
  async forward() {
    const forward = new PortForward(config);
    const server = createServer((socket) =>
      forward.portForward(namespace, pod, [Number(container)], socket, null, socket)
    );
    await once(server.listen(0, "127.0.0.1"), "listening");
    const socket = createConnection(server.address().port, "127.0.0.1");
    const answer = collector();
    socket.pipe(answer);
    socket.write(words[0]);
    return await until(answer, words[0].length);
  },
  async log() {
    const stdout = collector();
    await new Log(config).log(namespace, pod, container, stdout, { follow: true });
    await once(stdout, "finish");
    return stdout.text;
  },
  async watch() {
    const events = [];
    const [added, deleted] = [Promise.withResolvers(), Promise.withResolvers()];
    await new Watch(config).watch(
      `/api/v1/namespaces/${namespace}/pods`,
      { timeoutSeconds: "60" },
      (type, object) => {
        if (object.metadata.name !== pod) return;
        events.push(type);
        if (type === "ADDED") added.resolve();
        if (type === "DELETED") deleted.resolve();
      },
      deleted.resolve,
    );
    await added.promise;
    await config.makeApiClient(CoreV1Api).deleteNamespacedPod({ namespace, name: pod, gracePeriodSeconds: 0 });
    await deleted.promise;
    return events;
  },
};

console.log(JSON.stringify(await actions[action]()));
process.exit(0);
