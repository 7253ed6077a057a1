/**
 * What goes wrong with the ground under the tests, said so that one knows what to do next.
 *
 * @module
 */

/** The test cluster cannot be built, started or used; the message says why and what to do. */
export class GroundError extends Error {
  override readonly name = "GroundError";
}
