/** Convolutions and products against their float64 references, over random shapes, between guard words. */
import { describe, expect, test } from "bun:test";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { findNullAdapter } from "../../src/backend/null_adapter.ts";
import { pointer, wasmDevice } from "../../src/backend/wasm.ts";
import { webgpu } from "../../src/backend/webgpu.ts";
import { conv2dGradReference, conv2dReference, type Geometry, outSize } from "../../src/kernels/conv2d/reference.ts";
import { matrixProductCode, matrixTiles } from "../../src/kernels/webgpu/matrix_product.ts";
import { inHalf, toFloat32 } from "../../src/kernels/webgpu/precision.ts";
import { type Operand, type Tile, tiles } from "../../src/kernels/webgpu/product.ts";
import { matrixHeader } from "../../src/kernels/webgpu/subgroup_matrices.ts";
import { agrees, askedBy, type Heard, provenCores, tuneProducts } from "../../src/kernels/webgpu/tune.ts";
import { candidates, keyOf, tileFor, tuning } from "../../src/kernels/webgpu/tuned.ts";
import { Stream } from "../../src/util/random.ts";
import { devices, runOn, testCores, useTestDevice } from "../support/devices.ts";
import { guardHeap, LONG, relativeError, tidied, wave } from "../support/helpers.ts";

test("the guard words see a write beyond the end", async () => {
  await useTestDevice("wasm");
  const unguard = guardHeap();
  const tensor = tf.zeros([3]);
  const { HEAPU32 } = wasmDevice().backend.wasm as unknown as { HEAPU32: Uint32Array };
  HEAPU32[pointer(tensor) / 4 + 3] = 1;
  expect(() => tensor.dispose()).toThrow("wrote beyond its 12 bytes");
  unguard();
});

const side = fc.oneof(fc.integer({ min: 1, max: 17 }), fc.constant(28));
const channels = fc.oneof(fc.constantFrom(1, 3, 5), fc.integer({ min: 1, max: 34 }));
const geometry: fc.Arbitrary<Geometry> = fc
  .record({
    n: fc.integer({ min: 1, max: 3 }),
    h: side,
    w: side,
    ci: channels,
    co: channels,
    k: fc.constantFrom(1, 3, 7),
    stride: fc.constantFrom(1, 2),
  })
  .map(({ k, ...rest }) => ({ ...rest, kh: k, kw: k, pad: (k - 1) / 2 }));

