/** Decides whether, and when, a job whose attempt failed is attempted again. */
import type { Attempts } from "../src/queue/records/record.ts";
import type { Ending } from "./protocol.ts";

type Failure = Extract<Ending, { kind: "failed" }>;

/** Consecutive failures without progress after which the job fails. */
const FUTILE_ATTEMPTS = 5;
/** Failures of a GPU after which the job continues on WASM, if its spec allows any device. */
const DEVICE_FAILURES = 2;
const FIRST_MS = 1000;
const LONGEST_MS = 300_000;

export interface Verdict {
  readonly attempts: Attempts;
  /** Milliseconds until the next attempt; undefined: the job fails. */
  readonly delay: number | undefined;
}

/** Exponential backoff: 1 s, doubling up to 5 minutes. */
const delayAfter = (failures: number): number => Math.min(LONGEST_MS, FIRST_MS * 2 ** failures);

/**
 * Judges a failed attempt. Failures of the store are retried without limit, because the job is not their cause.
 *
 * @param before - Failures before this one.
 * @param reached - Last step of the attempt; -1: it made none.
 */
export function judgeFailure({ cause }: Failure, before: Attempts, reached: number): Verdict {
  if (cause === "final") return { attempts: before, delay: undefined };
  const forward = reached > before.furthest;
  const furthest = Math.max(before.furthest, reached);
  const device = before.device + (cause === "device" ? 1 : 0);
  if (cause === "store") {
    const store = before.store + 1;
    return { attempts: { ...before, furthest, store }, delay: delayAfter(store - 1) };
  }
  const futile = forward ? 0 : before.futile + 1;
  const attempts = { futile, furthest, device, store: 0 };
  return { attempts, delay: futile >= FUTILE_ATTEMPTS ? undefined : delayAfter(futile) };
}

/** Whether GPUs have failed a job often enough. */
export const prefersWasm = ({ device }: Attempts): boolean => device >= DEVICE_FAILURES;
