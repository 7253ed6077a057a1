/** podwire in a page of Debian's headless Chromium, against the embedded host of another origin. */
import { assertEquals } from "@std/assert";
import { serveHost } from "../../../lib/server/mod.ts";
import { bundle } from "./_bundle.ts";

const CHROMIUM = Deno.env.get("CHROMIUM") ?? "/usr/bin/chromium";

/** SHA-256 of 1 MiB of zeros, as sha256sum prints it. */
const SUM = "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58  -\n";

async function visit(
  query: (server: URL, token: string, path: string) => URLSearchParams,
): Promise<Record<string, unknown>> {
  const script = await bundle();
  const page = await Deno.readTextFile(new URL("page.html", import.meta.url));
  const { promise: result, resolve } = Promise.withResolvers<Record<string, unknown>>();
  await using web = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/podwire.js") return new Response(script, { headers: { "content-type": "text/javascript" } });
    if (pathname === "/") return new Response(page, { headers: { "content-type": "text/html" } });
    if (pathname !== "/result") return new Response("not found", { status: 404 });
    resolve(await request.json());
    return new Response();
  });
  const origin = `http://127.0.0.1:${web.addr.port}`;
  await using host = await serveHost({ listen: { port: 0 }, allowOrigins: [origin] });
  const server = new URL("/", host.url); // Without the path that stands for the token: a page sends it as a token.
  const files = await Deno.makeTempDir({ prefix: "podwire-page-" });
  const profile = await Deno.makeTempDir({ prefix: "podwire-chromium-" });
  const chromium = new Deno.Command(CHROMIUM, {
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      `--user-data-dir=${profile}`,
      "--remote-debugging-port=0", // Keeps it running after the page has loaded.
      `${origin}/?${query(server, host.token ?? "", `${files}/file`)}`,
    ],
    stdout: "null",
    stderr: "null",
  }).spawn();
  const deadline = Promise.withResolvers<never>();
  const timer = setTimeout(() => deadline.reject(new Error("the page said nothing within 60 s")), 60_000);
  try {
    return await Promise.race([result, deadline.promise]);
  } finally {
    clearTimeout(timer);
    chromium.kill("SIGKILL");
    await chromium.status;
    await removeWhenLeft(profile);
    await Deno.remove(files, { recursive: true });
  }
}

/** Chromium's children may still write to the profile for a moment after it was killed. */
async function removeWhenLeft(folder: string): Promise<void> {
  for (let attempt = 1;; attempt++) {
    try {
      return await Deno.remove(folder, { recursive: true });
    } catch (error) {
      if (attempt === 50) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

for (const plain of [false, true]) {
  const name = plain ? "WebSocket" : "WebSocketStream";
  Deno.test(`exec and copies run in a page over the platform's ${name}`, async () => {
    const results = await visit((server, token, path) =>
      new URLSearchParams({ server: server.href, token, path, ...(plain && { plain: "1" }) })
    );
    assertEquals(results.error, undefined);
    assertEquals(results, {
      webSocketStream: !plain,
      code: 7,
      stdout: "out\n",
      stderr: "err\n",
      sum: SUM,
      status: { success: true, code: 0 },
      protocol: "v5.channel.k8s.io",
      podName: "demo",
      failure: "RemoteCommandError",
      // A page hashes nothing that is not in memory as a whole.
      uploaded: [{ size: 6_000_000, checkedBy: "cksum" }, { size: 5, checkedBy: "cksum" }],
      downloaded: { size: 6_000_000, mode: 0o644, checkedBy: "cksum", same: true },
      small: "small",
      archive: "small",
      refusal: "UpgradeError",
    });
  });
}
