/** Closed forms of MoCo (docs/architecture.md names the sources), and what the threads must not change. */
import { beforeAll, expect, test } from "bun:test";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { openDevice } from "../src/kernels/index.ts";
import { enqueue, infoNce, initQueue, momentumUpdate, normalise, splitPositions } from "../src/methods/moco.ts";
import { Stream } from "../src/util/random.ts";

beforeAll(openDevice);

const unit = (rows: number, dim: number, seed: number) => {
  const values = new Float32Array(rows * dim);
  initQueue(values, dim, seed);
  return tf.tensor2d(values, [rows, dim]);
};

test.each([64, 4096])("constant embeddings: the loss is log(K+1), K=%p", (k) => {
  const one = (rows: number) => tf.tile(normalise(tf.ones([1, 16])), [rows, 1]);
  const { loss } = infoNce(one(8), one(8), one(k), 0.1);
  expect(loss.dataSync()[0]).toBeCloseTo(Math.log(k + 1), 4);
});

test("random directions: the loss is about log(K+1) + 1/(2 d T^2)", () => {
  const { loss } = infoNce(unit(512, 128, 1), unit(512, 128, 2), unit(4096, 128, 3), 0.2);
  expect(Math.abs((loss.dataSync()[0] as number) - (Math.log(4097) + 1 / (2 * 128 * 0.04)))).toBeLessThan(0.1);
});

test("momentum update: k = q - (q - k0) m^t for constant q", () => {
  const q = Float32Array.of(1, -2, 3);
  const k = Float32Array.of(0, 5, 3);
  for (let t = 0; t < 20; t++) momentumUpdate(k, q, 0.9, { from: 0, to: 3 });
  [0, 5, 3].forEach((k0, i) => {
    expect(k[i]).toBeCloseTo((q[i] as number) - ((q[i] as number) - k0) * 0.9 ** 20, 5);
  });
});

test("the queue is an exact FIFO for any K >= batch, dividing or not", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 0, max: 14 }),
      fc.integer({ min: 1, max: 30 }),
      (n, more, steps) => {
        const k = n + more;
        const queue = new Float32Array(k).fill(-1);
        const oracle: number[] = [];
        let pointer = 0;
        for (let s = 0; s < steps; s++) {
          const keys = Float32Array.from({ length: n }, (_, i) => s * n + i);
          pointer = enqueue(queue, keys, pointer, 1);
          oracle.push(...keys);
        }
        expect(pointer).toBe((steps * n) % k);
        const kept = oracle.slice(-k);
        expect([...queue].filter((v) => v >= 0).sort((a, b) => a - b)).toEqual(kept);
        if (oracle.length >= k) expect([...queue.slice(pointer), ...queue.slice(0, pointer)]).toEqual(kept);
      },
    ),
  );
});

test("splits deal every batch position once, and shuffled keys meet other companions", () => {
  const order = new Stream(0, "shuffle", 5).permutation(64);
  const keySplits = Array.from({ length: 8 }, (_, s) => splitPositions(order, s, 8));
  expect(keySplits.flat().sort((a, b) => a - b)).toEqual([...Array(64).keys()]);
  const querySplit = splitPositions([...Array(64).keys()], 0, 8);
  expect(querySplit).toEqual([0, 8, 16, 24, 32, 40, 48, 56]);
  expect(keySplits.some((split) => querySplit.every((p) => split.includes(p)))).toBe(false);
});

test("no gradient reaches keys or queue", () => {
  const [q, k, queue] = [unit(4, 8, 1), unit(4, 8, 2), unit(16, 8, 3)];
  const gradient = tf
    .grad((x) => infoNce(x, k, queue, 0.2).loss)(q)
    .dataSync();
  // d/dq of the mean cross-entropy: (sum_j p_j key_j - k+) / (N T), written out.
  const [qv, kv, nv] = [q, k, queue].map((t) => Float32Array.from(t.dataSync())) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  for (let n = 0; n < 4; n++) {
    const keys = [kv.slice(n * 8, n * 8 + 8), ...Array.from({ length: 16 }, (_, j) => nv.slice(j * 8, j * 8 + 8))];
    const logits = keys.map((key) => key.reduce((sum, v, c) => sum + v * (qv[n * 8 + c] as number), 0) / 0.2);
    const sum = logits.reduce((a, l) => a + Math.exp(l), 0);
    for (let c = 0; c < 8; c++) {
      const mean = keys.reduce((a, key, j) => a + (Math.exp(logits[j] as number) / sum) * (key[c] as number), 0);
      expect(gradient[n * 8 + c]).toBeCloseTo((mean - (kv[n * 8 + c] as number)) / (4 * 0.2), 5);
    }
  }
});
