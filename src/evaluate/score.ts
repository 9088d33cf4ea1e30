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

/** Judges scores f32[N, classes] (logits or votes), the lower class first among equals. */
export function scoreOf(scores: ArrayLike<number>, labels: Int32Array, classes: number): Score {
  const confusion = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  let top5 = 0;
  labels.forEach((label, i) => {
    const row = Float32Array.from({ length: classes }, (_, c) => scores[i * classes + c] as number);
    const best = topK(row, Math.min(5, classes));
    const answers = confusion[label] as number[];
    const answer = best[0] as number;
    answers[answer] = (answers[answer] as number) + 1;
    if (best.includes(label)) top5++;
  });
  const right = confusion.map((row, c) => row[c] as number);
  const total = confusion.map((row) => row.reduce((a, b) => a + b, 0));
  return {
    top1: right.reduce((a, b) => a + b, 0) / labels.length,
    top5: top5 / labels.length,
    perClass: right.map((r, c) => (total[c] ? r / (total[c] as number) : null)),
    confusion,
  };
}
