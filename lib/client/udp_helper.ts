/**
 * Programs that a container may have which can carry datagrams over a byte stream, and how they are made to.
 *
 * A helper has one UDP socket, connected to a port of the pod. On its input comes, for each datagram, its length in
 * decimal digits, a line feed, and its bytes. On its output goes each datagram's bytes and, behind it, a boundary of
 * random digits that the client chose, as in a multipart message. It ends when its input ends.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";
import { RemoteCommandError } from "../channels/mod.ts";
import type { Pod } from "./pod.ts";
import { readPrinted } from "./printed.ts";

/** The largest datagram: 65,535 bytes less the header of UDP. */
const MAX_DATAGRAM = 65_527;

/** UDP cannot be carried into a container, or a helper in it failed. */
export class UdpForwardError extends PodwireError {
  /** The class's name. */
  override name = "UdpForwardError";
}

/** A program that can carry datagrams. */
export interface UdpHelper {
  /** The program's name. */
  readonly name: string;
  /** A shell command that fails where the program does not work. */
  readonly test: string;
  /** Program and arguments; two more are appended, the boundary and the port. */
  readonly command: readonly string[];
  /** Whether it can send a datagram without any bytes. All can receive one. */
  readonly sendsEmpty: boolean;
}

const PERL = `
use strict; use Socket; $| = 1;
my ($boundary, $port) = @ARGV;
my $socket;
socket($socket, PF_INET, SOCK_DGRAM, 0) && connect($socket, sockaddr_in($port, INADDR_LOOPBACK)) or die "UDP: $!\\n";
my ($input, $ready) = ("", "");
vec($ready, fileno $_, 1) = 1 for *STDIN, $socket;
for (;;) {
  select(my $now = $ready, undef, undef, undef);
  if (vec $now, fileno $socket, 1) {
    print $_, $boundary or exit if defined recv $socket, $_, 65536, 0;
  }
  if (vec $now, fileno STDIN, 1) {
    sysread STDIN, $input, 65536, length $input or exit;
    while ($input =~ /^(\\d+)\\n/ && length $input >= $+[0] + $1) {
      my ($start, $length) = ($+[0], $1);
      send $socket, substr($input, $start, $length), 0;
      substr($input, 0, $start + $length) = "";
    }
  }
}`;

const PYTHON = `
import os, select, socket, sys
boundary, port = sys.argv[1].encode(), int(sys.argv[2])
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect(("127.0.0.1", port))
data = b""
while True:
    ready = select.select([0, udp], [], [])[0]
    if udp in ready:
        try:
            answer = udp.recv(65536) + boundary
            while answer:
                answer = answer[os.write(1, answer):]
        except ConnectionRefusedError:
            pass
    if 0 in ready:
        chunk = os.read(0, 65536)
        if not chunk:
            break
        data += chunk
        while b"\\n" in data:
            head, rest = data.split(b"\\n", 1)
            size = int(head)
            if len(rest) < size:
                break
            data = rest[size:]
            try:
                udp.send(rest[:size])
            except OSError:
                pass
`;

/**
 * The work of a shell: file 7 is the socket, 8 the input, 9 the output, `$1` the boundary. One `read` of a UDP socket
 * takes one datagram and one `write` sends one, and `dd` does one of each. A shell that ends leaves the `dd` that waits
 * for an answer behind; hence the trap. It kills by 9 since any other signal is lost on a child that is not `dd` yet,
 * and waits since the first process of a container seldom does: what it inherits stays a zombie.
 */
const SHELL = `
(
  trap 'kill -9 $! 2>/dev/null; wait; exit' TERM
  while :; do
    dd bs=65536 count=1 <&7 >&9 2>/dev/null &
    wait $! && printf %s "$1" >&9
  done
) &
while read -r size <&8; do
  dd bs="$size" count=1 iflag=fullblock <&8 >&7 2>/dev/null
done
kill $!
wait`;

/** Without `fullblock`, `dd` takes the first part of a datagram that comes in two for the whole. */
const DD = "dd iflag=fullblock count=0 </dev/null";

/** For programs that run another one with their socket as its input and output. */
const KEEP_STREAMS = "exec 8<&0 9>&1";

function netcat(name: string, program: string): UdpHelper {
  return {
    name,
    // OpenBSD's has no -e, and what it reads is one datagram to it, however many were written.
    test: `${DD} && case $(${program} --help 2>&1) in *BusyBox*-e\\ PROG*UDP\\ mode*) ;; *) false ;; esac`,
    command: [
      "sh",
      "-c",
      `${KEEP_STREAMS}; exec ${program} -u 127.0.0.1 "$2" -e sh -c "$0" udp "$1"`,
      `exec 7<&0; ${SHELL}`,
    ],
    sendsEmpty: false,
  };
}

