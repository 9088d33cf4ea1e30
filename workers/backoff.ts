/** What becomes of a job whose attempt failed. */
import type { Attempts } from "../src/queue/records/record.ts";
import type { Ending } from "./protocol.ts";

type Failure = Extract<Ending, { kind: "failed" }>;

/** Failures one after another without a step forward before the job is failed. */
const FUTILE_ATTEMPTS = 5;
/** Times that a GPU may fail a job before the job goes on on WASM, where its spec leaves the device to us. */
const DEVICE_FAILURES = 2;
const FIRST_MS = 1000;
const LONGEST_MS = 300_000;

export interface Verdict {
  readonly attempts: Attempts;
  /** Milliseconds until the next attempt; undefined: there is none. */
  readonly delay: number | undefined;
}

/** 1 s, doubling up to 5 minutes. */
const delayAfter = (failures: number): number => Math.min(LONGEST_MS, FIRST_MS * 2 ** failures);

/**
 * `reached`: the step that this attempt came to. A store that is full or away is nothing that the job can help, so such
 * failures are waited out however many they are.
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

export const prefersWasm = ({ device }: Attempts): boolean => device >= DEVICE_FAILURES;
