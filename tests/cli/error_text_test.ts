// The texts are kubectl's (pkg/cmd/util/helpers.go); most were seen on a terminal.
import { assertEquals } from "@std/assert";
import { RemoteCommandError, type Status } from "../../lib/channels/mod.ts";
import { ApiError, TargetError, UpgradeError } from "../../lib/client/mod.ts";
import { DialError } from "../../lib/dial/mod.ts";
import { ConfigError } from "../../lib/kubeconfig/mod.ts";
import { errorText } from "../../lib/cli/error_text.ts";

const failure = (code: number, rest: Omit<Status, "kind" | "status">) =>
  new ApiError(code, { kind: "Status", status: "Failure", ...rest });

Deno.test("errorText() says what the server said", () => {
  const cases: Array<[ApiError, string]> = [
    [
      failure(404, { reason: "NotFound", message: 'pods "x" not found' }),
      'Error from server (NotFound): pods "x" not found',
    ],
    [failure(500, { message: "no reason" }), "Error from server: no reason"],
    [
      failure(401, { reason: "Unauthorized", message: "Unauthorized" }),
      "error: You must be logged in to the server (Unauthorized)",
    ],
    [
      failure(422, {
        reason: "Invalid",
        details: {
          kind: "Pod",
          name: "x",
          causes: [{ field: "a", message: "b" }, { field: "c", message: "d" }, { field: "a", message: "b" }],
        },
      }),
      'The Pod "x" is invalid: \n* a: b\n* c: d',
    ],
    [
      failure(422, { reason: "Invalid", details: { kind: "Pod", name: "x", causes: [{ field: "a", message: "b" }] } }),
      'The Pod "x" is invalid: a: b',
    ],
    [failure(422, { reason: "Invalid", message: "bad" }), "The request is invalid: bad"],
  ];
  for (const [error, text] of cases) assertEquals(errorText(error), text);
});

Deno.test("errorText() has kubectl's words for an answer that is no Status", () => {
  const error = (code: number, message: string) => new ApiError(code, { status: "Failure", message, code });
  assertEquals(
    errorText(error(404, "404 page not found")),
    "Error from server (NotFound): the server could not find the requested resource",
  );
  assertEquals(
    errorText(error(401, "Unauthorized")),
    "error: You must be logged in to the server (the server has asked for the client to provide credentials)",
  );
  assertEquals(errorText(error(403, "not you")), "Error from server (Forbidden): not you");
  assertEquals(errorText(error(418, "teapot")), "Error from server: teapot");
});

Deno.test("errorText() tells a refused connection from other ones", () => {
  const server = new URL("https://10.0.0.1:6443/prefix");
  const refused = (hop: "tcp" | "proxy") =>
    new DialError("refused", { hop, address: "10.0.0.1:6443", code: "ECONNREFUSED" });
  assertEquals(
    errorText(refused("tcp"), server),
    "The connection to the server 10.0.0.1:6443 was refused - did you specify the right host or port?",
  );
  assertEquals(errorText(refused("proxy"), server), "Unable to connect to the server: refused");
  assertEquals(
    errorText(new DialError("no such host", { hop: "dns", address: "x:443" })),
    "Unable to connect to the server: no such host",
  );
});

Deno.test("errorText() puts `error: ` before everything else", () => {
  const refusal = {
    code: 500,
    statusText: "Internal Server Error",
    body: "container not found",
    resource: "pods/exec",
    wire: "websocket",
  } as const;
  assertEquals(errorText(new UpgradeError(refusal)), "error: unable to upgrade connection: container not found");
  assertEquals(errorText(new TargetError("no pod")), "error: no pod");
  assertEquals(
    errorText(new RemoteCommandError({ status: "Failure", message: "Internal error occurred: x" })),
    "error: Internal error occurred: x",
  );
  assertEquals(errorText("thrown text"), "error: thrown text");
});

Deno.test("errorText() names a file once, and no call of Deno's", async () => {
  const folder = await Deno.makeTempDir({ prefix: "podwire-error-" });
  try {
    const said = (call: Promise<unknown>) => call.then(() => "nothing", errorText);
    const none = `${folder}/it's/none`;
    assertEquals(await said(Deno.readTextFile(none)), `error: ${none}: no such file or directory`);
    assertEquals(await said(Deno.writeTextFile(folder, "")), `error: ${folder}: is a directory`);
    assertEquals(await said(Deno.rename(none, "/x")), `error: ${none} -> /x: no such file or directory`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  assertEquals(errorText(new Error("Broken pipe (os error 32)")), "error: broken pipe");
  const wrapped = new TargetError("/Srv/x: Permission denied (os error 13): open '/Srv/x'");
  assertEquals(errorText(wrapped), `error: ${wrapped.message}`, "what podwire says stays as it is");
});

Deno.test("errorText() has one line for each of several errors, without `error: `", () => {
  const errors = [failure(404, { reason: "NotFound", message: 'pods "x" not found' }), new TargetError("no pod")];
  assertEquals(
    errorText(new AggregateError(errors)),
    'Error from server (NotFound): pods "x" not found\nno pod',
  );
  assertEquals(errorText(new AggregateError(errors.slice(1))), "error: no pod");
});

Deno.test("errorText() says where a configuration is wrong", () => {
  assertEquals(errorText(new ConfigError('context "x" does not exist')), 'error: context "x" does not exist');
  assertEquals(
    errorText(
      new ConfigError("invalid configuration: no server (f:3)", { file: "f", line: 3, problems: ["no server"] }),
    ),
    "Error in configuration: no server (f:3)",
  );
  assertEquals(
    errorText(
      new ConfigError("invalid configuration: [a (f:3), b (f:4)]", { file: "f", line: 3, problems: ["a", "b"] }),
    ),
    "Error in configuration: \n* a\n* b\n(f:3)",
  );
});

Deno.test("errorText() says how podwire came to a server that nobody named", () => {
  const error = new DialError("refused", { hop: "tcp", address: "localhost:8080", code: "ECONNREFUSED" });
  const refused = "The connection to the server localhost:8080 was refused - did you specify the right host or port?";
  assertEquals(
    errorText(error, new URL("http://localhost:8080")),
    `${refused}\nThat is where podwire goes when neither a kubeconfig (of --kubeconfig, KUBECONFIG or ~/.kube/config) ` +
      "nor --server names a server.",
  );
  assertEquals(errorText(error, new URL("https://localhost:8080")), refused);
});