/** What is tried, best first: the first two need no process for each datagram. */
export const UDP_HELPERS: readonly UdpHelper[] = [
  { name: "perl", test: "perl -MSocket -e 1", command: ["perl", "-e", PERL], sendsEmpty: true },
  {
    name: "python3",
    test: "python3 -c 'import select, socket'",
    command: ["python3", "-c", PYTHON],
    sendsEmpty: true,
  },
  {
    name: "socat",
    test: `${DD} && command -v socat`,
    command: [
      "sh",
      "-c",
      // The text goes through the environment, where socat's own quoting does not touch it.
      `${KEEP_STREAMS}; export UDP="$0" BOUNDARY="$1"
      exec socat "UDP4:127.0.0.1:$2" 'SYSTEM:eval \\"\\$UDP\\",nofork'`,
      `exec 7<&0; set -- "$BOUNDARY"; ${SHELL}`,
    ],
    sendsEmpty: false,
  },
  {
    name: "bash",
    test: `${DD} && bash -c ': <>/dev/udp/127.0.0.1/9'`, // Sends nothing.
    command: ["bash", "-c", `${KEEP_STREAMS} 7<>"/dev/udp/127.0.0.1/$2" || exit; ${SHELL}`, "udp"],
    sendsEmpty: false,
  },
  netcat("nc", "nc"),
  netcat("busybox", "busybox nc"),
];

/**
 * Looks which of `helpers` works in a container: one command.
 *
 * @throws {UdpForwardError} If none does.
 */
export async function findUdpHelper(
  pod: Pod,
  helpers: readonly UdpHelper[],
  options: { readonly container?: string; readonly signal?: AbortSignal },
): Promise<UdpHelper> {
  const tests = helpers.map(({ name, test }) => `if { ${test}; } >/dev/null 2>&1; then echo ${name}; exit; fi`);
  const look = async () => {
    const child = await pod.exec(["sh", "-c", tests.join("\n")], { ...options, stderr: "null" }).spawn();
    try {
      const [printed] = await Promise.all([readPrinted(child.stdout), child.status]);
      return printed.trim();
    } finally {
      child.close();
    }
  };
  const name = await look().catch((cause) => {
    if (options.signal?.aborted || !(cause instanceof RemoteCommandError)) throw cause;
    throw new UdpForwardError(`cannot look for a program that speaks UDP in pod ${pod.name}: ${cause.message}`, {
      cause,
    });
  });
  const found = helpers.find((helper) => helper.name === name);
  if (found) return found;
  throw new UdpForwardError(
    `UDP needs a helper in the container, and pod ${pod.name} has none of: perl, python3, or dd with ` +
      "socat, bash (with /dev/udp) or BusyBox's nc (with -u and -e). Install one, or name a container of the same pod " +
      "that has one: they share their ports",
  );
}

/** A datagram as a helper reads it. */
export function encodeDatagram(data: Uint8Array): readonly Uint8Array[] {
  return [new TextEncoder().encode(`${data.length}\n`), data];
}

/** Takes a helper's output apart. */
export class DatagramDecoder {
  readonly #boundary: Uint8Array;
  #rest = new Uint8Array(0);

  /** A decoder for what was written with `boundary`. */
  constructor(boundary: string) {
    this.#boundary = new TextEncoder().encode(boundary);
  }

  /**
   * The datagrams that `chunk` completes.
   *
   * @throws {UdpForwardError} If there is more than a datagram without a boundary.
   */
  *decode(chunk: Uint8Array): Generator<Uint8Array> {
    const data = new Uint8Array(this.#rest.length + chunk.length);
    data.set(this.#rest);
    data.set(chunk, this.#rest.length);
    let start = 0;
    let from = Math.max(0, this.#rest.length - this.#boundary.length + 1); // Before it was looked already.
    for (let at; (at = this.#find(data, from)) >= 0;) {
      yield data.subarray(start, at);
      start = from = at + this.#boundary.length;
    }
    this.#rest = data.slice(start);
    if (this.#rest.length > MAX_DATAGRAM + this.#boundary.length) {
      throw new UdpForwardError(`the UDP helper wrote ${this.#rest.length} bytes without a boundary`);
    }
  }

  #find(data: Uint8Array, from: number): number {
    const boundary = this.#boundary;
    for (let at = from; (at = data.indexOf(boundary[0]!, at)) >= 0; at++) {
      if (boundary.every((byte, i) => data[at + i] === byte)) return at;
    }
    return -1;
  }
}
