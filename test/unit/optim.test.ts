/** Optimisers and schedules against PyTorch's trajectories (test/golden/optimisers.py). */
import { expect, test } from "bun:test";
import { clipFactor, squaresOf } from "../../src/optim/clip/index.ts";
import { optimisers } from "../../src/optim/optimiser.ts";
import { learningRate } from "../../src/optim/schedule.ts";
import type { OptimizerSpec } from "../../src/schema/pretrain.ts";
import { golden, relativeError } from "../support/helpers.ts";

const path = golden("optimisers.safetensors");
const [STEPS, LR, WD, WEIGHT, BIAS] = [20, 0.05, 0.01, 24, 7];

test.each(["sgd", "lars", "adamw"] as const)("%s follows its oracle for 20 steps", (algorithm) => {
  const size = WEIGHT + BIAS;
  // Both tensors start with the same formula.
  const params = Float32Array.from({ length: size }, (_, i) => Math.sin((i < WEIGHT ? i : i - WEIGHT) * 0.7 + 0.3));
  const buffers = {
    params,
    first: new Float32Array(size),
    second: new Float32Array(size),
    gradient: new Float32Array(size),
  };
  const { update, whole } = optimisers[algorithm];
  const hyper = { lr: LR, momentum: 0.9, beta2: 0.99, weightDecay: WD, clip: 1 };
  for (let step = 0; step < STEPS; step++) {
    for (let i = 0; i < size; i++) buffers.gradient[i] = Math.cos((i < WEIGHT ? i : i - WEIGHT) * 1.3 + 0.5 * step);
    // In two parts, as two threads would, where the optimiser allows it.
    const parts = whole ? [0, WEIGHT, size] : [0, 10, WEIGHT, size];
    for (let p = 0; p + 1 < parts.length; p++) {
      const [from, to] = [parts[p], parts[p + 1]] as [number, number];
      update(buffers, { from, to }, { ...hyper, step }, from < WEIGHT);
    }
    expect(
      relativeError(params, path(algorithm).subarray(step * size, (step + 1) * size)),
      `step ${step}`,
    ).toBeLessThan(1e-6);
  }
});

test("a clipped gradient follows PyTorch's clip_grad_norm_, whether it is longer than allowed or not", () => {
  for (const [name, clip] of [
    ["clip", 1],
    ["sgd", 100],
  ] as const) {
    const size = WEIGHT + BIAS;
    const place = (i: number) => (i < WEIGHT ? i : i - WEIGHT);
    const buffers = {
      params: Float32Array.from({ length: size }, (_, i) => Math.sin(place(i) * 0.7 + 0.3)),
      first: new Float32Array(size),
      second: new Float32Array(0),
      gradient: new Float32Array(size),
    };
    for (let step = 0; step < STEPS; step++) {
      for (let i = 0; i < size; i++) buffers.gradient[i] = Math.cos(place(i) * 1.3 + 0.5 * step);
      const parts = [
        { from: 0, to: WEIGHT },
        { from: WEIGHT, to: size },
      ];
      const factor = clipFactor(
        parts.map((part) => squaresOf(buffers.gradient, part)),
        clip,
      );
      const hyper = { lr: LR, momentum: 0.9, beta2: 0.99, weightDecay: WD, clip: factor, step };
      for (const part of parts) optimisers.sgd.update(buffers, part, hyper, true);
    }
    expect(relativeError(buffers.params, path(name).subarray((STEPS - 1) * size))).toBeLessThan(1e-6);
  }
});

const spec = (more: Partial<OptimizerSpec>): OptimizerSpec => ({
  algorithm: "sgd",
  lr: LR,
  momentum: 0.9,
  beta2: 0.999,
  weightDecay: 0,
  schedule: "cosine",
  per: "epoch",
  warmup: 0,
  milestones: [4, 8],
  ...more,
});

test.each([
  ["cosine", spec({}), 1],
  ["step", spec({ schedule: "step" }), 1],
  ["warmup", spec({ warmup: 3 }), 1],
  ["cosine-by-step", spec({ per: "step" }), 5],
  ["warmup-by-step", spec({ per: "step", warmup: 3 }), 5],
] as const)("schedule %s equals PyTorch's", (name, optimizer, stepsPerEpoch) => {
  const expected = path(name);
  const got = Array.from(expected, (_, i) => learningRate(optimizer, i / stepsPerEpoch, 12));
  expect(relativeError(got, expected)).toBeLessThan(1e-6);
});

test("by epoch the rate is the same for all steps of an epoch, and constant stays", () => {
  expect(learningRate(spec({}), 3.9, 12)).toBe(learningRate(spec({}), 3, 12));
  expect(learningRate(spec({ schedule: "constant", warmup: 2 }), 7, 12)).toBe(LR);
});
