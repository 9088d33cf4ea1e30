import { UnreachableError } from "../util/errors.ts";

/** The store was unreachable or full: a transient error that the job has not caused. */
export class StoreError extends UnreachableError {
  override name = "StoreError";
}

/** Another worker has taken over the run: this one may not publish any more. */
export class FencedError extends Error {
  override name = "FencedError";
}
