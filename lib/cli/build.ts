/**
 * Who built this podwire.
 *
 * @module
 */

/**
 * An organization that builds its own podwire puts a name here; it is then sent as `X-Kubectl-Build` (KEP-859). Empty in
 * ours, which send none.
 */
export const BUILD: string = "";
