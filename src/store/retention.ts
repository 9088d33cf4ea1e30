/** Chooses among the checkpoints of a run: which one to use, and which ones to delete. */

export interface CheckpointRecord {
  readonly file: string;
  readonly sha256: string;
  readonly bytes: number;
  readonly step: number;
  /** Epochs completed; null: written within an epoch, because the run was stopped or after an interval. */
  readonly epoch: number | null;
  /** Top-1 accuracy of the kNN monitor at this step; null: not measured. */
  readonly knn: number | null;
}

/** last: the newest; best: the best kNN accuracy, the earliest among equals. */
export type CheckpointChoice = "last" | "best" | { epoch: number } | { step: number };

/** Selects the candidates of a choice, newest first. The later ones are fallbacks where the first is damaged. */
export function chosen(records: readonly CheckpointRecord[], choice: CheckpointChoice): CheckpointRecord[] {
  if (choice === "last") return [...records];
  if (choice === "best") {
    const best = bestOf(records);
    return best ? [best] : [];
  }
  return records.filter(({ step, epoch }) => ("step" in choice ? step === choice.step : epoch === choice.epoch));
}

/** Finds the best kNN accuracy, the earliest among equals; undefined where it was never measured. */
function bestOf(records: readonly CheckpointRecord[]): CheckpointRecord | undefined {
  const scored = records.filter(({ knn, epoch }) => knn !== null && epoch !== null).sort((a, b) => a.step - b.step);
  return scored.reduce<CheckpointRecord | undefined>(
    (a, b) => (a === undefined || (b.knn as number) > (a.knn as number) ? b : a),
    undefined,
  );
}

export interface Retention {
  /** Number of the newest end-of-epoch checkpoints to keep. */
  readonly keepLast: number;
  /** Keeps the best kNN accuracy as well, the earliest among equals. */
  readonly keepBest: boolean;
  /** Keeps every checkpoint whose epoch is a multiple of this permanently as well; 0: none. */
  readonly keepEvery: number;
}

/**
 * Selects the checkpoints to delete; never the newest. A mid-epoch checkpoint is deleted once a later end-of-epoch one
 * exists, so the files of a run do not depend on when it was interrupted. While the newest one is mid-epoch, its
 * predecessor is kept as well.
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
