// What kubectl makes of the same command lines; the error texts are its own (seen with 1.32 and 1.33).
import { assertEquals, assertThrows } from "@std/assert";
import { findFirstWord, type FlagDefinitions, parseArguments, UsageError } from "../../lib/cli/flags.ts";
import { GLOBAL_FLAGS } from "../../lib/cli/global_flags.ts";
import { command as exec } from "../../lib/cli/exec.ts";

const FLAGS = { ...exec.flags, ...GLOBAL_FLAGS };

const parse = (...args: string[]) => parseArguments(args, FLAGS, "podwire exec");

Deno.test("parseArguments() reads every form in which a value can be given", () => {
  for (const form of [["-n", "ns"], ["-nns"], ["-n=ns"], ["--namespace", "ns"], ["--namespace=ns"]]) {
    assertEquals(parse(...form, "web").flags.namespace, "ns", form.join(" "));
    assertEquals(parse(...form, "web").words, ["web"], form.join(" "));
  }
  assertEquals(parse("-n", "-x").flags.namespace, "-x");
  assertEquals(parse("-n=").flags.namespace, "=");
  assertEquals(parse("--namespace=").flags.namespace, "");
  assertEquals(parse("--token=a=b").flags.token, "a=b");
});

Deno.test("parseArguments() reads booleans alone, in groups, and with a value", () => {
  const streams = (...args: string[]) => [parse(...args).flags.stdin, parse(...args).flags.tty];
  assertEquals(streams("-it"), [true, true]);
  assertEquals(streams("-i", "-t"), [true, true]);
  assertEquals(streams("--stdin", "--tty"), [true, true]);
  assertEquals(streams("--stdin=false", "-t"), [false, true]);
  assertEquals(streams("-i=false"), [false, false]);
  assertEquals(streams("-i=1", "-t=T"), [true, true]);
  assertEquals(streams(), [false, false]);
  assertEquals(parse("-itc", "app").flags.container, "app");
  assertEquals(parse("-itcapp").flags.container, "app");
  assertEquals(parse("--stdin", "false").words, ["false"]);
});

Deno.test("parseArguments() takes flags between words, the last of several, and all of a list", () => {
  const { flags, words, rest } = parse(
    "--as-group",
    "a",
    "web",
    "-n",
    "one",
    "--as-group=b",
    "--",
    "-n",
    "two",
    "--",
    "x",
  );
  assertEquals(words, ["web"]);
  assertEquals(rest, ["-n", "two", "--", "x"]);
  assertEquals(flags["as-group"], ["a", "b"]);
  assertEquals(parse("-n", "one", "-n", "two").flags.namespace, "two");
  assertEquals(parse("web").rest, undefined);
  assertEquals(parse("web", "--").rest, []);
  assertEquals(parse("-", "").words, ["-", ""]);
});

Deno.test("parseArguments() gives what is not given its default", () => {
  const { flags } = parse();
  assertEquals(
    [flags["pod-running-timeout"], flags.container, flags.quiet, flags["as-group"], flags.v, flags["request-timeout"]],
    [60_000, "", false, [], 0, "0"],
  );
});

Deno.test("parseArguments() keeps the flags as they were typed", () => {
  const { given } = parse("-it", "--container=app", "-n", "x");
  assertEquals(given.map(({ typed, value }) => [typed, value]), [
    ["-i", "true"],
    ["-t", "true"],
    ["--container", "app"],
    ["-n", "x"],
  ]);
});

Deno.test("parseArguments() says what is wrong in kubectl's words", () => {
  for (
    const [args, message] of [
      [["--foo"], "unknown flag: --foo"],
      [["--foo=1"], "unknown flag: --foo"],
      [["--constructor"], "unknown flag: --constructor"],
      [["-x"], "unknown shorthand flag: 'x' in -x"],
      [["-ixt"], "unknown shorthand flag: 'x' in -xt"],
      [["-it-"], "unknown shorthand flag: '-' in --"],
      [["--container"], "flag needs an argument: --container"],
      [["-n"], "flag needs an argument: 'n' in -n"],
      [["-in"], "flag needs an argument: 'n' in -n"],
      [["--=x"], "bad flag syntax: --=x"],
      [["---x"], "bad flag syntax: ---x"],
      [
        ["--stdin=maybe"],
        'invalid argument "maybe" for "-i, --stdin" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
      ],
      [
        ["--pod-running-timeout=5"],
        'invalid argument "5" for "--pod-running-timeout" flag: time: missing unit in duration "5"',
      ],
      [["-v=a"], 'invalid argument "a" for "-v, --v" flag: strconv.ParseInt: parsing "a": invalid syntax'],
    ] as const
  ) {
    const error = assertThrows(() => parse(...args), UsageError);
    assertEquals(error.message, `${message}\nSee 'podwire exec --help' for usage.`);
  }
});

Deno.test("findFirstWord() finds the command behind global flags", () => {
  const find = (...args: string[]) => args[findFirstWord(args, GLOBAL_FLAGS)];
  assertEquals(find("get", "pods"), "get");
  assertEquals(find("-n", "x", "get"), "get");
  assertEquals(find("-n=x", "get"), "get");
  assertEquals(find("-nx", "get"), "get");
  assertEquals(find("--server", "host", "--insecure-skip-tls-verify", "get"), "get");
  assertEquals(find("--via-unix-socket", "~/.myunixsocket", "--server", "mykubecluster.com", "get", "pods"), "get");
  assertEquals(find("-i", "exec"), "exec");
  assertEquals(findFirstWord([], GLOBAL_FLAGS), -1);
  assertEquals(findFirstWord(["--help"], GLOBAL_FLAGS), -1);
  assertEquals(findFirstWord(["-n"], GLOBAL_FLAGS), -1);
  assertEquals(findFirstWord(["--", "exec"], GLOBAL_FLAGS), -1);
});

Deno.test("every command's flags stand beside the global ones without a clash", async () => {
  const { COMMANDS } = await import("../../lib/cli/commands.ts");
  for (const { name, load } of COMMANDS) {
    const own: FlagDefinitions = (await load()).flags;
    const all = [...Object.entries(own), ...Object.entries(GLOBAL_FLAGS as FlagDefinitions)];
    const names = all.flatMap(([name, { short }]) => short ? [`--${name}`, `-${short}`] : [`--${name}`]);
    assertEquals(names.length, new Set(names).size, `two flags of ${name} have one name`);
  }
});
