/** The distributions of augmentation parameters are torchvision's: Kolmogorov and Smirnov's test of two samples. */
import { expect, test } from "bun:test";
import { ROW, viewRow } from "../../src/data/view.ts";
import { presets } from "../../src/schema/presets.ts";
import type { AugmentationSpec } from "../../src/schema/pretrain.ts";
import { golden } from "../support/helpers.ts";

const [H, W, DRAWS] = [40, 32, 20_000];
const theirs = golden("samplers.safetensors");

function draw(more: Partial<AugmentationSpec>): Float32Array {
  const rows = new Float32Array(DRAWS * ROW);
  const spec = { ...presets.cifar["moco-v2"].augmentation, ...more };
  for (let i = 0; i < DRAWS; i++) viewRow(rows, i * ROW, { seed: 3, epoch: 1, sample: i, view: 0 }, spec, H, W, 3);
  return rows;
}
const column = (rows: Float32Array, width: number, of: (row: Float32Array) => number) =>
  Float64Array.from({ length: rows.length / width }, (_, i) => of(rows.subarray(i * width, (i + 1) * width)));

/** Largest distance of the two empirical distributions, in units of what 1 in 1000 equal ones exceeds. */
function distance(a: Float64Array, b: Float64Array): number {
  a.sort();
  b.sort();
  let [i, j, worst] = [0, 0, 0];
  while (i < a.length && j < b.length) {
    const value = Math.min(a[i] as number, b[j] as number);
    while (i < a.length && (a[i] as number) <= value) i++;
    while (j < b.length && (b[j] as number) <= value) j++;
    worst = Math.max(worst, Math.abs(i / a.length - j / b.length));
  }
  return worst / (1.95 * Math.sqrt((a.length + b.length) / (a.length * b.length)));
}

test.each([
  ["wide", [0.08, 1]],
  ["narrow", [0.5, 1]],
] as const)("crops, %s scale: place, area and ratio", (name, cropScale) => {
  const ours = draw({ cropScale: [...cropScale] });
  const golden = theirs(`crop-${name}`); // top, left, height, width, as in a row
  for (const [what, of] of [
    ["top", (r: Float32Array) => r[0] as number],
    ["left", (r: Float32Array) => r[1] as number],
    ["area", (r: Float32Array) => (r[2] as number) * (r[3] as number)],
    ["ratio", (r: Float32Array) => (r[3] as number) / (r[2] as number)],
  ] as const) {
    expect(distance(column(ours, ROW, of), column(golden, 4, of)), what).toBeLessThan(1);
  }
});

test("jitter: four factors, and their order", () => {
  const ours = draw({});
  const golden = theirs("jitter"); // four factors, then the order
  for (let f = 0; f < 4; f++) {
    const [a, b] = [column(ours, ROW, (r) => r[6 + f] as number), column(golden, 8, (r) => r[f] as number)];
    expect(distance(a, b), `factor ${f}`).toBeLessThan(1);
  }
  // 24 orders, equally likely: chi squared with 23 degrees of freedom is below 49.7 in 999 of 1000 cases.
  const counts = new Map<string, number>();
  for (let i = 0; i < DRAWS; i++) {
    const key = ours.subarray(i * ROW + 10, i * ROW + 14).join("");
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  expect(counts.size).toBe(24);
  const expected = DRAWS / 24;
  expect([...counts.values()].reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0)).toBeLessThan(49.7);
});

test("each switch falls as often as asked for; sigma is uniform in [0.1, 2]", () => {
  const rows = draw({ blur: 0.5, solarise: 0.2 });
  const share = (of: (r: Float32Array) => boolean) =>
    column(rows, ROW, (r) => Number(of(r))).reduce((a, b) => a + b) / DRAWS;
  for (const [got, asked] of [
    [share((r) => r[4] === 1), 0.5],
    [share((r) => r[5] === 1), 0.8],
    [share((r) => r[14] === 1), 0.2],
    [share((r) => (r[15] as number) > 0), 0.5],
    [share((r) => r[16] === 1), 0.2],
  ] as const) {
    expect(Math.abs(got - asked)).toBeLessThan(3.3 * Math.sqrt((asked * (1 - asked)) / DRAWS));
  }
  const sigmas = column(rows, ROW, (r) => r[15] as number).filter((sigma) => sigma > 0);
  const uniform = Float64Array.from({ length: 2000 }, (_, i) => 0.1 + (1.9 * (i + 0.5)) / 2000);
  expect(distance(sigmas, uniform)).toBeLessThan(1);
});
