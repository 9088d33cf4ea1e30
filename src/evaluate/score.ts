import { topK } from "./knn.ts";

export interface Score {
  /** In [0, 1]. */
  top1: number;
  top5: number;
  /** Accuracy of each class, by its true label; null where the test has none of it. */
  perClass: (number | null)[];
  /** Rows: true classes, columns: answers. */
  confusion: number[][];
}

/** Counts of a score: whole numbers, so scores of some rows at a time add up exactly. */
export interface Counts {
  rows: number;
  top5: number;
  /** See `Score`. */
  confusion: number[][];
}

export const noCounts = (classes: number): Counts => ({
  rows: 0,
  top5: 0,
  confusion: Array.from({ length: classes }, () => new Array<number>(classes).fill(0)),
});

/** Adds scores f32[N, classes] (logits or votes), the lower class first among equals. */
export function count(counts: Counts, scores: ArrayLike<number>, labels: Int32Array): void {
  const classes = counts.confusion.length;
  labels.forEach((label, i) => {
    const row = Float32Array.from({ length: classes }, (_, c) => scores[i * classes + c] as number);
    const best = topK(row, Math.min(5, classes));
    const answers = counts.confusion[label] as number[];
    const answer = best[0] as number;
    answers[answer] = (answers[answer] as number) + 1;
    if (best.includes(label)) counts.top5++;
  });
  counts.rows += labels.length;
}

export function scoreOfCounts({ rows, top5, confusion }: Counts): Score {
  const right = confusion.map((row, c) => row[c] as number);
  const total = confusion.map((row) => row.reduce((a, b) => a + b, 0));
  return {
    top1: right.reduce((a, b) => a + b, 0) / rows,
    top5: top5 / rows,
    perClass: right.map((r, c) => (total[c] ? r / (total[c] as number) : null)),
    confusion,
  };
}

/** Judges scores f32[N, classes] (logits or votes), the lower class first among equals. */
export function scoreOf(scores: ArrayLike<number>, labels: Int32Array, classes: number): Score {
  const counts = noCounts(classes);
  count(counts, scores, labels);
  return scoreOfCounts(counts);
}
