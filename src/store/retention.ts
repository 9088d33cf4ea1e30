/** Which checkpoints a run keeps. */

export interface CheckpointRecord {
  readonly file: string;
  readonly sha256: string;
  readonly bytes: number;
  readonly step: number;
  /** Epochs done, where it was written at the end of one; null: in between, as someone stopped the run or time passed. */
  readonly epoch: number | null;
  /** Top-1 of the kNN monitor then; null where it was not measured. */
  readonly knn: number | null;
}

/** last: the newest; best: the one with the best kNN, the earlier among equals. */
export type CheckpointChoice = "last" | "best" | { epoch: number } | { step: number };

/** Those that a choice means, newest first: of several, those behind the first are for when that one is damaged. */
export function chosen(records: readonly CheckpointRecord[], choice: CheckpointChoice): CheckpointRecord[] {
  if (choice === "last") return [...records];
  if (choice === "best") {
    const best = bestOf(records);
    return best ? [best] : [];
  }
  return records.filter(({ step, epoch }) => ("step" in choice ? step === choice.step : epoch === choice.epoch));
}

/** With the best kNN, the earlier among equals; undefined where it was never measured. */
function bestOf(records: readonly CheckpointRecord[]): CheckpointRecord | undefined {
  const scored = records.filter(({ knn, epoch }) => knn !== null && epoch !== null).sort((a, b) => a.step - b.step);
  return scored.reduce<CheckpointRecord | undefined>(
    (a, b) => (a === undefined || (b.knn as number) > (a.knn as number) ? b : a),
    undefined,
  );
}

export interface Retention {
  /** Of those at an epoch's end, the last so many. */
  readonly keepLast: number;
  /** Also the one with the best kNN; the earlier among equals. */
  readonly keepBest: boolean;
  /** Also every so many epochs, for ever; 0: none. */
  readonly keepEvery: number;
}

/**
 * Those that may go; never the newest, and never all. One between two epochs is kept only while no epoch's end came after
 * it, so that what a run leaves does not depend on when it was interrupted; while it is the newest, the one before it stays
 * as well, whatever it is.
 */
export function expendable(records: readonly CheckpointRecord[], keep: Retention): CheckpointRecord[] {
  const newestFirst = [...records].sort((a, b) => b.step - a.step);
  const epochs = newestFirst.filter(({ epoch }) => epoch !== null);
  const best = bestOf(epochs);
  const kept = new Set(epochs.slice(0, keep.keepLast));
  if (keep.keepBest && best) kept.add(best);
  for (const record of epochs) {
    if (keep.keepEvery > 0 && (record.epoch as number) % keep.keepEvery === 0) kept.add(record);
  }
  const [newest, before] = newestFirst;
  if (newest) kept.add(newest);
  if (newest?.epoch === null && before) kept.add(before);
  return newestFirst.filter((record) => !kept.has(record));
}
