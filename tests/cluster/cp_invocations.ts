/**
 * What is asked of both `kubectl cp` and `podwire cp`.
 *
 * @module
 */

/** One call. `POD` stands for the pod's name. */
export interface CpInvocation {
  /** The words behind `cp`. */
  readonly args: readonly string[];
}

/** Makes what lies in the working folder here before each call. */
export const HERE = `mkdir -p src/sub/deep src/empty out; echo a >src/a; echo b >src/sub/b; echo c >src/sub/deep/c
printf '' >src/nothing; echo f >file; echo h >.hidden; echo s >'with space'; echo q >"it's"; echo old >old; echo u >ümlaut
echo x >-dash; echo co >co:lon; echo '[1]' >'x[1]'; mkdir linked; ln -s a linked/l; echo a >linked/a; head -c 100000 /dev/zero | tr '\\0' z >large`;

/** And what lies in the working folder of the container, \`/tmp/w\`. */
export const THERE =
  `mkdir -p src/sub/deep src/empty out full/file; echo A >src/a; echo B >src/sub/b; echo C >src/sub/deep/c
: >src/nothing; echo F >file; echo H >.hidden; echo S >'with space'; echo Q >"it's"; echo old >old; echo U >ümlaut
echo X >-dash; mkdir linked; ln -s a linked/l; echo A >linked/a; ln -s /etc/passwd linked/abs; ln -s file link; chmod 700 src/sub`;

const call = (...args: string[]): CpInvocation => ({ args });

/** All of them. */
export const CP_INVOCATIONS: readonly CpInvocation[] = [
  // Up.
  call("file", "POD:/tmp/w/new"),
  call("file", "POD:/tmp/w/old"),
  call("file", "POD:/tmp/w/out"),
  call("file", "POD:/tmp/w/out/"),
  call("file", "POD:/tmp/w/out/new"),
  call("./file", "POD:/tmp/w/new"),
  call("file", "default/POD:/tmp/w/new"),
  call("file", "POD:/tmp/w/no/such"),
  call("file", "POD:/tmp/w/file/below"),
  call("file", "POD:/tmp/w/full"),
  call("nosuch", "POD:/tmp/w/new"),
  call(".hidden", "POD:/tmp/w/out"),
  call("with space", "POD:/tmp/w/out"),
  call("it's", "POD:/tmp/w/out"),
  call("ümlaut", "POD:/tmp/w/out"),
  call("./-dash", "POD:/tmp/w/out"),
  call("--", "-dash", "POD:/tmp/w/out"),
  call("large", "POD:/tmp/w/out"),
  call("src/nothing", "POD:/tmp/w/out"),
  call("src", "POD:/tmp/w/new"),
  call("src", "POD:/tmp/w/out"),
  call("src/", "POD:/tmp/w/out"),
  call("src/.", "POD:/tmp/w/out"),
  call("src/sub/..", "POD:/tmp/w/new"),
  call("src", "POD:/tmp/w"),
  call("src", "POD:/tmp/w/file"),
  call("src/empty", "POD:/tmp/w/new"),
  call("linked", "POD:/tmp/w/new"),
  call("file", "POD:/tmp/w/link"),
  call("-c", "main", "file", "POD:/tmp/w/new"),
  call("-c", "side", "src", "POD:/tmp/new"),
  call("-c", "nosuch", "file", "POD:/tmp/w/new"),
  call("--no-preserve", "src", "POD:/tmp/w/new"),
  call("--retries", "2", "file", "POD:/tmp/w/new"),
  call("*.nosuch", "POD:/tmp/w/out"),
  call("x[1]", "POD:/tmp/w/out"),
  call("./co:lon", "POD:/tmp/w/new"),
  // Down.
  call("POD:/tmp/w/file", "new"),
  call("POD:/tmp/w/file", "old"),
  call("POD:/tmp/w/file", "out"),
  call("POD:/tmp/w/file", "out/new"),
  call("POD:/tmp/w/file", "no/such"),
  call("POD:/tmp/w/file", "file/below"),
  call("POD:tmp/w/file", "new"),
  call("POD:/tmp/w/src/../file", "new"),
  call("default/POD:/tmp/w/file", "new"),
  call("POD:/tmp/w/nosuch", "new"),
  call("POD:/tmp/w/.hidden", "new"),
  call("POD:/tmp/w/with space", "new"),
  call("POD:/tmp/w/it's", "new"),
  call("POD:/tmp/w/ümlaut", "new"),
  call("POD:/tmp/w/-dash", "new"),
  call("POD:/tmp/w/src", "new"),
  call("POD:/tmp/w/src", "out"),
  call("POD:/tmp/w/src/", "out"),
  call("POD:/tmp/w/src", "file"),
  call("POD:/tmp/w/src/empty", "new"),
  call("POD:/tmp/w/linked", "new"),
  call("POD:/tmp/w/link", "new"),
  call("--retries", "2", "POD:/tmp/w/src", "new"),
  call("-c", "nosuch", "POD:/tmp/w/file", "new"),
  // What is wrong.
  call(),
  call("file"),
  call("file", "out"),
  call("file", "POD:"),
  call("POD:", "out"),
  call("a/b/c:/x", "out"),
  call(":/x", "out"),
  call("file", "nosuchpod:/x"),
  call("nosuchpod:/x", "out"),
  call("--nosuch", "file", "POD:/x"),
  call("file", "src", "POD:/tmp/w/out"),
  call("POD:/tmp/w/file", "POD:/tmp/w/new"),
];
