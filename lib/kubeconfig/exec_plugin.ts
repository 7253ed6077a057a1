/**
 * Credentials from a program: the `exec` kind of user.
 *
 * @module
 */
import { orAbort } from "../bytes/mod.ts";
import type { ClientCertificate } from "../dial/mod.ts";
import { isPem } from "./certificate_files.ts";
import type { CredentialSource } from "./credentials.ts";
import { CredentialsError } from "./errors.ts";
import { errorCode, explain, type HostEnvironment, type RunResult } from "./host.ts";
import type { KubeconfigExec } from "./kubeconfig.ts";
import { Secret } from "./secret.ts";

/** What a plugin is told about the cluster (`spec.cluster` of an ExecCredential). */
export interface ExecCluster {
  /** The server as configured. */
  readonly server: string;
  /** Set when it is. */
  readonly "tls-server-name"?: string;
  /** Set when true. */
  readonly "insecure-skip-tls-verify"?: true;
  /** The authorities to trust, base64 of PEM. */
  readonly "certificate-authority-data"?: string;
  /** The proxy. */
  readonly "proxy-url"?: string;
  /** Set when true. */
  readonly "disable-compression"?: true;
  /** The cluster's own settings for plugins. */
  readonly config?: unknown;
}

/** The versions of `client.authentication.k8s.io` that are spoken. */
export const EXEC_API_VERSIONS: readonly string[] = [
  "client.authentication.k8s.io/v1",
  "client.authentication.k8s.io/v1beta1",
];

const NOT_INSTALLED = `

It looks like you are trying to use a client-go credential plugin that is not installed.

To learn more about this feature, consult the documentation available at:
      https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins`;

interface PluginCredentials {
  readonly token: Secret | undefined;
  readonly certificate: { readonly cert: string; readonly key: Secret } | undefined;
  readonly expires: number | undefined;
}

interface Run {
  readonly result: Promise<PluginCredentials>;
  readonly controller: AbortController;
  waiting: number;
}

/** Runs the plugin when credentials are needed, one run for all who wait, and keeps them until they expire. */
export class ExecPlugin implements CredentialSource {
  readonly #exec: KubeconfigExec;
  readonly #command: string;
  readonly #cluster: ExecCluster | undefined;
  readonly #interactive: boolean;
  readonly #host: HostEnvironment;
  #cached: PluginCredentials | undefined;
  #run: Run | undefined;

  /** Takes the plugin, its program with the path resolved, the cluster if it is to be told, and whether stdin is free. */
  constructor(
    exec: KubeconfigExec,
    options: { command: string; cluster: ExecCluster | undefined; interactive: boolean },
    host: HostEnvironment,
  ) {
    this.#exec = exec;
    this.#command = options.command;
    this.#cluster = options.cluster;
    this.#interactive = options.interactive;
    this.#host = host;
  }

  /** See {@linkcode CredentialSource}. */
  async authorization(signal?: AbortSignal): Promise<string | undefined> {
    const { token } = await this.#credentials(signal);
    return token && `Bearer ${token.reveal()}`;
  }

  /** See {@linkcode CredentialSource}. */
  async certificate(signal?: AbortSignal): Promise<ClientCertificate | undefined> {
    const { certificate } = await this.#credentials(signal);
    return certificate && { cert: certificate.cert, key: certificate.key.reveal() };
  }

  /** See {@linkcode CredentialSource}. */
  cached(): unknown {
    return this.#cached;
  }

