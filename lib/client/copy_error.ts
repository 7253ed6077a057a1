/**
 * Why a copy failed.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";

/** What {@linkcode CopyError} knows. */
export interface CopyErrorInit extends ErrorOptions {
  /** The exit code of the program in the container that failed. */
  readonly code?: number;
  /** Where in the container the part that has arrived still lies. */
  readonly staged?: string;
}

/**
 * A file or tree was not copied, or not as a whole. A file that was at its destination is as it was, or as it should be; unless
 * the error says otherwise, and has what should be there in {@linkcode CopyError.staged}.
 */
export class CopyError extends PodwireError {
  /** The class's name. */
  override name = "CopyError";
  /** The exit code of the program in the container that failed, if one did. */
  readonly code: number | undefined;
  /** Where in the container the part that has arrived still lies, if it could not be removed, or may be all there is. */
  readonly staged: string | undefined;

  /** An error that says `message`. */
  constructor(message: string, init: CopyErrorInit = {}) {
    super(message, init);
    this.code = init.code;
    this.staged = init.staged;
  }
}
