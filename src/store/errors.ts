/** The store could not be reached or had no room: not the job's fault, and it may pass. */
export class StoreError extends Error {
  override name = "StoreError";
}

/** The run is another worker's by now: nothing more may be published here. */
export class FencedError extends Error {
  override name = "FencedError";
}
