/** Our walk over the tape against tfjs's own, and what it leaves behind. */
import { beforeAll, expect, test } from "bun:test";
import * as tf from "@tensorflow/tfjs-core";
import { takeHeapRecord } from "../../src/backend/heap.ts";
import { openDevice } from "../../src/kernels/index.ts";
import { differentiate, Tape } from "../../src/nn/tape.ts";
import { peakIn, relativeError, wave } from "../support/helpers.ts";

beforeAll(openDevice);

const tensors = () => [tf.tensor2d(wave(12, 1), [3, 4]), tf.tensor2d(wave(12, 2), [4, 3]), tf.tensor1d(wave(3, 3))];

/** The first x is used twice, the sum passes its gradient through as it is, and one branch leads nowhere. */
const loss =
  ([a, b, c]: tf.Tensor[]) =>
  () => {
    const product = tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D); // [3,3]
    tf.exp(product);
    const twice = tf.add(tf.add(product, c as tf.Tensor), tf.matMul(a as tf.Tensor2D, a as tf.Tensor2D, false, true));
    return tf.mean(tf.square(tf.tanh(twice))) as tf.Scalar;
  };

test("value and gradients are those of tf.grads; each comes once, and nothing stays", () => {
  const xs = tensors();
  const before = tf.memory().numTensors;
  const got = new Map<number, Float32Array>();
  const value = differentiate(loss(xs), xs, (gradient, index) => {
    expect(got.has(index)).toBe(false);
    got.set(index, Float32Array.from(gradient.dataSync()));
  });
  expect(tf.memory().numTensors).toBe(before + 1);
  const expected = tf.valueAndGrads((...x: tf.Tensor[]) => loss(x)())(xs);
  expect(value.dataSync()).toEqual(expected.value.dataSync());
  expected.grads.forEach((gradient, i) => {
    expect(relativeError(got.get(i) as Float32Array, gradient.dataSync())).toBeLessThan(1e-6);
  });
  tf.dispose([value, ...xs, expected.value, ...expected.grads]);
});

test("a chain of layers: at most a few of its gradients are there at once", () => {
  const LAYERS = 40;
  const BYTES = 4 * 256 * 256;
  const x = tf.fill([256, 256], 0.1) as tf.Tensor2D;
  takeHeapRecord();
  const value = differentiate(
    () => {
      let y: tf.Tensor = x;
      for (let i = 0; i < LAYERS; i++) y = tf.tidy(() => tf.sin(y));
      return tf.mean(y) as tf.Scalar;
    },
    [x],
    () => undefined,
  );
  // The saved input of every layer, and with it two or three of what the backward pass makes: not another forty.
  expect(peakIn(takeHeapRecord()) / BYTES).toBeLessThan(LAYERS + 5);
  tf.dispose([x, value]);
});

test("an x that has no part in the value is never taken; a tape inside a tape is an error; nothing stays of either", () => {
  const [a, b] = tensors() as [tf.Tensor, tf.Tensor];
  const alone = () => tf.mean(a) as tf.Scalar;
  const before = tf.memory().numTensors;
  const taken = (f: () => tf.Scalar) => {
    const indices: number[] = [];
    const value = differentiate(f, [a, b], (gradient, index) => {
      expect(gradient.shape).toEqual([a, b][index]?.shape as number[]);
      indices.push(index);
    });
    expect(tf.memory().numTensors).toBe(before + 1);
    value.dispose();
    return indices;
  };
  expect(taken(alone)).toEqual([0]);
  // The same where it is used, but for nothing that the value is made of, before it and after it.
  const beside = () => {
    tf.exp(tf.mul(b, 2));
    const value = alone();
    tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D);
    return value;
  };
  expect(taken(beside)).toEqual([0]);
  expect(taken(() => tf.mean(tf.tensor1d([1, 2])) as tf.Scalar)).toEqual([]);
  expect(() =>
    differentiate(
      () => differentiate(alone, [a], () => undefined),
      [a],
      () => undefined,
    ),
  ).toThrow("nest");
  expect(tf.memory().numTensors).toBe(before);
  expect(taken(alone)).toEqual([0]); // and the failure leaves no tape open
  tf.dispose([a, b]);
});

/** Three outputs: the second is made of the first, and the last x is in the third one alone. */
const outputs =
  ([a, b, c]: tf.Tensor[]) =>
  (): tf.Tensor[] => {
    const product = tf.tanh(tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D)); // [3,3]
    const sums = tf.sum(tf.square(product), 1); // [3]
    return [product, sums, tf.mul(tf.exp(c as tf.Tensor), tf.sum(a as tf.Tensor, 1))];
  };
const SHAPES = [[3, 3], [3], [3]];
const seedsOf = () =>
  SHAPES.map((shape, i) =>
    tf.tensor(
      wave(
        shape.reduce((p, q) => p * q),
        4 + i,
      ),
      shape,
    ),
  );

/** Gradients of the sum of outputs times seeds, by tfjs; an output without a seed is left out. */
function expectedGradients(xs: tf.Tensor[], seeds: readonly (tf.Tensor | undefined)[]): Float32Array[] {
  const sum = (...x: tf.Tensor[]) =>
    outputs(x)()
      .flatMap((output, i) => (seeds[i] ? [tf.sum(tf.mul(output, seeds[i] as tf.Tensor))] : []))
      .reduce((p, q) => tf.add(p, q));
  return tf.tidy(() =>
    tf
      .grads(sum)(xs)
      .map((gradient) => gradient.dataSync() as Float32Array),
  );
}