  /** The next request runs the plugin, unless it has been run since it gave what was refused. */
  invalidate(refused?: unknown): void {
    if (refused === undefined || refused === this.#cached) this.#cached = undefined;
  }

  async #credentials(signal?: AbortSignal): Promise<PluginCredentials> {
    signal?.throwIfAborted();
    const cached = this.#cached;
    if (cached && (cached.expires === undefined || this.#host.now() <= cached.expires)) return cached;
    const run = this.#run ??= this.#start();
    run.waiting++;
    try {
      return await (signal ? orAbort(run.result, signal) : run.result);
    } finally {
      run.waiting--;
      // Nobody waits any more: the program need not go on.
      if (run.waiting === 0 && this.#run === run) {
        this.#run = undefined;
        run.controller.abort();
      }
    }
  }

  #start(): Run {
    const controller = new AbortController();
    const result = this.#ask(controller.signal).then((credentials) => this.#cached = credentials);
    const run: Run = { result, controller, waiting: 0 };
    const done = () => {
      if (this.#run === run) this.#run = undefined;
    };
    result.then(done, done);
    return run;
  }

  async #ask(signal: AbortSignal): Promise<PluginCredentials> {
    const interactive = this.#mayInteract();
    const info = {
      kind: "ExecCredential",
      apiVersion: this.#exec.apiVersion,
      spec: { ...(this.#cluster && { cluster: this.#cluster }), interactive },
    };
    const env = Object.fromEntries(this.#exec.env.map(({ name, value }) => [name, value.reveal()]));
    env["KUBERNETES_EXEC_INFO"] = JSON.stringify(info);
    let result: RunResult;
    try {
      result = await this.#host.run(this.#command, {
        args: this.#exec.args,
        env,
        stdin: interactive ? "inherit" : "null",
        signal,
      });
    } catch (error) {
      signal.throwIfAborted();
      if (errorCode(error) !== "ENOENT") throw failure(`exec: ${this.#command}: ${explain(error)}`, error);
      const hint = this.#exec.installHint ? `\n\n${withoutEscapes(this.#exec.installHint)}` : "";
      throw failure(`exec: executable ${this.#command} not found${NOT_INSTALLED}${hint}`, error);
    }
    if (result.code !== 0) throw failure(`exec: executable ${this.#command} failed with exit code ${result.code}`);
    return this.#read(result.stdout);
  }

  #mayInteract(): boolean {
    const mode = this.#exec.interactiveMode ?? "IfAvailable";
    if (mode === "Never") return false;
    const terminal = this.#host.stdinIsTerminal();
    if (mode === "Always" && !(terminal && this.#interactive)) {
      const why = terminal ? "standard input is unavailable" : "standard input is not a terminal";
      throw failure(`exec plugin cannot support interactive mode: ${why}`);
    }
    return terminal && this.#interactive;
  }

  #read(stdout: string): PluginCredentials {
    let answer: unknown;
    try {
      answer = JSON.parse(stdout);
    } catch {
      throw failure("decoding stdout: not JSON"); // The error's own text would quote the token.
    }
    const { kind, apiVersion, status } = record(answer);
    if (kind !== "ExecCredential") throw failure('decoding stdout: not an object of kind "ExecCredential"');
    if (apiVersion !== this.#exec.apiVersion) {
      const versions = `${this.#exec.apiVersion}, plugin returned version ${apiVersion}`;
      throw failure(`exec plugin is configured to use API version ${versions}`);
    }
    if (typeof status !== "object" || status === null) throw failure("exec plugin didn't return a status field");
    const fields = record(status);
    const [token, cert, key] = ["token", "clientCertificateData", "clientKeyData"].map((name) => text(fields, name));
    if (!token && !cert && !key) throw failure("exec plugin didn't return a token or cert/key pair");
    if (!cert !== !key) throw failure("exec plugin returned only certificate or key, not both");
    if (cert && key && !(isPem(cert) && isPem(key))) {
      throw failure("failed parsing client key/certificate: failed to find any PEM data");
    }
    return {
      token: token ? new Secret(token) : undefined,
      certificate: cert && key ? { cert, key: new Secret(key) } : undefined,
      expires: expiration(text(fields, "expirationTimestamp")),
    };
  }
}

/** All that goes wrong with a plugin is known by this prefix. */
function failure(text: string, cause?: unknown): CredentialsError {
  return new CredentialsError(`getting credentials: ${text}`, cause === undefined ? undefined : { cause });
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? value as Record<string, unknown> : {};
}

function text(fields: Record<string, unknown>, name: string): string {
  const value = fields[name] ?? "";
  if (typeof value !== "string") throw failure(`decoding stdout: status.${name} is not a string`);
  return value;
}

function expiration(timestamp: string): number | undefined {
  if (!timestamp) return undefined;
  const time = /^\d{4}-\d\d-\d\d[Tt]/.test(timestamp) ? Date.parse(timestamp) : NaN;
  if (Number.isNaN(time)) throw failure("decoding stdout: status.expirationTimestamp is not a time (RFC 3339)");
  return time;
}

/** A hint comes from a file: it must not move the cursor or change colors. */
function withoutEscapes(hint: string): string {
  return hint.replace(
    /[^\p{L}\p{M}\p{N}\p{P}\p{S}\p{Z}\t-\r]/gu,
    (char) => `U+${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`,
  );
}