describe.each(devices)("%s", (device) => {
  runOn(device);

  describe("conv2d", () => {
    test("forward and both gradients equal the definition for any shape", async () => {
      await fc.assert(
        fc.asyncProperty(geometry, async (g) => {
          const { oh, ow } = outSize(g);
          const x = wave(g.n * g.h * g.w * g.ci, 1);
          const f = wave(g.kh * g.kw * g.ci * g.co, 2);
          const dy = wave(g.n * oh * ow * g.co, 3);
          const before = tf.memory().numTensors;
          const xt = tf.tensor4d(x, [g.n, g.h, g.w, g.ci]);
          const ft = tf.tensor4d(f, [g.kh, g.kw, g.ci, g.co]);
          const dyt = tf.tensor4d(dy, [g.n, oh, ow, g.co]);
          const y = tf.conv2d(xt, ft, g.stride, g.pad);
          const [dx, df] = tf.grads((a, b) => tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, g.stride, g.pad))(
            [xt, ft],
            dyt,
          );
          const expected = conv2dGradReference(g, x, f, dy);
          expect(y.shape).toEqual([g.n, oh, ow, g.co]);
          expect(relativeError(await y.data(), conv2dReference(g, x, f))).toBeLessThan(1e-5);
          expect(relativeError(await (dx as tf.Tensor).data(), expected.dx)).toBeLessThan(1e-5);
          expect(relativeError(await (df as tf.Tensor).data(), expected.dfilter)).toBeLessThan(1e-5);
          tf.dispose([xt, ft, dyt, y, dx as tf.Tensor, df as tf.Tensor]);
          expect(tf.memory().numTensors).toBe(before);
        }),
        { numRuns: device === "wasm" ? 100 : 14, seed: 1 },
      );
    });

    // Winograd's transforms cost some digits: 2e-6 to 1e-5 of the largest output on noise, as activations are.
    const noise = (length: number, salt: number) => {
      const stream = new Stream(salt, "probe", length);
      return Float32Array.from({ length }, () => stream.normal());
    };
    const winograd: fc.Arbitrary<Geometry> = fc
      .record({
        n: fc.integer({ min: 1, max: 5 }),
        h: side,
        w: side,
        ci: fc.integer({ min: 1, max: 8 }).map((fours) => 4 * fours),
        co: fc.integer({ min: 1, max: 8 }).map((eights) => 8 * eights),
        pad: fc.constantFrom(0, 1, 2),
        stride: fc.constantFrom(1, 2),
      })
      .filter(({ h, w, pad }) => h + 2 * pad >= 3 && w + 2 * pad >= 3)
      .map((rest) => ({ ...rest, kh: 3, kw: 3 }));

    test("3x3: forward and both gradients, ragged tiles, both strides and every padding, to 2e-5", async () => {
      await fc.assert(
        fc.asyncProperty(winograd, async (g) => {
          const { oh, ow } = outSize(g);
          const [x, f, dy] = [
            noise(g.n * g.h * g.w * g.ci, 1),
            noise(9 * g.ci * g.co, 2),
            noise(g.n * oh * ow * g.co, 3),
          ];
          await tidied(async () => {
            const xt = tf.tensor4d(x, [g.n, g.h, g.w, g.ci]);
            const ft = tf.tensor4d(f, [3, 3, g.ci, g.co]);
            const y = tf.conv2d(xt, ft, g.stride, g.pad);
            const [dx, df] = tf.grads((a, b) => tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, g.stride, g.pad))(
              [xt, ft],
              tf.tensor4d(dy, [g.n, oh, ow, g.co]),
            ) as [tf.Tensor, tf.Tensor];
            const expected = conv2dGradReference(g, x, f, dy);
            expect(relativeError(await y.data(), conv2dReference(g, x, f))).toBeLessThan(2e-5);
            expect(relativeError(await dx.data(), expected.dx)).toBeLessThan(2e-5);
            expect(relativeError(await df.data(), expected.dfilter)).toBeLessThan(2e-5);
            expect(await xt.data()).toEqual(x);
            expect(await ft.data()).toEqual(f);
          });
        }),
        { numRuns: (device === "wasm" ? 40 : 6) * (LONG ? 3 : 1), seed: 5 },
      );
    });

    test("a real layer's size: relative error of forward and gradients against float64", async () => {
      const g: Geometry = { n: 2, h: 8, w: 8, ci: 64, co: 64, kh: 3, kw: 3, stride: 1, pad: 1 };
      const [x, f, dy] = [noise(g.n * 64 * 64, 1), noise(9 * 64 * 64, 2), noise(g.n * 64 * 64, 3)];
      await tidied(async () => {
        const [xt, ft] = [tf.tensor4d(x, [2, 8, 8, 64]), tf.tensor4d(f, [3, 3, 64, 64])];
        const [dx, df] = tf.grads((a, b) => tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, 1, 1))(
          [xt, ft],
          tf.tensor4d(dy, [2, 8, 8, 64]),
        ) as [tf.Tensor, tf.Tensor];
        const expected = conv2dGradReference(g, x, f, dy);
        expect(relativeError(await tf.conv2d(xt, ft, 1, 1).data(), conv2dReference(g, x, f))).toBeLessThan(2e-5);
        expect(relativeError(await dx.data(), expected.dx)).toBeLessThan(2e-5);
        expect(relativeError(await df.data(), expected.dfilter)).toBeLessThan(2e-5);
      });
    });

    if (device === "webgpu") {
      test("in float16, sums in float32: forward and both gradients to the last bit of a half, 2^-11", async () => {
        const g: Geometry = { n: 2, h: 9, w: 8, ci: 16, co: 24, kh: 3, kw: 3, stride: 1, pad: 1 };
        const [x, f, dy] = [noise(2 * 72 * 16, 1), noise(9 * 16 * 24, 2), noise(2 * 72 * 24, 3)];
        const expected = conv2dGradReference(g, x, f, dy);
        await tidied(async () => {
          const [xt, ft] = [tf.tensor4d(x, [2, 9, 8, 16]), tf.tensor4d(f, [3, 3, 16, 24])];
          const run = () => {
            const y = tf.conv2d(xt, ft, 1, 1);
            const back = tf.grads((a, b) => tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, 1, 1));
            const [dx, df] = back([xt, ft], tf.tensor4d(dy, [2, 9, 8, 24])) as [tf.Tensor, tf.Tensor];
            expect([y, dx, df].map((t) => webgpu().isHalf(t))).toEqual([true, true, false]);
            // What is float16 is read as such: once more through the layer, and the sum of two.
            const again = tf.conv2d(tf.add(dx, dx) as tf.Tensor4D, ft, 1, 1);
            return { y: toFloat32(y), dx: toFloat32(dx), df, again: toFloat32(again) };
          };
          const got = inHalf(true, run);
          expect(relativeError(await got.y.data(), conv2dReference(g, x, f))).toBeLessThan(2 ** -11);
          expect(relativeError(await got.dx.data(), expected.dx)).toBeLessThan(2 ** -11);
          expect(relativeError(await got.df.data(), expected.dfilter)).toBeLessThan(1e-5);
          const twice = Float32Array.from(await got.dx.data(), (v) => 2 * v);
          expect(relativeError(await got.again.data(), conv2dReference(g, twice, f))).toBeLessThan(2 ** -11);
        });
      });

      test("in the tiles of tensor cores, emulated where there are none: forward and both gradients, ragged, with stride", async () => {
        const g: Geometry = { n: 3, h: 9, w: 11, ci: 20, co: 72, kh: 3, kw: 3, stride: 2, pad: 1 };
        const { oh, ow } = outSize(g);
        // Operands are rounded to float16 on their way; these are there already.
        const halves = (length: number, salt: number) => noise(length, salt).map(Math.f16round);
        const [x, f, dy] = [halves(3 * 99 * 20, 1), halves(9 * 20 * 72, 2), halves(3 * oh * ow * 72, 3)];
        const expected = conv2dGradReference(g, x, f, dy);
        tuning().tensorCores = testCores();
        await tidied(async () => {
          const [xt, ft] = [tf.tensor4d(x, [3, 9, 11, 20]), tf.tensor4d(f, [3, 3, 20, 72])];
          const got = inHalf(true, () => {
            const back = tf.grads((a, b) => tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, 2, 1));
            const [dx, df] = back([xt, ft], tf.tensor4d(dy, [3, oh, ow, 72])) as [tf.Tensor, tf.Tensor];
            return { y: toFloat32(tf.conv2d(xt, ft, 2, 1)), dx: toFloat32(dx), df };
          });
          expect(relativeError(await got.y.data(), conv2dReference(g, x, f))).toBeLessThan(2 ** -11);
          expect(relativeError(await got.dx.data(), expected.dx)).toBeLessThan(2 ** -11);
          expect(relativeError(await got.df.data(), expected.dfilter)).toBeLessThan(1e-5);
        });
        tuning().tensorCores = undefined;
      });

      test("tensor cores' code is WGSL that Dawn accepts", async () => {
        const { adapter } = await findNullAdapter(false);
        const needed = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"] as GPUFeatureName[];
        const device = await adapter.requestDevice({ requiredFeatures: needed });
        const operand = (p: string, along: Operand["along"], inFours = true): Operand => ({
          along,
          inFours,
          code: `fn ${p}_outer(u: u32) -> vec4i { return vec4i(); }
fn ${p}_load(o: vec4i, k: u32) -> ${inFours ? "vec4f { return vec4f(); }" : "f32 { return 0.0; }"}
fn ${p}_load_halves(o: vec4i, k: u32) -> vec2u { return vec2u(); }`,
        });
        const rest = {
          store: "fn store(row: u32, column: u32, v: vec4f) { y[row] = v; }",
          keep: "fn keep(block: u32, column: u32, first: vec4f, sum: vec4f, square: vec4f) { y[block] = sum; }",
          range: "fn range(z: u32) -> vec2u { return vec2u(0u, 64u); }",
        };
        const config = { rows: 16, columns: 16, depth: 16, lanes: 32 };
        const binding = "@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;";
        const operands = [
          { a: operand("a", "k"), b: operand("b", "outer") },
          { a: operand("a", "outer"), b: operand("b", "k") },
          { a: operand("a", "k", false), b: operand("b", "k", false) },
        ];
        for (const [tile, { a, b }] of matrixTiles.flatMap((tile) => operands.map((of) => [tile, of] as const))) {
          const code = `${matrixHeader}${binding}${matrixProductCode({ a, b, ...rest }, tile, config)}`;
          const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
          expect(messages.filter(({ type }) => type === "error").map(({ message }) => message)).toEqual([]);
        }
      });

      test("the tile for a shape: large where that fills a GPU, within what may be dispatched", () => {
        const tile = (rows: number, columns: number, slices = 1) => {
          const { rows: high, columns: wide } = tileFor({ name: "product", rows, columns, slices });
          return [high, wide];
        };
        expect(tile(524_288, 128)).toEqual([128, 128]);
        expect(tile(524_288, 64)).toEqual([128, 64]);
        expect(tile(512, 512)).toEqual([32, 32]); // 16 workgroups of 128 x 128 would leave most of a GPU idle
        // 100,352 rows of tiles of 32: more than 65,535 workgroups.
        expect(tile(3_211_264, 16)).toEqual([128, 16]);
        expect(() => tile(1e9, 16)).toThrow("more than this device can dispatch");
      });

      test("tuning measures each product once, and asks a device with no tensor cores for none", async () => {
        const x = tf.tensor4d(noise(2 * 64 * 64, 1), [2, 8, 8, 64]);
        const f = tf.tensor4d(noise(9 * 64 * 64, 2), [3, 3, 64, 64]);
        await Promise.all([x, f].map((t) => tf.add(t, 0).data())); // on the device
        const { products } = await askedBy(webgpu(), () => {
          tf.conv2d(x, f, 1, 1);
          tf.conv2d(x, f, 1, 1);
        });
        expect(products.map(({ name }) => name)).toEqual(["conv2d"]);
        const [product] = products as [Heard];
        expect(await tuneProducts(webgpu(), products)).toBe(1);
        expect(await tuneProducts(webgpu(), products)).toBe(0);
        expect(candidates(product)).toContain(tiles[tuning().choices.get(keyOf(product)) as number] as Tile);
        tuning().choices.clear();
        expect(await provenCores(webgpu(), webgpu().info, { products, proofs: [] }, () => undefined)).toBeUndefined();
        // What a proof is worth: the emulated cores agree, one that stores elsewhere does not.
        const cores = { config: { rows: 16, columns: 16, depth: 16, lanes: 32 }, emulated: true };
        expect(await agrees(webgpu(), product, cores)).toBe(true);
        const store = product.product.store.replace("v)", "v * 1.01)");
        expect(store).not.toBe(product.product.store);
        const off = { ...product, product: { ...product.product, store } };
        expect(await agrees(webgpu(), product, cores, off)).toBe(false);
        tf.dispose([x, f]);
      });

      test("what a GPU gets, sizes folded in and loops unrolled, in tiles of any size, has the same bits", async () => {
        const shapes: Geometry[] = [
          { n: 2, h: 9, w: 7, ci: 8, co: 12, kh: 3, kw: 3, stride: 2, pad: 1 },
          { n: 1, h: 8, w: 8, ci: 3, co: 5, kh: 3, kw: 3, stride: 1, pad: 1 },
        ];
        for (const g of LONG ? shapes : shapes.slice(1)) {
          const { oh, ow } = outSize(g);
          await tidied(async () => {
            const x = tf.tensor4d(noise(g.n * g.h * g.w * g.ci, 1), [g.n, g.h, g.w, g.ci]);
            const f = tf.tensor4d(noise(9 * g.ci * g.co, 2), [3, 3, g.ci, g.co]);
            const dy = tf.tensor4d(noise(g.n * oh * ow * g.co, 3), [g.n, oh, ow, g.co]);
            const all = async () => {
              const y = tf.conv2d(x, f, g.stride, g.pad);
              const grads = tf.grads((a, b) => tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, g.stride, g.pad))(
                [x, f],
                dy,
              );
              return Promise.all([y, ...grads].map((t) => t.data()));
            };
            const expected = await all();
            webgpu().foldsNumbers = true;
            for (const tile of [tiles[0], tiles.at(-1)] as Tile[]) {
              tuning().forced = tile;
              expect(await all()).toEqual(expected);
            }
            tuning().forced = undefined;
            webgpu().foldsNumbers = false;
          });
        }
      });
    }

    test("refuses dilation, naming it", () => {
      const x = tf.zeros([1, 8, 8, 1]) as tf.Tensor4D;
      expect(() => tf.conv2d(x, tf.zeros([3, 3, 1, 8]) as tf.Tensor4D, 1, "valid", "NHWC", 2)).toThrow("dilation");
    });
  });

  describe("matMul", () => {
    test("equals the definition for every transposition", async () => {
      const size = fc.integer({ min: 1, max: 33 });
      await fc.assert(
        fc.asyncProperty(size, size, size, fc.boolean(), fc.boolean(), async (m, k, n, ta, tb) => {
          const a = wave(m * k, 1);
          const b = wave(k * n, 2);
          const expected = new Float64Array(m * n);
          for (let i = 0; i < m; i++) {
            for (let j = 0; j < n; j++) {
              for (let l = 0; l < k; l++) {
                const left = a[ta ? l * m + i : i * k + l] as number;
                expected[i * n + j] =
                  (expected[i * n + j] as number) + left * (b[tb ? j * k + l : l * n + j] as number);
              }
            }
          }
          const at = tf.tensor2d(a, ta ? [k, m] : [m, k]);
          const bt = tf.tensor2d(b, tb ? [n, k] : [k, n]);
          const y = tf.matMul(at, bt, ta, tb);
          expect(relativeError(await y.data(), expected)).toBeLessThan(1e-5);
          tf.dispose([at, bt, y]);
        }),
        { numRuns: device === "wasm" ? 60 : 8, seed: 2 },
      );
    });
  });
});