/** What `back` hands over, each once. */
function gradientsBack(tape: Tape, seeds: readonly (tf.Tensor | undefined)[], xs: tf.Tensor[]) {
  const got = new Map<number, Float32Array>();
  tape.back(seeds, xs, (gradient, index) => {
    expect(got.has(index)).toBe(false);
    got.set(index, Float32Array.from(gradient.dataSync()));
  });
  return got;
}

test("several outputs with seeds: gradients are tf.grads' of their sum, seeds and outputs stay the caller's", () => {
  const [xs, seeds] = [tensors(), seedsOf()];
  const before = tf.memory().numTensors;
  const tape = Tape.record(outputs(xs));
  expect(tape.outputs.map(({ shape }) => shape)).toEqual(SHAPES);
  const values = tape.outputs.map((output) => output.dataSync());
  expect(values).toEqual(tf.tidy(() => outputs(xs)().map((output) => output.dataSync())));
  const got = gradientsBack(tape, seeds, xs);
  expect(tf.memory().numTensors).toBe(before + SHAPES.length);
  expect(tape.outputs.map((output) => output.dataSync())).toEqual(values);
  const expected = expectedGradients(xs, seeds);
  expect([...got.keys()].sort()).toEqual([0, 1, 2]);
  for (const [i, gradient] of got) expect(relativeError(gradient, expected[i] as Float32Array)).toBeLessThan(1e-6);
  tf.dispose([...tape.outputs, ...seeds, ...xs]);
});

test.each([
  [
    [true, true, false],
    [0, 1],
  ],
  [
    [true, false, false],
    [0, 1],
  ],
  [
    [false, true, false],
    [0, 1],
  ],
  [
    [false, false, true],
    [0, 2],
  ],
  [[false, false, false], []],
] as const)("an output without a seed is a constant: seeds %p, gradients of %p", (given, taken) => {
  const [xs, all] = [tensors(), seedsOf()];
  const before = tf.memory().numTensors;
  const seeds = all.map((seed, i) => (given[i] ? seed : undefined));
  const tape = Tape.record(outputs(xs));
  const got = gradientsBack(tape, seeds, xs);
  tf.dispose([...tape.outputs]);
  expect(tf.memory().numTensors).toBe(before);
  expect([...got.keys()].sort()).toEqual([...taken]);
  if (taken.length === 0) return tf.dispose([...all, ...xs]);
  const expected = tf.tidy(() => {
    const zeros = all.map((seed, i) => (given[i] ? seed : tf.zerosLike(seed)));
    return expectedGradients(xs, zeros);
  });
  for (const [i, gradient] of got) expect(relativeError(gradient, expected[i] as Float32Array)).toBeLessThan(1e-6);
  for (const i of [0, 1, 2]) if (!got.has(i)) expect(Math.max(...(expected[i] as Float32Array).map(Math.abs))).toBe(0);
  tf.dispose([...all, ...xs]);
});

test("recorded in one tidy and gone back over in another, all between disposed of: the same bits as at once, and nothing stays", () => {
  const before = tf.memory();
  const [xs, seeds] = [tensors(), seedsOf()];
  const atOnce = Tape.record(outputs(xs));
  const expected = gradientsBack(atOnce, seeds, xs);
  tf.dispose([...atOnce.outputs]);
  // As a thread does: inputs, outputs and what lies between are gone when the gradient of the outputs arrives.
  let tape: Tape | undefined;
  let used: tf.Tensor[] = [];
  tf.tidy(() => {
    used = tensors();
    tape = Tape.record(outputs(used));
  });
  expect(used.map(({ isDisposed }) => isDisposed)).toEqual([true, true, true]);
  // What takes the memory that was given back, and another tape between.
  const other = tf.fill([64], Number.NaN);
  tf.tidy(() => void differentiate(loss(xs), xs, () => undefined));
  let got: typeof expected | undefined;
  tf.tidy(() => {
    got = gradientsBack(tape as Tape, seeds, used);
  });
  expect(got as typeof expected | undefined).toEqual(expected);
  tf.dispose([other, ...seeds, ...xs]);
  expect(tf.memory().numTensors).toBe(before.numTensors);
  expect(tf.memory().numDataBuffers).toBe(before.numDataBuffers);
});

test("a tape that is disposed of, and one whose recording fails, leave nothing", () => {
  const xs = tensors();
  const before = tf.memory();
  const nothingStays = () => {
    expect(tf.memory().numTensors).toBe(before.numTensors);
    expect(tf.memory().numDataBuffers).toBe(before.numDataBuffers);
  };
  const unused = Tape.record(outputs(xs));
  expect(tf.memory().numTensors).toBeGreaterThan(before.numTensors + SHAPES.length); // what the gradient needs
  tf.dispose([...unused.outputs]);
  unused.dispose();
  nothingStays();
  expect(() =>
    Tape.record(() => {
      outputs(xs)();
      throw new Error("half-way");
    }),
  ).toThrow("half-way");
  nothingStays();
  tf.dispose(xs);
});
