/** Our walk over the tape against tfjs's own, and what it leaves behind. */
import { beforeAll, expect, test } from "bun:test";
import * as tf from "@tensorflow/tfjs-core";
import { takeHeapRecord } from "../../src/backend/heap.ts";
import { openDevice } from "../../src/kernels/index.ts";
import { differentiate } from "../../src/nn/differentiate.ts";
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

test("an x that has no part in the value is an error, and so is a tape inside a tape", () => {
  const [a, b] = tensors() as [tf.Tensor, tf.Tensor];
  const alone = () => tf.mean(a) as tf.Scalar;
  const before = tf.memory().numTensors;
  expect(() => differentiate(alone, [a, b], () => undefined)).toThrow("x 1 has no part in the value");
  expect(() =>
    differentiate(
      () => differentiate(alone, [a], () => undefined),
      [a],
      () => undefined,
    ),
  ).toThrow("nest");
  expect(tf.memory().numTensors).toBe(before + 1); // the value of the first
  tf.dispose([a, b]);
});
