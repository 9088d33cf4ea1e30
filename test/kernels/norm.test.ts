/** Batch norm against its float64 reference, its gradients against finite differences, alone and behind a convolution. */
import { describe, expect, test } from "bun:test";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { webgpu } from "../../src/backend/webgpu.ts";
import { batchNormEval, batchNormTrain } from "../../src/kernels/batch_norm/index.ts";
import { batchNormReference } from "../../src/kernels/batch_norm/reference.ts";
import { matrixTiles } from "../../src/kernels/webgpu/matrix_product.ts";
import { inHalf, toFloat32 } from "../../src/kernels/webgpu/precision.ts";
import { tilesOfBlocks } from "../../src/kernels/webgpu/product.ts";
import { withStatistics } from "../../src/kernels/webgpu/statistics.ts";
import { askedBy, type Heard } from "../../src/kernels/webgpu/tune.ts";
import { choiceOf, tuning } from "../../src/kernels/webgpu/tuned.ts";
import { differentiate } from "../../src/nn/tape.ts";
import { devices, few, runOn } from "../support/devices.ts";
import { LONG, relativeError, tidied, wave } from "../support/helpers.ts";

describe.each(devices)("%s", (device) => {
  runOn(device);

  describe("batch norm", () => {
    const shapes = fc.record({
      rows: fc.oneof(fc.integer({ min: 2, max: 40 }), fc.integer({ min: 2, max: 900 })),
      c: fc.integer({ min: 1, max: 40 }),
      relu: fc.boolean(),
      residual: fc.boolean(),
    });

    test("training forward equals the float64 reference", async () => {
      await fc.assert(
        fc.asyncProperty(shapes, async ({ rows, c, relu, residual }) => {
          const [x, gamma, beta, res] = [
            wave(rows * c, 1).map((v) => v + 3),
            wave(c, 2),
            wave(c, 3),
            wave(rows * c, 4),
          ] as const;
          const expected = batchNormReference(x, gamma, beta, residual ? res : undefined, relu, 1e-5);
          await tidied(async () => {
            const affine = { gamma: tf.tensor1d(gamma), beta: tf.tensor1d(beta) };
            const inputs = { x: tf.tensor2d(x, [rows, c]), affine };
            const [y, mean, variance] = batchNormTrain(
              residual ? { ...inputs, residual: tf.tensor2d(res, [rows, c]) } : inputs,
              relu,
            );
            expect(relativeError(await y.data(), expected.y)).toBeLessThan(2e-5);
            expect(relativeError(await mean.data(), expected.mean)).toBeLessThan(1e-5);
            expect(relativeError(await variance.data(), expected.variance)).toBeLessThan(1e-5);
            const again = batchNormEval(
              residual ? { ...inputs, residual: tf.tensor2d(res, [rows, c]) } : inputs,
              mean,
              variance,
              relu,
            );
            expect(await again.data()).toEqual(await y.data());
          });
        }),
        { numRuns: few(device, 80), seed: 3 },
      );
    });

    if (device === "webgpu") {
      test.each(["in float32, every tile the same bits", "on tensor cores, emulated, either tile the same bits"])(
        "by sums that the convolution took of its output: %s",
        async (name) => {
          const [x, f] = [
            // Values that float16 has, to which tensor cores round.
            tf.tensor4d(wave(4 * 128 * 8, 1).map(Math.f16round), [4, 8, 16, 8]),
            tf.tensor4d(wave(9 * 8 * 72, 2).map(Math.f16round), [3, 3, 8, 72]),
          ];
          const affine = { gamma: tf.tensor1d(wave(72, 3)), beta: tf.tensor1d(wave(72, 4)) };
          const normalised = () => batchNormTrain({ x: tf.conv2d(x, f, 1, 1), affine }, false, { groups: 2 });
          const read = (all: tf.Tensor[]) => Promise.all(all.map((t) => t.data()));
          const expected = await read(normalised());
          const fused = () => read(withStatistics(2, () => inHalf(false, normalised)));
          expect(await fused()).toEqual(expected); // a software adapter takes none
          const results: unknown[] = [];
          if (name.startsWith("in float32")) {
            webgpu().foldsNumbers = true;
            for (const tile of LONG ? tilesOfBlocks : [tilesOfBlocks[0], tilesOfBlocks.at(-1)]) {
              tuning().forced = tile;
              const got = await fused();
              got.forEach((values, i) => {
                expect(relativeError(values as Float32Array, expected[i] as Float32Array)).toBeLessThan(1e-5);
              });
              results.push(got);
              const recording = await webgpu().record(() => withStatistics(2, normalised), false);
              expect(recording.dispatches.map((dispatch) => dispatch.name)).toEqual([
                "conv2d",
                "batch norm: moments",
                "batch norm",
              ]);
              recording.destroy();
            }
            tuning().forced = undefined;
            webgpu().foldsNumbers = false;
            expect(results).toHaveLength(LONG ? tilesOfBlocks.length : 2);
            for (const result of results.slice(1)) expect(result).toEqual(results[0]);
          } else {
            tuning().tensorCores = { config: { rows: 16, columns: 16, depth: 16, lanes: 32 }, emulated: true };
            const onCores = () => withStatistics(2, () => inHalf(true, normalised));
            const { products } = await askedBy(webgpu(), () => void onCores());
            const [product] = products as [Heard];
            const [, means, variances] = expected as [Float32Array, Float32Array, Float32Array];
            // One of each width, or all.
            const tried = [...matrixTiles.entries()].filter(([index]) => LONG || index === 0 || index === 3);
            for (const [index, { columns }] of tried) {
              tuning().choices.set(choiceOf(product, product.half), index);
              const recording = await webgpu().record(() => void onCores(), false);
              expect(recording.dispatches[0]).toMatchObject({
                name: "conv2d",
                groups: [Math.ceil(72 / columns), 4, 1],
              });
              recording.destroy();
              const [y, mean, variance] = onCores();
              const got = await read([toFloat32(y), mean, variance]);
              expect(relativeError(got[0] as Float32Array, expected[0] as Float32Array)).toBeLessThan(2e-3);
              expect(relativeError(got[1] as Float32Array, means)).toBeLessThan(1e-5);
              expect(relativeError(got[2] as Float32Array, variances)).toBeLessThan(1e-5);
              results.push(got);
            }
            tuning().tensorCores = undefined;
            tuning().choices.clear();
            expect(results[1]).toEqual(results[0]);
          }
        },
        60_000,
      );
    }

    test("groups of rows are normalised and differentiated as if each were alone, gamma and beta by all of them", async () => {
      const [groups, rows, c] = [3, 20, 8];
      const values = {
        x: wave(groups * rows * c, 1),
        gamma: wave(c, 2),
        beta: wave(c, 3),
        dy: wave(groups * rows * c, 5),
      };
      await tidied(async () => {
        const [x, dy] = [tf.tensor2d(values.x, [groups * rows, c]), tf.tensor2d(values.dy, [groups * rows, c])];
        const [gamma, beta] = [tf.tensor1d(values.gamma), tf.tensor1d(values.beta)];
        const back = (parts: tf.Tensor, dys: tf.Tensor, of: number) =>
          tf.grads((a, b, d) => {
            const inputs = { x: a as tf.Tensor, affine: { gamma: b as tf.Tensor, beta: d as tf.Tensor } };
            return batchNormTrain(inputs, true, { groups: of })[0];
          })([parts, gamma, beta], dys) as [tf.Tensor, tf.Tensor, tf.Tensor];
        const affine = { gamma, beta };
        const [y, mean, variance] = batchNormTrain({ x, affine }, true, { groups });
        const [dx, dgamma, dbeta] = back(x, dy, groups);
        expect(mean.shape).toEqual([groups, c]);
        let [gammas, betas] = [new Float32Array(c), new Float32Array(c)];
        for (let group = 0; group < groups; group++) {
          const part = (t: tf.Tensor) => tf.slice(t, [group * rows, 0], [rows, c]);
          const [alone, m, v] = batchNormTrain({ x: part(x), affine }, true);
          const [dxAlone, g, b] = back(part(x), part(dy), 1);
          expect(relativeError(await part(y).data(), await alone.data())).toBeLessThan(1e-6);
          expect(relativeError(await part(dx).data(), await dxAlone.data())).toBeLessThan(1e-5);
          const [meanAll, varianceAll] = [await mean.data(), await variance.data()];
          expect(relativeError(meanAll.slice(group * c, (group + 1) * c), await m.data())).toBeLessThan(1e-6);
          expect(relativeError(varianceAll.slice(group * c, (group + 1) * c), await v.data())).toBeLessThan(1e-6);
          const [dg, db] = [await g.data(), await b.data()];
          gammas = gammas.map((sum, i) => sum + (dg[i] as number));
          betas = betas.map((sum, i) => sum + (db[i] as number));
        }
        expect(relativeError(await dgamma.data(), gammas)).toBeLessThan(1e-5);
        expect(relativeError(await dbeta.data(), betas)).toBeLessThan(1e-5);
      });
    });

    test.each([
      [false, false],
      [true, false],
      [false, true],
      [true, true],
    ])("gradients equal finite differences of the reference (relu %p, residual %p)", async (relu, residual) => {
      const [rows, c, step] = [300, 11, 1e-5] as const;
      const values = {
        x: wave(rows * c, 1),
        gamma: wave(c, 2).map((v) => v + 1.5),
        beta: wave(c, 3),
        residual: wave(rows * c, 4),
      };
      const dy = wave(rows * c, 5);
      const loss = (v: Record<keyof typeof values, ArrayLike<number>>) =>
        batchNormReference(v.x, v.gamma, v.beta, residual ? v.residual : undefined, relu, 1e-5).y.reduce(
          (sum, y, i) => sum + y * (dy[i] as number),
          0,
        );
      const names = (["x", "gamma", "beta", "residual"] as const).filter((name) => residual || name !== "residual");
      const tensors = names.map((name) =>
        tf.tensor(values[name], name === "x" || name === "residual" ? [rows, c] : [c]),
      );
      const grads = tf.grads((...t: tf.Tensor[]) => {
        const [x, gamma, beta, added] = t as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor?];
        return batchNormTrain({ x, affine: { gamma, beta }, ...(added && { residual: added }) }, relu)[0];
      })(tensors, tf.tensor2d(dy, [rows, c]));
      for (const [n, name] of names.entries()) {
        const got = await (grads[n] as tf.Tensor).data();
        const scale = Math.max(...got.map(Math.abs));
        for (let i = 0; i < got.length; i += Math.max(1, Math.floor(got.length / 60))) {
          const moved = (by: number) =>
            loss({ ...values, [name]: Float64Array.from(values[name], (v, j) => (j === i ? v + by : v)) });
          const expected = (moved(step) - moved(-step)) / (2 * step);
          expect(Math.abs((got[i] as number) - expected) / scale).toBeLessThan(1e-4);
        }
      }
    });

    test("without gain and bias: forward as with 1 and 0", async () => {
      await fc.assert(
        fc.asyncProperty(shapes, async ({ rows, c, relu, residual }) => {
          const [x, res] = [wave(rows * c, 1).map((v) => v + 3), wave(rows * c, 4)];
          const [ones, zeros] = [new Float32Array(c).fill(1), new Float32Array(c)];
          const expected = batchNormReference(x, ones, zeros, residual ? res : undefined, relu, 1e-5);
          await tidied(async () => {
            const added = residual ? { residual: tf.tensor2d(res, [rows, c]) } : {};
            const inputs = { x: tf.tensor2d(x, [rows, c]), ...added };
            const [y, mean, variance] = batchNormTrain(inputs, relu);
            expect(relativeError(await y.data(), expected.y)).toBeLessThan(2e-5);
            expect(relativeError(await mean.data(), expected.mean)).toBeLessThan(1e-5);
            expect(relativeError(await variance.data(), expected.variance)).toBeLessThan(1e-5);
            expect(await batchNormEval(inputs, mean, variance, relu).data()).toEqual(await y.data());
            const affine = { gamma: tf.tensor1d(ones), beta: tf.tensor1d(zeros) };
            expect(await batchNormTrain({ ...inputs, affine }, relu)[0].data()).toEqual(await y.data());
          });
        }),
        { numRuns: few(device, 40), seed: 4 },
      );
    });

    test.each([
      [false, false],
      [true, false],
      [true, true],
    ])(
      "without gain and bias: gradients equal finite differences, and nothing stays (relu %p, residual %p)",
      async (relu, residual) => {
        const [rows, c, step] = [300, 11, 1e-5] as const;
        const [ones, zeros] = [new Float64Array(c).fill(1), new Float64Array(c)];
        const values = [wave(rows * c, 1), wave(rows * c, 4)].slice(0, residual ? 2 : 1);
        const dy = wave(rows * c, 5);
        const loss = ([x, added]: ArrayLike<number>[]) =>
          batchNormReference(x as ArrayLike<number>, ones, zeros, added, relu, 1e-5).y.reduce(
            (sum, y, i) => sum + y * (dy[i] as number),
            0,
          );
        const before = tf.memory();
        const xs = values.map((v) => tf.tensor2d(v, [rows, c]));
        const seeds = tf.tensor2d(dy, [rows, c]);
        const taken: tf.Tensor[] = [];
        const value = differentiate(
          () => {
            const [x, added] = xs as [tf.Tensor, tf.Tensor?];
            const [y] = batchNormTrain({ x, ...(added && { residual: added }) }, relu);
            return tf.sum(tf.mul(y, seeds)) as tf.Scalar;
          },
          xs,
          (gradient, index) => {
            expect(taken[index]).toBeUndefined();
            taken[index] = tf.keep(gradient.clone());
          },
        );
        const expectedLoss = loss(values);
        expect(Math.abs(((await value.data())[0] as number) / expectedLoss - 1)).toBeLessThan(1e-4);
        expect(taken).toHaveLength(xs.length);
        const got = await Promise.all(taken.map((gradient) => gradient.data()));
        tf.dispose([...xs, seeds, value, ...taken]);
        expect(tf.memory().numTensors).toBe(before.numTensors);
        expect(tf.memory().numDataBuffers).toBe(before.numDataBuffers);
        got.forEach((gradient, n) => {
          const scale = Math.max(...gradient.map(Math.abs));
          for (let i = 0; i < gradient.length; i += Math.floor(gradient.length / 60)) {
            const moved = (by: number) =>
              loss(values.map((v, m) => (m === n ? Float64Array.from(v, (w, j) => (j === i ? w + by : w)) : v)));
            const expected = (moved(step) - moved(-step)) / (2 * step);
            expect(Math.abs((gradient[i] as number) - expected) / scale).toBeLessThan(1e-4);
          }
        });
      },
    );
  });
});
