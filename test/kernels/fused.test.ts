/** The other kernels against their float64 references, over random shapes, and their gradients against finite differences. */
import { describe, expect, test } from "bun:test";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { centreRow, ROW } from "../../src/data/view.ts";
import { augment } from "../../src/kernels/augment/index.ts";
import { infoNce } from "../../src/kernels/info_nce/index.ts";
import { infoNceReference } from "../../src/kernels/info_nce/reference.ts";
import { maxPool } from "../../src/kernels/max_pool/index.ts";
import { meanPlaces } from "../../src/kernels/mean_places/index.ts";
import { Stream } from "../../src/util/random.ts";
import { devices, few, runOn } from "../support/devices.ts";
import { relativeError, tidied, wave } from "../support/helpers.ts";

const side = fc.oneof(fc.integer({ min: 1, max: 17 }), fc.constant(28));

describe.each(devices)("%s", (device) => {
  runOn(device);

  describe("InfoNCE", () => {
    const units = (rows: number, dim: number, salt: number) => {
      const stream = new Stream(salt, "probe", rows, dim);
      const values = Float32Array.from({ length: rows * dim }, () => stream.normal());
      for (let r = 0; r < rows; r++) {
        const row = values.subarray(r * dim, (r + 1) * dim);
        const length = Math.hypot(...row);
        row.forEach((v, i) => {
          row[i] = v / length;
        });
      }
      return values;
    };

    test("loss, metrics and gradient equal float64's for any sizes, temperature and mask", async () => {
      const shape = fc.record({
        n: fc.integer({ min: 1, max: 9 }),
        c: fc.integer({ min: 1, max: 33 }),
        keys: fc.integer({ min: 1, max: 70 }),
        t: fc.constantFrom(0.01, 0.07, 0.2, 1),
        masked: fc.boolean(),
      });
      await fc.assert(
        fc.asyncProperty(shape, async ({ n, c, keys, t, masked }) => {
          const [q, k, queue] = [units(n, c, 1), units(n, c, 2), units(keys, c, 3)];
          const [ids, queueIds] = [
            Int32Array.from({ length: n }, (_, i) => i),
            Int32Array.from({ length: keys }, (_, j) => j % 7),
          ];
          const mask = masked
            ? Float32Array.from({ length: n * keys }, (_, i) =>
                ids[Math.floor(i / keys)] === queueIds[i % keys] ? -1e4 : 0,
              )
            : undefined;
          const expected = infoNceReference(q, k, queue, c, t, mask);
          await tidied(async () => {
            const [qt, kt, queueT] = [tf.tensor2d(q, [n, c]), tf.tensor2d(k, [n, c]), tf.tensor2d(queue, [keys, c])];
            const images = masked
              ? { ids: tf.tensor1d(ids, "int32"), queueIds: tf.tensor1d(queueIds, "int32") }
              : undefined;
            const { loss, metrics } = infoNce(qt, kt, queueT, t, images);
            // A logit of 100 has 1e-5 of error in float32 already.
            expect(Math.abs(((await loss.data())[0] as number) - expected.loss)).toBeLessThan(
              1e-6 / t + 1e-5 * expected.loss,
            );
            const [top1, positive, negative] = (await metrics.data()) as unknown as [number, number, number];
            expect(top1).toBeCloseTo(expected.top1, 5);
            expect(positive).toBeCloseTo(expected.positive, 5);
            expect(negative).toBeCloseTo(expected.negative, 5);
            const dq = tf.grad((x) => infoNce(x, kt, queueT, t, images).loss)(qt);
            expect(relativeError(await dq.data(), expected.dq)).toBeLessThan(2e-6 / t + 1e-5);
          });
        }),
        { numRuns: few(device, 200), seed: 3 },
      );
    });

    test("a temperature that is a tensor: the same, with its gradient (finite differences of float64's)", async () => {
      const [n, c, keys, t] = [5, 7, 23, 0.3];
      const [q, k, queue] = [units(n, c, 1), units(n, c, 2), units(keys, c, 3)];
      const expected = infoNceReference(q, k, queue, c, t);
      const lossAt = (temperature: number) => infoNceReference(q, k, queue, c, temperature).loss;
      const slope = (lossAt(t + 1e-5) - lossAt(t - 1e-5)) / 2e-5;
      await tidied(async () => {
        const [qt, kt, queueT] = [tf.tensor2d(q, [n, c]), tf.tensor2d(k, [n, c]), tf.tensor2d(queue, [keys, c])];
        const temperature = tf.scalar(t);
        const { loss, metrics } = infoNce(qt, kt, queueT, temperature);
        expect(relativeError(await loss.data(), [expected.loss])).toBeLessThan(1e-5);
        const { top1, positive, negative } = expected;
        expect(relativeError(await metrics.data(), [top1, positive, negative])).toBeLessThan(1e-5);
        const lossOf = (x: tf.Tensor, by: tf.Tensor) => infoNce(x, kt, queueT, by as tf.Scalar).loss;
        const [dq, dt] = tf.grads(lossOf as (...xs: tf.Tensor[]) => tf.Tensor)([qt, temperature]);
        expect(relativeError(await (dq as tf.Tensor).data(), expected.dq)).toBeLessThan(1e-5);
        expect(relativeError(await (dt as tf.Tensor).data(), [slope])).toBeLessThan(1e-4);
      });
    });

    test("the reference's gradient is that of its loss (finite differences)", async () => {
      const [q, k, queue] = [units(3, 5, 1), units(3, 5, 2), units(11, 5, 3)].map((v) => Float64Array.from(v)) as [
        ...[Float64Array, Float64Array, Float64Array],
      ];
      const { dq } = infoNceReference(q, k, queue, 5, 0.2);
      const lossAt = (i: number, step: number) => {
        const moved = q.slice();
        moved[i] = (moved[i] as number) + step;
        return infoNceReference(moved, k, queue, 5, 0.2).loss;
      };
      dq.forEach((g, i) => {
        expect(Math.abs((lossAt(i, 1e-6) - lossAt(i, -1e-6)) / 2e-6 - g)).toBeLessThan(1e-7);
      });
    });
  });

  describe("mean of places", () => {
    test("and its gradient equal tfjs's own, for any shape", async () => {
      const shape = fc.record({
        n: fc.integer({ min: 1, max: 3 }),
        h: side,
        w: side,
        c: fc.integer({ min: 1, max: 9 }),
      });
      await fc.assert(
        fc.asyncProperty(shape, async ({ n, h, w, c }) => {
          await tidied(async () => {
            const [x, dy] = [
              tf.tensor4d(
                wave(n * h * w * c, 1).map((v) => v + 2),
                [n, h, w, c],
              ),
              tf.tensor2d(wave(n * c, 2), [n, c]),
            ];
            expect(relativeError(await meanPlaces(x).data(), await tf.mean(x, [1, 2]).data())).toBeLessThan(1e-5);
            const dx = tf.grad((t) => meanPlaces(t))(x, dy);
            const expected = tf.grad((t) => tf.mean(t, [1, 2]))(x, dy);
            expect(relativeError(await dx.data(), await expected.data())).toBeLessThan(1e-6);
          });
        }),
        { numRuns: few(device, 40), seed: 9 },
      );
    });
  });

  describe("max pool", () => {
    /** y, and dx of dy, by the definition. */
    function reference(x: Float32Array, dy: (o: number) => number, n: number, h: number, w: number, c: number) {
      const [oh, ow] = [Math.floor((h - 1) / 2) + 1, Math.floor((w - 1) / 2) + 1];
      const [y, dx] = [new Float32Array(n * oh * ow * c), new Float32Array(x.length)];
      for (let o = 0; o < y.length; o++) {
        const [k, ox, oy, i] = [
          o % c,
          Math.floor(o / c) % ow,
          Math.floor(o / c / ow) % oh,
          Math.floor(o / c / ow / oh),
        ];
        let best = -1;
        for (let a = Math.max(0, 2 * oy - 1); a < Math.min(h, 2 * oy + 2); a++) {
          for (let b = Math.max(0, 2 * ox - 1); b < Math.min(w, 2 * ox + 2); b++) {
            const at = ((i * h + a) * w + b) * c + k;
            if (best < 0 || (x[at] as number) > (x[best] as number)) best = at;
          }
        }
        y[o] = x[best] as number;
        dx[best] = (dx[best] as number) + dy(o);
      }
      return { y, dx, shape: [n, oh, ow, c] };
    }

    test("takes the first maximum of each window and sends the gradient to it, for any shape", async () => {
      const shape = fc.record({
        n: fc.integer({ min: 1, max: 2 }),
        h: side,
        w: side,
        c: fc.integer({ min: 1, max: 9 }),
      });
      await fc.assert(
        fc.asyncProperty(shape, async ({ n, h, w, c }) => {
          // Few different values, so that windows have several maxima.
          const x = wave(n * h * w * c, 1).map((v) => Math.round(3 * v));
          const expected = reference(x, (o) => Math.sin(o), n, h, w, c);
          await tidied(async () => {
            const t = tf.tensor4d(x, [n, h, w, c]);
            const y = maxPool(t, 3, 2, 1);
            expect(y.shape).toEqual(expected.shape);
            expect(await y.data()).toEqual(expected.y);
            const dy = Float32Array.from({ length: y.size }, (_, o) => Math.sin(o));
            const dx = tf.grad((v) => maxPool(v, 3, 2, 1))(t, tf.tensor(dy, y.shape));
            expect(relativeError(await dx.data(), expected.dx)).toBeLessThan(1e-6);
          });
        }),
        { numRuns: few(device, 60), seed: 7 },
      );
    });
  });

  describe("augment", () => {
    const side = 12;
    const pixels = Uint8Array.from({ length: side * side * 3 }, (_, i) => (i * 89) % 256);
    const batch = { pixels, places: Float64Array.of(0, side, side), channels: 3 };
    const row = async (edit: (row: Float32Array) => void) => {
      const values = new Float32Array(ROW);
      centreRow(values, 0, side, side, 3, 1);
      edit(values);
      return (await augment(batch, values, side, [0, 0, 0], [1, 1, 1]).data()) as Float32Array;
    };
    const plain = Float64Array.from(pixels, (v) => v / 255);

    test("a plain row only normalises", async () => {
      const out = await augment(batch, row2(), side, [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]).data();
      const [mean, std] = [
        [0.5, 0.4, 0.3],
        [0.2, 0.3, 0.4],
      ] as const;
      expect(
        relativeError(
          out,
          plain.map((v, i) => (v - (mean[i % 3] as number)) / (std[i % 3] as number)),
        ),
      ).toBeLessThan(1e-6);
      function row2() {
        const values = new Float32Array(ROW);
        centreRow(values, 0, side, side, 3, 1);
        return values;
      }
    });

    test("flips left and right", async () => {
      const out = await row((r) => r.fill(1, 4, 5));
      for (let y = 0; y < side; y++) {
        for (let x = 0; x < side; x++) {
          expect(out[(y * side + x) * 3]).toBeCloseTo(plain[(y * side + side - 1 - x) * 3] as number, 6);
        }
      }
    });

    test("grey has three equal channels of torchvision's weights", async () => {
      const out = await row((r) => r.fill(1, 14, 15));
      for (let p = 0; p < side * side; p++) {
        const [r, g, b] = plain.subarray(3 * p, 3 * p + 3) as unknown as [number, number, number];
        for (let c = 0; c < 3; c++) expect(out[3 * p + c]).toBeCloseTo(0.2989 * r + 0.587 * g + 0.114 * b, 5);
      }
    });

    test("brightness scales and clamps; a full hue turn changes nothing", async () => {
      const bright = await row((r) => r.set([1, 1.5, 1, 1, 0, 0, 1, 2, 3], 5));
      expect(
        relativeError(
          bright,
          plain.map((v) => Math.min(1, v * 1.5)),
        ),
      ).toBeLessThan(1e-6);
      const turned = await row((r) => r.set([1, 1, 1, 1, 1, 0, 1, 2, 3], 5));
      expect(relativeError(turned, plain)).toBeLessThan(1e-5);
    });

    test("blur keeps a constant image and equals the Gaussian's definition", async () => {
      const sigma = 1.3;
      const out = await row((r) => r.fill(sigma, 15, 16));
      const radius = Math.ceil(3 * sigma);
      const kernel = Array.from({ length: 2 * radius + 1 }, (_, i) =>
        Math.exp(-((i - radius) ** 2) / (2 * sigma ** 2)),
      );
      const sum = kernel.reduce((a, b) => a + b);
      const mirror = (q: number) => (q < 0 ? -q : q >= side ? 2 * (side - 1) - q : q);
      const at = (y: number, x: number) => plain[(mirror(y) * side + mirror(x)) * 3] as number;
      for (const [y, x] of [
        [0, 0],
        [5, 6],
        [11, 2],
      ] as const) {
        let expected = 0;
        kernel.forEach((a, i) => {
          kernel.forEach((b, j) => {
            expected += (a * b * at(y + i - radius, x + j - radius)) / sum ** 2;
          });
        });
        expect(out[(y * side + x) * 3]).toBeCloseTo(expected, 5);
      }
    });

    test("a crop enlarged by two is bilinear", async () => {
      const out = await row((r) => r.set([3, 4, 6, 6], 0));
      const at = (y: number, x: number) => plain[((3 + y) * side + 4 + x) * 3] as number;
      // Output pixel (5, 5) lies at source 2.25: a quarter of the way from pixel 2 to pixel 3.
      const expected = 0.5625 * at(2, 2) + 0.1875 * (at(2, 3) + at(3, 2)) + 0.0625 * at(3, 3);
      expect(out[(5 * side + 5) * 3]).toBeCloseTo(expected, 5);
    });
  });
});
