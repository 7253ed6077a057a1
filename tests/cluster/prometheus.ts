/**
 * Prometheus (Debian's package), scraping inside the cluster's network.
 *
 * @module
 */
import type { Ground } from "./ground.ts";
import { until } from "./process.ts";

/** What Prometheus knows of a series at the moment: its labels, and the value as text. */
export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [time: number, value: string];
}

/** A Prometheus that runs. */
export class Prometheus implements AsyncDisposable {
  readonly #cluster: Ground;
  readonly #child: Deno.ChildProcess;
  readonly #folder: string;
  readonly #log: Promise<void>;
  #address = "";

  private constructor(cluster: Ground, child: Deno.ChildProcess, folder: string) {
    this.#cluster = cluster;
    this.#child = child;
    this.#folder = folder;
    this.#log = this.#read();
  }

  /** Starts it with these `scrape_configs`. */
  static async start(cluster: Ground, scrapeConfigs: readonly unknown[]): Promise<Prometheus> {
    const folder = await Deno.makeTempDir({ prefix: "podwire-prometheus-" });
    const config = { global: { scrape_interval: "1s", scrape_timeout: "1s" }, scrape_configs: scrapeConfigs };
    await Deno.writeTextFile(`${folder}/prometheus.yml`, JSON.stringify(config));
    const [enter = "", ...inside] = cluster.enter;
    const child = new Deno.Command(enter, {
      args: [
        ...inside,
        "prometheus",
        `--config.file=${folder}/prometheus.yml`,
        `--storage.tsdb.path=${folder}/data`,
        "--web.listen-address=127.0.0.1:0",
      ],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const prometheus = new Prometheus(cluster, child, folder);
    await until("Prometheus to listen", 20_000, () => Promise.resolve(prometheus.#address || undefined));
    return prometheus;
  }

  /** What a query gives at the moment. */
  async query(query: string): Promise<Sample[]> {
    const address = `http://${this.#address}/api/v1/query`;
    const { stdout } = await this.#cluster.run(["curl", "-s", "--get", "--data-urlencode", `query=${query}`, address]);
    return JSON.parse(stdout).data.result;
  }

  /** Waits until a query gives so many series. */
  async series(query: string, count: number): Promise<Sample[]> {
    return await until(`${count} series of ${query}`, 20_000, async () => {
      const samples = await this.query(query);
      return samples.length === count ? samples : undefined;
    });
  }

  async #read(): Promise<void> {
    let text = "";
    for await (const part of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      text = (text + part).slice(-16_384);
      this.#address ||= /msg="Listening on" address=(\S+)/.exec(text)?.[1] ?? "";
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#child.status;
    await this.#log;
    await Deno.remove(this.#folder, { recursive: true });
  }
}
