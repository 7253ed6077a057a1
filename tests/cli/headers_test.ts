// KEP-859, "kubectl-commands-in-headers": its examples as they stand, with the flags of the commands that they call.
import { assert, assertEquals } from "@std/assert";
import { type FlagDefinitions, parseArguments } from "../../lib/cli/flags.ts";
import { commandHeaders, commandHeadersEnabled } from "../../lib/cli/headers.ts";

const OUTPUTS = [
  "json",
  "yaml",
  "wide",
  "name",
  "custom-columns",
  "custom-columns-file",
  "go-template",
  "go-template-file",
  "jsonpath",
  "jsonpath-file",
];

/** The flags of the commands in the KEP, which podwire lacks. */
const KUBECTL_FLAGS = {
  "context": { kind: "string", help: "" },
  "dry-run": { kind: "boolean", help: "" },
  "filename": { kind: "list", short: "f", help: "", reported: "filename" },
  "image": { kind: "string", help: "" },
  "output": { kind: "string", short: "o", help: "", reported: OUTPUTS },
  "patch": { kind: "string", short: "p", help: "" },
  "recursive": { kind: "boolean", short: "R", help: "" },
  "type": { kind: "string", help: "", reported: ["json", "merge", "strategic"] },
} as const satisfies FlagDefinitions;

const SESSION = "67b540bf-d219-4868-abd8-b08c77fefeca";

function headersOf(path: string[], args: string[], more: { deprecated?: true | string; build?: string } = {}) {
  const { given } = parseArguments(args, KUBECTL_FLAGS, "kubectl");
  return Object.fromEntries(commandHeaders({ program: "kubectl", path, given, session: SESSION, ...more }));
}

Deno.test("commandHeaders() of `kubectl apply -f - -o yaml` are the KEP's", () => {
  const headers = headersOf(["apply"], ["-f", "-", "-o", "yaml"]);
  assertEquals(headers["X-Kubectl-Command"], "apply");
  assertEquals(headers["X-Kubectl-Flags"], "-f=stdin,-o=yaml");
  assertEquals(headers["X-Kubectl-Session"], SESSION);
  assertEquals("X-Kubectl-Deprecated" in headers, false);
  assertEquals("X-Kubectl-Build" in headers, false);
});

Deno.test("commandHeaders() of `kubectl apply -f ./local/file -o=custom-columns=NAME:.metadata.name` are the KEP's", () => {
  const headers = headersOf(["apply"], ["-f", "./local/file", "-o=custom-columns=NAME:.metadata.name"]);
  assertEquals(headers["X-Kubectl-Command"], "apply");
  assertEquals(headers["X-Kubectl-Flags"], "-f=local,-o=custom-columns");
});

Deno.test("commandHeaders() of `kubectl patch pod valid-pod --type='json' -p='[…]'` are the KEP's", () => {
  const patch = '-p=[{"op": "replace", "path": "/spec/containers/0/image", "value":"new\nimage"}]';
  const headers = headersOf(["patch"], ["pod", "valid-pod", "--type=json", patch]);
  assertEquals(headers["X-Kubectl-Command"], "patch");
  assertEquals(headers["X-Kubectl-Flags"], "--type=json,-p");
});

Deno.test("commandHeaders() of `kubectl run nginx --image nginx` are the KEP's", () => {
  const headers = headersOf(["run"], ["nginx", "--image", "nginx"], { deprecated: true });
  assertEquals(headers["X-Kubectl-Command"], "run");
  assertEquals(headers["X-Kubectl-Flags"], "--image");
  assertEquals(headers["X-Kubectl-Deprecated"], "true");
});

Deno.test("commandHeaders() lists flags as the KEP's lists do", () => {
  const flags = (...args: string[]) => headersOf(["apply"], args)["X-Kubectl-Flags"];
  assertEquals(flags("-R", "-f", "a", "-f", "https://example.com/b", "-f", "c"), "-f=local,-f=local,-f=remote,-R");
  assertEquals(flags("-f", "-"), "-f=stdin");
  assertEquals(flags("-o=custom-columns", "--dry-run"), "--dry-run,-o=custom-columns");
  // The KEP's first list (--filename=local,--recursive,--context) is not sorted as the KEP wants it.
  assertEquals(flags("--filename", "a", "--recursive", "--context=x"), "--context,--filename=local,--recursive");
});

Deno.test("commandHeaders() names sub-commands by their path, a removal by its release, a build by its name", () => {
  const headers = headersOf(["create", "secret", "tls"], [], { deprecated: "v1.16", build: "some-value" });
  assertEquals(headers, {
    "X-Kubectl-Command": "create secret tls",
    "X-Kubectl-Session": SESSION,
    "X-Kubectl-Deprecated": "v1.16",
    "X-Kubectl-Build": "some-value",
    "Kubectl-Command": "kubectl create secret tls",
    "Kubectl-Session": SESSION,
  });
});

Deno.test("commandHeaders() never hold a flag's value or an argument, whatever the command line", async () => {
  const { COMMANDS } = await import("../../lib/cli/commands.ts");
  const { GLOBAL_FLAGS } = await import("../../lib/cli/global_flags.ts");
  const secret = "SeCrEt-6e1f";
  for (const { name, load } of COMMANDS) {
    const flags: FlagDefinitions = { ...(await load()).flags, ...GLOBAL_FLAGS };
    const args = Object.entries(flags).flatMap(([name, { kind, short }]) => {
      if (kind === "boolean") return [`--${name}`];
      const value = kind === "string" || kind === "list" ? secret : kind === "integer" ? "424242" : "424242s";
      return short ? [`--${name}=${value}`, `-${short}`, value] : [`--${name}`, value];
    });
    const { given } = parseArguments([...args, secret, "--", secret], flags, `podwire ${name}`);
    assert(given.length > 20);
    const text = commandHeaders({ program: "podwire", path: [name], given, session: SESSION }).join("\n");
    for (const value of [secret, "424242"]) assertEquals(text.includes(value), false, `${name}: ${text}`);
  }
});

Deno.test("commandHeadersEnabled() obeys kubectl's switch", () => {
  assertEquals(["false", "False", "0"].map(commandHeadersEnabled), [false, false, false]);
  assertEquals([undefined, "", "true", "1", "no"].map(commandHeadersEnabled), [true, true, true, true, true]);
});
