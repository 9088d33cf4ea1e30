/** Evaluation against PyTorch (test/golden/evaluation.py), and what it says in words. */
import { beforeAll, describe, expect, test } from "bun:test";
import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import { spreadOf } from "../../src/evaluate/health.ts";
import { knnVotes, topK } from "../../src/evaluate/knn.ts";
import { LinearClassifier, probeRate } from "../../src/evaluate/linear_probe.ts";
import { neighboursOf, principalPlane, umapPlane } from "../../src/evaluate/map.ts";
import { scoreOf } from "../../src/evaluate/score.ts";
import { openDevice } from "../../src/kernels/index.ts";
import { parseSpec } from "../../src/schema/job.ts";
import { type MocoSpec, mocoSchema } from "../../src/schema/methods/moco.ts";
import { type MocoV3Spec, mocoV3Schema } from "../../src/schema/methods/moco_v3.ts";
import type { Evidence } from "../../src/schema/verdict.ts";
import { Stream } from "../../src/util/random.ts";
import { golden, relativeError } from "../support/helpers.ts";

beforeAll(openDevice);

const [N, DIM, CLASSES, BATCH] = [40, 6, 5, 8];
const theirs = golden("evaluation.safetensors");
const features = (n: number, salt: number) =>
  Float32Array.from({ length: n * DIM }, (_, i) => Math.sin(i * 1.9 + salt));

test.each([
  // At lr 30 rounding grows with every step: PyTorch's own float32 is 6e-5 off its float64 at step 20, 1.5e-3 at 25.
  ["probe", 30, 0, 20, 1e-3],
  ["probe-decay", 0.5, 0.02, 25, 1e-5],
])("a linear probe's trajectory (%s) follows PyTorch's", (name, lr, weightDecay, steps, tolerance) => {
  const x = features(N, 0.2);
  const initial = new Float32Array(DIM * CLASSES);
  for (let c = 0; c < CLASSES; c++) {
    for (let f = 0; f < DIM; f++) initial[f * CLASSES + c] = 0.01 * Math.cos((c * DIM + f) * 0.9);
  }
  const classifier = new LinearClassifier(DIM, CLASSES, 0, initial);
  const size = DIM * CLASSES + CLASSES;
  for (let step = 0; step < steps; step++) {
    const from = (step * BATCH) % N;
    const labels = Array.from({ length: BATCH }, (_, i) => (from + i) % CLASSES);
    classifier.step(x.subarray(from * DIM, (from + BATCH) * DIM), labels, { lr, momentum: 0.9, weightDecay });
    const { weights, bias } = classifier.parameters();
    const expected = theirs(name).subarray(step * size, (step + 1) * size);
    expect(relativeError([...weights, ...bias], expected), `step ${step}`).toBeLessThan(tolerance);
  }
  classifier.dispose();
});

test("the papers' probe: lr 30, x 0.1 at 60 and 80 of 100 epochs", () => {
  const spec = parseSpec("linear-probe", { from: "run_x", protocol: "paper" });
  expect(spec).toMatchObject({ epochs: 100, batchSize: 256, lr: [30], weightDecay: [0], momentum: 0.9 });
  const rate = (epoch: number) => probeRate({ ...spec, lr: 30, weightDecay: 0 }, epoch);
  expect([0, 59, 60, 79, 80, 99].map(rate)).toEqual([30, 30, 3, 3, 0.3, 0.3].map((lr) => expect.closeTo(lr, 9)));
});

test("kNN's votes equal the CIFAR demo's, for several k and temperatures of one search", () => {
  const labels = Int32Array.from({ length: 60 }, (_, i) => (i * 7) % CLASSES);
  const settings = [
    { k: 7, temperature: 0.1 },
    { k: 60, temperature: 0.07 },
  ];
  const votes = knnVotes({ features: features(60, 0.5), labels }, features(12, 0.9), DIM, CLASSES, settings);
  settings.forEach(({ k }, i) => {
    expect(relativeError(votes[i] as Float64Array, theirs(`votes-${k}`))).toBeLessThan(1e-5);
  });
});

