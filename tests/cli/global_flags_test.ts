import { assertEquals, assertThrows } from "@std/assert";
import { parseArguments, UsageError } from "../../lib/cli/flags.ts";
import { accessOptions, GLOBAL_FLAGS, wireOption } from "../../lib/cli/global_flags.ts";

const options = (...args: string[]) => accessOptions(parseArguments(args, GLOBAL_FLAGS, "podwire").flags);

Deno.test("accessOptions() has what was given, and nothing else", () => {
  assertEquals(options(), {});
  assertEquals(options("--server=", "-n", ""), {});
  assertEquals(options("--via-unix-socket", "~/.myunixsocket", "--server", "mykubecluster.com"), {
    server: "mykubecluster.com",
    viaUnixSocket: "~/.myunixsocket",
  });
});

Deno.test("accessOptions() knows every global flag that leads to a cluster", () => {
  assertEquals(
    options(
      ...("--kubeconfig=f --context=c --cluster=k --user=u -n ns -s srv --token=t --username=un --password=pw " +
        "--certificate-authority=ca --client-certificate=crt --client-key=key --insecure-skip-tls-verify " +
        "--tls-server-name=tls --proxy-url=http://p --via-unix-socket=/s").split(" "),
    ),
    {
      kubeconfig: "f",
      context: "c",
      cluster: "k",
      user: "u",
      namespace: "ns",
      server: "srv",
      token: "t",
      username: "un",
      password: "pw",
      certificateAuthority: "ca",
      clientCertificate: "crt",
      clientKey: "key",
      insecureSkipTlsVerify: true,
      tlsServerName: "tls",
      proxyUrl: "http://p",
      viaUnixSocket: "/s",
    },
  );
});

Deno.test("accessOptions() collects who to act as", () => {
  assertEquals(
    options(
      "--as=jane",
      "--as-uid=7",
      "--as-group=a",
      "--as-group=b",
      "--as-user-extra=scopes=x=y",
      "--as-user-extra=scopes=z",
      "--as-user-extra=constructor=c",
    ).impersonate,
    { user: "jane", uid: "7", groups: ["a", "b"], extra: { scopes: ["x=y", "z"], constructor: ["c"] } },
  );
  assertThrows(() => options("--as-user-extra=novalue"), UsageError, "KEY=VALUE");
});

Deno.test("wireOption() is --wire, else what kubectl's switch says", () => {
  const wire = (off: string | undefined, ...args: string[]) =>
    wireOption(parseArguments(args, GLOBAL_FLAGS, "podwire").flags, off);
  assertEquals(wire(undefined), "auto");
  // kubectl: on, unless it is "false" in any case.
  for (const on of ["", "true", "0", "no", "false "]) assertEquals(wire(on), "auto");
  for (const off of ["false", "False", "FALSE"]) {
    assertEquals(wire(off), "spdy");
    assertEquals(wire(off, "--wire", "websocket"), "websocket");
  }
  for (const name of ["auto", "websocket", "tunnel", "spdy"] as const) {
    assertEquals(wire("true", `--wire=${name}`), name);
  }
  assertThrows(() => wire(undefined, "--wire=SPDY"), UsageError, "one of auto, websocket, tunnel, spdy");
  assertThrows(() => wire(undefined, "--wire="), UsageError);
});
