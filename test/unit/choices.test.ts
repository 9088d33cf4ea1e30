/** What is chosen among several: of settings the best on the validation part, of checkpoints the best and those that stay. */
import { expect, test } from "bun:test";
import { bestOf, carve, fitCount, gridOf } from "../../src/judge/choice.ts";
import { type CheckpointRecord, chosen, expendable } from "../../src/store/retention.ts";

test("of several settings the one with the highest validation score is chosen, the first among equals", () => {
  const tried = [0.71, 0.84, 0.6, 0.84].map((validation, lr) => ({ lr, validation }));
  expect(bestOf(tried).lr).toBe(1);
  expect(bestOf([{ lr: 5, validation: null }]).lr).toBe(5);
  expect(gridOf({ lr: [1, 2], weightDecay: [0, 3] })).toEqual([
    { lr: 1, weightDecay: 0 },
    { lr: 1, weightDecay: 3 },
    { lr: 2, weightDecay: 0 },
    { lr: 2, weightDecay: 3 },
  ]);
});

test("training rows are parted into those to fit on and the last ones to choose on, each with its label", () => {
  const rows = {
    features: Float32Array.from({ length: 20 }, (_, i) => i),
    labels: Int32Array.from({ length: 10 }, (_, i) => i),
  };
  const { fit, choose } = carve(rows, 2, 0.3);
  expect([fit.labels.length, [...choose.labels], [...choose.features]]).toEqual([
    7,
    [7, 8, 9],
    [14, 15, 16, 17, 18, 19],
  ]);
  expect([fitCount(10, 0.01), fitCount(10, 0.25), fitCount(2, 0.5)]).toEqual([9, 7, 1]);
});

const record = (step: number, epoch: number | null, knn: number | null = null): CheckpointRecord => ({
  file: `step-${step}`,
  sha256: "",
  bytes: 1,
  step,
  epoch,
  knn,
});
const steps = (records: readonly CheckpointRecord[]) => records.map(({ step }) => step);

test("best is the highest kNN at the end of an epoch, the earliest among equals, in whatever order they are listed", () => {
  const all = [record(50, 5, 0.7), record(40, 4, 0.8), record(30, 3, 0.8), record(25, null, 0.9), record(10, 1, null)];
  expect(steps(chosen(all, "best"))).toEqual([30]);
  expect(steps(chosen(all.toReversed(), "best"))).toEqual([30]);
  expect(chosen([record(10, 1)], "best")).toEqual([]);
  expect(steps(chosen(all, { epoch: 4 }))).toEqual([40]);
  expect(steps(chosen(all, { step: 25 }))).toEqual([25]);
  expect(steps(chosen(all, "last"))).toEqual([50, 40, 30, 25, 10]);
});

test("kept are the newest epochs, the best, every so many; deleted is what lies between, and mid-epoch ones once they are behind", () => {
  const all = [1, 2, 3, 4, 5, 6].map((epoch) => record(10 * epoch, epoch, epoch === 2 || epoch === 3 ? 0.9 : 0.5));
  const keep = { keepLast: 2, keepBest: true, keepEvery: 0 };
  expect(steps(expendable(all, keep))).toEqual([40, 30, 10]);
  expect(steps(expendable(all, { ...keep, keepBest: false }))).toEqual([40, 30, 20, 10]);
  expect(steps(expendable(all, { ...keep, keepEvery: 4 }))).toEqual([30, 10]);
  const within = [record(65, null), record(62, null), ...all];
  // The newest one, and the one before it: it may be the only whole one.
  expect(steps(expendable(within, keep))).toEqual([40, 30, 10]);
  expect(steps(expendable([record(66, null), ...within], keep))).toEqual([62, 40, 30, 10]);
  expect(steps(expendable([record(70, 7), ...within], keep))).toEqual([65, 62, 50, 40, 30, 10]);
  expect(expendable([record(5, null)], keep)).toEqual([]);
});
