/** Closed forms of MoCo (docs/architecture.md names the sources), and what the threads must not change. */
import { beforeAll, expect, test } from "bun:test";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { splitPositions } from "../../src/engine/units.ts";
import { openDevice } from "../../src/kernels/index.ts";
import { infoNce } from "../../src/kernels/info_nce/index.ts";
import { normalise } from "../../src/methods/losses/vectors.ts";
import { enqueue, initQueue } from "../../src/methods/ring.ts";
import { momentumUpdate } from "../../src/optim/average/index.ts";
import { Stream } from "../../src/util/random.ts";

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

test.each([
  // moco#43: the first step's accuracy is near 100%, then the loss rises as the queue fills with real keys.
  ["v1", 0.07, 65_536, 0.087],
  ["v2", 0.2, 65_536, 6.19],
  ["CIFAR", 0.1, 4096, 0.243],
])(
  "first step of %s: query and key agree, the queue is noise: log(1 + K exp(1/(2dT^2) - 1/T))",
  (_, t, k, expected) => {
    const q = unit(64, 128, 1);
    const { loss } = infoNce(q, q, unit(k, 128, 3), t);
    expect(Math.log(1 + k * Math.exp(1 / (2 * 128 * t * t) - 1 / t))).toBeCloseTo(expected, 2);
    expect(Math.abs((loss.dataSync()[0] as number) / expected - 1)).toBeLessThan(0.1);
  },
);

test("keys of the query's own image are left out of its negatives, and nothing else", () => {
  const [q, k, queue] = [unit(3, 16, 1), unit(3, 16, 2), unit(8, 16, 3)];
  const queueIds = Int32Array.of(-1, 7, 5, 7, 9, -1, 5, 2);
  const images = { ids: tf.tensor1d([5, 6, 7], "int32"), queueIds: tf.tensor1d(queueIds, "int32") };
  const { loss } = infoNce(q, k, queue, 0.1, images);
  const cosines = (rows: tf.Tensor2D) => tf.matMul(q, rows, false, true).arraySync() as number[][];
  const [toKeys, toQueue] = [cosines(k), cosines(queue)];
  const kept = [5, 6, 7].map((id, row) => {
    const negatives = (toQueue[row] as number[]).filter((_, i) => queueIds[i] !== id);
    const own = (toKeys[row]?.[row] as number) / 0.1;
    return Math.log([own, ...negatives.map((v) => v / 0.1)].reduce((sum, l) => sum + Math.exp(l), 0)) - own;
  });
  expect(loss.dataSync()[0]).toBeCloseTo(kept.reduce((a, b) => a + b) / 3, 5);
  // No gradient comes through a masked key, and none that is not finite.
  const gradient = tf.grad((x) => infoNce(x, k, queue, 0.1, images).loss)(q);
  expect(gradient.dataSync().every(Number.isFinite)).toBe(true);
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
        const queue = { keys: new Float32Array(k).fill(-1), ids: new Int32Array(k).fill(-1) };
        const oracle: number[] = [];
        let pointer = 0;
        for (let s = 0; s < steps; s++) {
          const keys = Float32Array.from({ length: n }, (_, i) => s * n + i);
          pointer = enqueue(queue, keys, Int32Array.from(keys), pointer);
          oracle.push(...keys);
        }
        expect(pointer).toBe((steps * n) % k);
        const kept = oracle.slice(-k);
        expect([...queue.keys].filter((v) => v >= 0).sort((a, b) => a - b)).toEqual(kept);
        expect([...queue.ids]).toEqual([...queue.keys]); // keys and images stay together
        const { keys } = queue;
        if (oracle.length >= k) expect([...keys.slice(pointer), ...keys.slice(0, pointer)]).toEqual(kept);
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

test("tensors whose shapes do not agree are refused at the kernel's door, saying got and expected", () => {
  const [q, queue] = [unit(4, 16, 1), unit(8, 12, 2)];
  expect(() => infoNce(q, q, queue, 0.1)).toThrow("InfoNCE: queue: expected shape [-1,16], got [8,12]");
  expect(() => infoNce(q, unit(3, 16, 3), unit(8, 16, 2), 0.1)).toThrow(
    "InfoNCE: k: expected shape [4,16], got [3,16]",
  );
});