test("uniformity, effective rank and deviation equal their definitions in PyTorch", () => {
  const { uniformity, effectiveRank, std } = spreadOf(features(50, 1.7), DIM);
  expect(relativeError([uniformity, effectiveRank, std], theirs("spread"))).toBeLessThan(1e-5);
  const constant = spreadOf(new Float32Array(50 * DIM).fill(0.3), DIM);
  expect(constant.uniformity).toBeCloseTo(0, 5);
  expect(constant.effectiveRank).toBeCloseTo(1, 3);
  expect(constant.std).toBeCloseTo(0, 5);
});

test("a score counts by class; a class without test images has none", () => {
  const scores = [3, 2, 1, 0, 0, 0, 9, 1, 2, 5, 4, 3];
  const score = scoreOf(scores, Int32Array.of(0, 1, 0, 1), 3);
  expect(score).toMatchObject({ top1: 0.5, top5: 1, perClass: [1, 0, null] });
  expect(score.confusion).toEqual([
    [2, 0, 0],
    [2, 0, 0],
    [0, 0, 0],
  ]);
});

describe("is my training working?", () => {
  const spec = parseSpec("pretrain", { preset: "cifar", dataset: { kind: "cifar10" } }) as MocoSpec;
  const { judge } = mocoSchema;
  const measured = { top1: 0.4, positive: 0.8, negative: 0.1 };
  const accurate = { ...measured, top1: 0.99 };
  const healthy: Evidence = {
    step: 1000,
    loss: 5,
    metrics: measured,
    knn: 0.6,
    untrainedKnn: 0.3,
    spread: { uniformity: -3, effectiveRank: 60, std: 0.9 },
  };
  test.each([
    ["learning", {}],
    ["queue warming", { step: 7 }],
    ["at chance", { loss: 8.3 }],
    ["collapsed", { spread: { uniformity: -0.01, effectiveRank: 1.1, std: 0.02 } }],
    ["collapsed", { metrics: { ...measured, negative: 0.99 } }],
    ["leaking", { metrics: accurate, knn: 0.3 }],
    // Accurate, but kNN went along: not a leak.
    ["learning", { metrics: accurate }],
    // Nothing to judge by: no labels.
    ["learning", { metrics: accurate, knn: null, untrainedKnn: null }],
  ] as const)("%s: %p", (state, more) => {
    const verdict = judge(spec, { ...healthy, ...more });
    expect(verdict.state).toBe(state);
    expect(verdict.message.length).toBeGreaterThan(20);
  });

  test("the first epochs of the authors' own log are warming or learning, never alarming", () => {
    const says = (step: number, loss: number) => judge(spec, { ...healthy, step, loss }).state;
    // Epochs 1 to 4 (97 steps each): 6.957, 7.250, 7.290, 7.099, below log(4097) = 8.318.
    expect([6.957, 7.25, 7.29, 7.099].map((loss, i) => says(97 * (i + 1), loss))).toEqual(Array(4).fill("learning"));
    expect(says(5, 6)).toBe("queue warming");
  });
});

describe("is it stable?", () => {
  const spec = parseSpec("pretrain", { method: "moco-v3", dataset: { kind: "cifar10" } }) as MocoV3Spec;
  const calm = Array.from({ length: 60 }, (_, i) => 1 + 0.1 * Math.sin(i));
  const spiked = calm.map((v, i) => (i === 41 ? 14 * v : v));
  const evidence: Evidence = {
    step: 860,
    loss: 2,
    metrics: { top1: 0.4, positive: 0.8, negative: 0.1 },
    knn: 0.6,
    untrainedKnn: 0.3,
    bestKnn: 0.6,
    spread: { uniformity: -3, effectiveRank: 60, std: 0.9 },
    series: { gradientFirst: calm, gradientLast: calm },
  };
  const says = (more: Partial<Evidence>) => mocoV3Schema.judge(spec, { ...evidence, ...more });

  test("a calm run is learning; gradients that grow slowly are no spike", () => {
    expect(says({}).state).toBe("learning");
    const growing = Array.from({ length: 200 }, (_, i) => 1.03 ** i); // 370 times the first one at the end
    expect(says({ series: { gradientFirst: growing } }).state).toBe("learning");
    expect(says({ series: { gradientFirst: [1, 50, 1] } }).state).toBe("learning"); // too short to tell
  });

  test("a spike of the first layer's gradient is named with its step, and the dip of kNN with it", () => {
    const { state, message } = says({ series: { gradientFirst: spiked, gradientLast: calm }, knn: 0.569 });
    expect(state).toBe("unstable");
    expect(message).toMatch(
      /^the gradient of the first layer was 1[34] times its median at step 842, kNN fell by 3.1 from its best: lower/,
    );
  });

  test("a dip of kNN alone", () => {
    expect(says({ knn: 0.56 }).message).toStartWith("kNN fell by 4.0 from its best");
    expect(says({ knn: 0.58 }).state).toBe("learning");
  });
});

describe("a map", () => {
  const [count, dim] = [120, 20];
  /** Three clouds, far from each other, in a space of which two directions matter. */
  const random = new Stream(5, "map");
  const clouds = Float32Array.from({ length: count * dim }, (_, i) => {
    const [row, d] = [Math.floor(i / dim), i % dim];
    return 0.1 * random.normal() + (d === row % 3 ? 3 : 0);
  });

  test("principal components: those of the covariance's eigenvectors, and the variance that they explain", () => {
    const { points, explained } = principalPlane(clouds, dim);
    const rows = Matrix.from1DArray(count, dim, Array.from(clouds)).center("column");
    const { eigenvectorMatrix, realEigenvalues } = new EigenvalueDecomposition(rows.transpose().mmul(rows));
    const total = realEigenvalues.reduce((a, b) => a + b, 0);
    expect(explained).toBeCloseTo(
      ((realEigenvalues[dim - 1] as number) + (realEigenvalues[dim - 2] as number)) / total,
      6,
    );
    // Within the plane two nearly equal directions may turn; what stays are the distances.
    const expected = rows.mmul(eigenvectorMatrix.subMatrix(0, dim - 1, dim - 2, dim - 1));
    for (const [i, j] of [
      [0, 1],
      [0, 2],
      [3, 119],
    ] as const) {
      const got = Math.hypot(
        (points[2 * i] as number) - (points[2 * j] as number),
        (points[2 * i + 1] as number) - (points[2 * j + 1] as number),
      );
      const want = Math.hypot(...expected.getRowVector(i).sub(expected.getRowVector(j)).to1DArray());
      expect(Math.abs(got / want - 1)).toBeLessThan(1e-3);
    }
  });

  test("UMAP keeps neighbours together, and is the same for the same seed; neighbours are those of the highest cosine", async () => {
    const [one, again] = [
      await umapPlane(clouds, dim, new Stream(1, "map"), () => undefined),
      await umapPlane(clouds, dim, new Stream(1, "map"), () => undefined),
    ];
    expect(again).toEqual(one);
    const near = (i: number) =>
      topK(
        Float32Array.from(
          { length: count },
          (_, j) =>
            -Math.hypot(
              (one[2 * i] as number) - (one[2 * j] as number),
              (one[2 * i + 1] as number) - (one[2 * j + 1] as number),
            ),
        ),
        10,
      );
    const same = Array.from({ length: count }, (_, i) => [...near(i)].filter((j) => j % 3 === i % 3).length).reduce(
      (a, b) => a + b,
    );
    expect(same / (10 * count)).toBeGreaterThan(0.95);
    const nearest = neighboursOf(clouds, dim, 4);
    expect([...nearest].every((j, at) => j % 3 === Math.floor(at / 4) % 3 && j !== Math.floor(at / 4))).toBe(true);
  });
});
