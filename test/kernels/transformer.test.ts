/** The kernels of a Vision Transformer against their float64 references, and those references against finite differences. */
import { describe, expect, test } from "bun:test";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { findNullAdapter } from "../../src/backend/null_adapter.ts";
import { webgpu } from "../../src/backend/webgpu.ts";
import { coresFor } from "../../src/kernels/attention/cores.ts";
import { forwardCode, keysCode, queriesCode } from "../../src/kernels/attention/cores_code.ts";
import { onCores } from "../../src/kernels/attention/cores_products.ts";
import { attention } from "../../src/kernels/attention/index.ts";
import { attentionReference } from "../../src/kernels/attention/reference.ts";
import { layerNorm } from "../../src/kernels/layer_norm/index.ts";
import { layerNormReference } from "../../src/kernels/layer_norm/reference.ts";
import { linear } from "../../src/kernels/linear/index.ts";
import { erf, linearReference } from "../../src/kernels/linear/reference.ts";
import { patches } from "../../src/kernels/patches/index.ts";
import { firstToken, place } from "../../src/kernels/tokens/index.ts";
import { inHalf, toFloat32 } from "../../src/kernels/webgpu/precision.ts";
import { matrixHeader } from "../../src/kernels/webgpu/subgroup_matrices.ts";
import { askedBy } from "../../src/kernels/webgpu/tune.ts";
import { tuning } from "../../src/kernels/webgpu/tuned.ts";
import { devices, few, runOn, testCores } from "../support/devices.ts";
import { expectGradient, noise, relativeError, tidied } from "../support/helpers.ts";

describe("references", () => {
  test("erf: values of tables, odd, and 1 far out", () => {
    expect(erf(0.5)).toBeCloseTo(0.5204998778130465, 14);
    expect(erf(2)).toBeCloseTo(0.9953222650189527, 14);
    expect(erf(-3)).toBeCloseTo(-0.9999779095030014, 14);
    expect(erf(7)).toBe(1);
  });

  test("layer norm's gradients are those of its values", () => {
    const [x, gamma, beta, dy] = [noise(3 * 7, 1), noise(7, 2), noise(7, 3), noise(3 * 7, 4)];
    const { dx, dgamma, dbeta } = layerNormReference(x, gamma, beta, 1e-6, dy);
    expectGradient((v) => layerNormReference(v, gamma, beta, 1e-6, dy).y, x, dy, dx);
    expectGradient((v) => layerNormReference(x, v, beta, 1e-6, dy).y, gamma, dy, dgamma);
    expectGradient((v) => layerNormReference(x, gamma, v, 1e-6, dy).y, beta, dy, dbeta);
  });

  test("a linear layer's with GELU", () => {
    const [x, w, bias, dy] = [noise(3 * 5, 1), noise(5 * 4, 2), noise(4, 3), noise(3 * 4, 4)];
    const { dx, dw, dbias } = linearReference(x, w, bias, true, dy);
    expectGradient((v) => linearReference(v, w, bias, true, dy).y, x, dy, dx);
    expectGradient((v) => linearReference(x, v, bias, true, dy).y, w, dy, dw);
    expectGradient((v) => linearReference(x, w, v, true, dy).y, bias, dy, dbias);
  });

  test("attention's", () => {
    const sizes = { n: 2, t: 4, h: 2, d: 3 };
    const [qkv, dout] = [noise(2 * 4 * 18, 1), noise(2 * 4 * 6, 2)];
    const { dqkv } = attentionReference(sizes, qkv, dout);
    expectGradient((v) => attentionReference(sizes, v, dout).out, qkv, dout, dqkv);
  });
});

describe.each(devices)("%s", (device) => {
  runOn(device);

  const data = (t: tf.Tensor) => t.data() as Promise<Float32Array>;

  test("layer norm and its gradients, for any rows and channels, far from zero too", async () => {
    const shape = fc.record({
      rows: fc.integer({ min: 1, max: 150 }),
      c: fc.oneof(fc.integer({ min: 1, max: 70 }), fc.constantFrom(192, 384, 768)),
      shift: fc.constantFrom(0, 0, 100),
    });
    await fc.assert(
      fc.asyncProperty(shape, async ({ rows, c, shift }) => {
        const x = noise(rows * c, 1).map((v) => v + shift);
        const [gamma, beta, dy] = [noise(c, 2), noise(c, 3), noise(rows * c, 4)];
        const expected = layerNormReference(x, gamma, beta, 1e-6, dy);
        await tidied(async () => {
          const inputs = [tf.tensor2d(x, [rows, c]), tf.tensor1d(gamma), tf.tensor1d(beta)] as const;
          const f = (a: tf.Tensor, g: tf.Tensor, b: tf.Tensor) => layerNorm(a, g, b, 1e-6);
          const [dx, dgamma, dbeta] = tf.grads(f)([...inputs], tf.tensor2d(dy, [rows, c])) as tf.Tensor[];
          // One channel has no deviation: what is left of it is rounding, times 1000.
          const bound = c === 1 ? 1e-1 : shift ? 2e-4 : 1e-5;
          expect(relativeError(await data(f(...inputs)), expected.y)).toBeLessThan(bound);
          expect(relativeError(await data(dgamma as tf.Tensor), expected.dgamma)).toBeLessThan(bound);
          expect(relativeError(await data(dbeta as tf.Tensor), expected.dbeta)).toBeLessThan(1e-5);
          if (c > 2) expect(relativeError(await data(dx as tf.Tensor), expected.dx)).toBeLessThan(10 * bound);
        });
      }),
      { numRuns: few(device, 100), seed: 1 },
    );
  });

  test("linear layers and their gradients, with GELU and without, for any sizes", async () => {
    const shape = fc.record({
      rows: fc.integer({ min: 1, max: 130 }),
      from: fc.integer({ min: 1, max: 50 }),
      to: fc.oneof(fc.integer({ min: 1, max: 50 }), fc.constant(192)),
      gelu: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(shape, async ({ rows, from, to, gelu }) => {
        const [x, bias, dy] = [noise(rows * from, 1), noise(to, 3), noise(rows * to, 4)];
        const w = noise(from * to, 2).map((v) => v / Math.sqrt(from));
        const expected = linearReference(x, w, bias, gelu, dy);
        await tidied(async () => {
          const inputs = [tf.tensor3d(x, [1, rows, from]), tf.tensor2d(w, [from, to]), tf.tensor1d(bias)] as const;
          const f = (a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) => linear(a, b, c, gelu);
          const y = f(...inputs);
          expect(y.shape).toEqual([1, rows, to]);
          const [dx, dw, dbias] = tf.grads(f)([...inputs], tf.tensor3d(dy, [1, rows, to])) as tf.Tensor[];
          expect(dx?.shape).toEqual([1, rows, from]);
          expect(relativeError(await data(y), expected.y)).toBeLessThan(1e-5);
          expect(relativeError(await data(dx as tf.Tensor), expected.dx)).toBeLessThan(1e-5);
          expect(relativeError(await data(dw as tf.Tensor), expected.dw)).toBeLessThan(1e-5);
          expect(relativeError(await data(dbias as tf.Tensor), expected.dbias)).toBeLessThan(1e-5);
        });
      }),
      { numRuns: few(device, 100), seed: 2 },
    );
  });

  test("GELU at every magnitude: to 1e-6 of the value's scale, without NaN far out", async () => {
    const z = Float32Array.from({ length: 4001 }, (_, i) => (i - 2000) / 100);
    const ones = new Float32Array(z.length).fill(1);
    const expected = linearReference(z, [1], [0], true, ones);
    await tidied(async () => {
      const inputs = [tf.tensor2d(z, [z.length, 1]), tf.tensor2d([1], [1, 1]), tf.tensor1d([0])] as const;
      const f = (a: tf.Tensor) => linear(a, inputs[1], inputs[2], true);
      const [y, dx] = [await data(f(inputs[0])), await data(tf.grad(f)(inputs[0]))];
      for (let i = 0; i < z.length; i++) {
        expect(Math.abs((y[i] as number) - (expected.y[i] as number))).toBeLessThan(
          1e-6 * (1 + Math.abs(z[i] as number)),
        );
        expect(Math.abs((dx[i] as number) - (expected.dx[i] as number))).toBeLessThan(2e-6);
      }
    });
  });

  test("attention and its gradient: 1 to 257 tokens, heads of any size, scores large and small", async () => {
    const shape = fc.record({
      n: fc.integer({ min: 1, max: 2 }),
      t: fc.oneof(fc.integer({ min: 1, max: 70 }), fc.constantFrom(32, 33, 64, 65, 197, 257)),
      h: fc.integer({ min: 1, max: 3 }),
      d: fc.constantFrom(1, 5, 8, 20, 32, 48, 64, 96),
      size: fc.constantFrom(0.5, 1, 4),
    });
    await fc.assert(
      fc.asyncProperty(shape, async ({ n, t, h, d, size }) => {
        const qkv = noise(n * t * 3 * h * d, 1).map((v) => v * size);
        const dout = noise(n * t * h * d, 2);
        const expected = attentionReference({ n, t, h, d }, qkv, dout);
        await tidied(async () => {
          const x = tf.tensor3d(qkv, [n, t, 3 * h * d]);
          const out = attention(x, h);
          expect(out.shape).toEqual([n, t, h * d]);
          const dqkv = tf.grad((v) => attention(v, h))(x, tf.tensor3d(dout, [n, t, h * d]));
          // A score of size^2 sqrt(d) has that many times 1e-7 of error.
          const bound = 2e-6 * (1 + size * size * Math.sqrt(d));
          expect(relativeError(await data(out), expected.out)).toBeLessThan(bound);
          expect(relativeError(await data(dqkv), expected.dqkv)).toBeLessThan(bound);
        });
      }),
      { numRuns: few(device, 60), seed: 3 },
    );
  });

  test("tokens placed and the first one taken, with their gradients, equal tfjs's own operations", async () => {
    for (const [n, count, c, withToken, withPositions] of [
      [3, 5, 8, true, true],
      [2, 4, 7, true, false],
      [2, 4, 12, false, true],
      [1, 1, 3, true, true],
    ] as const) {
      await tidied(async () => {
        const total = count + (withToken ? 1 : 0);
        const x = tf.tensor3d(noise(n * count * c, 1), [n, count, c]);
        const token = tf.tensor3d(noise(c, 2), [1, 1, c]);
        const positions = tf.tensor3d(noise(total * c, 3), [1, total, c]);
        const dy = tf.tensor2d(noise(n * c, 4), [n, c]);
        const every = tf.tensor3d(noise(n * total * c, 5), [n, total, c]);
        const ours = (a: tf.Tensor, t: tf.Tensor, p: tf.Tensor) =>
          place(a, { token: withToken ? t : undefined, positions: withPositions ? p : undefined });
        const theirs = (a: tf.Tensor, t: tf.Tensor, p: tf.Tensor) => {
          const all = withToken ? tf.concat([tf.tile(t, [n, 1, 1]), a], 1) : a;
          return withPositions ? tf.add(all, p) : all;
        };
        const taken =
          (f: typeof ours, first: (y: tf.Tensor) => tf.Tensor) => (a: tf.Tensor, t: tf.Tensor, p: tf.Tensor) => {
            const y = f(a, t, p);
            return tf.add(tf.sum(tf.mul(y, every)), tf.sum(tf.mul(first(y), dy)));
          };
        const ownFirst = (y: tf.Tensor) => tf.reshape(tf.slice(y, [0, 0, 0], [n, 1, c]), [n, c]);
        const used = [x, ...(withToken ? [token] : []), ...(withPositions ? [positions] : [])];
        const pass =
          (f: ReturnType<typeof taken>) =>
          (...given: tf.Tensor[]) => {
            const rest = given.slice(1);
            const t = withToken ? (rest.shift() as tf.Tensor) : token;
            return f(given[0] as tf.Tensor, t, withPositions ? (rest.shift() as tf.Tensor) : positions);
          };
        expect(
          relativeError(await data(ours(x, token, positions)), await data(theirs(x, token, positions))),
        ).toBeLessThan(1e-6);
        expect(await data(firstToken(every))).toEqual(await data(ownFirst(every)));
        const got = tf.grads(pass(taken(ours, firstToken)))(used);
        const expected = tf.grads(pass(taken(theirs, ownFirst)))(used);
        for (const [i, gradient] of got.entries()) {
          expect(gradient.shape).toEqual((expected[i] as tf.Tensor).shape);
          expect(relativeError(await data(gradient), await data(expected[i] as tf.Tensor))).toBeLessThan(1e-5);
        }
      });
    }
  });

  test("patches: row by row, pixels row by row, and no others", async () => {
    await tidied(async () => {
      const x = tf.tensor4d(
        Float32Array.from({ length: 2 * 4 * 6 * 3 }, (_, i) => i),
        [2, 4, 6, 3],
      );
      const got = patches(x, 2);
      const expected = tf.reshape(tf.transpose(tf.reshape(x, [2, 2, 2, 3, 2, 3]), [0, 1, 3, 2, 4, 5]), [2, 6, 12]);
      expect(got.shape).toEqual([2, 6, 12]);
      expect(await data(got)).toEqual(await data(expected));
      expect(() => patches(x, 4)).toThrow("got images of 4 x 6, allowed: multiples of the patch's side 4");
    });
  });

  if (device === "webgpu") {
    test("attention on tensor cores, emulated where there are none: any number of tokens, forward and gradient, and its proof", async () => {
      const cores = testCores();
      const h = cores.emulated ? 1 : 2;
      const small = [
        [2, 1, 1, 16],
        [1, 65, 4, 16],
      ] as const;
      const large = [16, 32, 48, 64].flatMap((d) => [17, 197].map((t) => [3, t, 1, d] as const));
      for (const [n, t, size, d] of cores.emulated ? small : large) {
        const halves = (length: number, salt: number) => noise(length, salt).map((v) => Math.f16round(size * v));
        const [qkv, dout] = [halves(n * t * 3 * h * d, 1), halves(n * t * h * d, 2)];
        const expected = attentionReference({ n, t, h, d }, qkv, dout);
        await tidied(async () => {
          // A product with the identity, which leaves float16.
          const half = (values: Float32Array, width: number) =>
            inHalf(true, () => linear(tf.tensor3d(values, [n, t, width]), tf.eye(width), tf.zeros([width])));
          const [x, dy] = [half(qkv, 3 * h * d), half(dout, h * d)];
          tuning().tensorCores = cores;
          expect(inHalf(true, () => coresFor({ n, t, h, d }, true, [x, dy]))).toBe(cores);
          const run = () => [toFloat32(attention(x, h)), toFloat32(tf.grad((v) => attention(v, h))(x, dy))];
          const [out, dqkv] = inHalf(true, run) as [tf.Tensor, tf.Tensor];
          // Probabilities and slopes are rounded to 2^-11 before they are multiplied.
          expect(relativeError(await data(out), expected.out)).toBeLessThan(2e-3);
          expect(relativeError(await data(dqkv), expected.dqkv)).toBeLessThan(4e-3);
          tuning().tensorCores = undefined;
          const { proofs } = await askedBy(webgpu(), () => void inHalf(true, () => attention(x, h)));
          expect(proofs.map(({ name }) => name)).toEqual([`attention of heads of ${d}`]);
          if (t === 65) expect(await proofs[0]?.prove(webgpu(), cores)).toBe(true);
        });
      }
    }, 60_000);

    test("attention's code for tensor cores is WGSL that Dawn accepts, for heads of any size in 16s", async () => {
      const { adapter } = await findNullAdapter(false);
      const needed = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"] as GPUFeatureName[];
      const device = await adapter.requestDevice({ requiredFeatures: needed });
      const bindings = ["qkv: array<vec4u>", "dout: array<vec4u>", "stats: array<f32>", "deltas: array<f32>"];
      const head = (outAs: string) =>
        [...bindings, `out: array<${outAs}>`, "dqkv: array<vec2u>"]
          .map((binding, i) => `@group(0) @binding(${i}) var<storage, read_write> ${binding};`)
          .join("\n");
      const numbers =
        "const TOKENS = 197; const HEADS = 3;\nstruct Numbers { scaleF: f32 }\n@group(0) @binding(6) var<uniform> its: Numbers;";
      for (const d of [16, 32, 48, 64]) {
        for (const config of [
          { rows: 16, columns: 16, depth: 16, lanes: 32 },
          { rows: 16, columns: 8, depth: 8, lanes: 32 },
        ]) {
          const products = onCores(config, d);
          const codes = [
            head("vec2u") + forwardCode(products, d),
            head("vec4u") + queriesCode(products, d),
            head("vec4u") + keysCode(products, d),
          ];
          for (const code of codes) {
            const { messages } = await device
              .createShaderModule({ code: `${matrixHeader}${numbers}${code}` })
              .getCompilationInfo();
            expect(messages.filter(({ type }) => type === "error").map(({ message }) => message)).toEqual([]);
          }
        }
      }
    });

    test("in float16: what is stored is rounded to it, and nothing else is", async () => {
      const [n, t, h, d] = [2, 17, 2, 8];
      const width = h * d;
      const [x, w, bias] = [
        noise(n * t * width, 1),
        noise(width * 3 * width, 2).map((v) => v / 4),
        noise(3 * width, 3),
      ];
      const [gamma, beta, dy] = [noise(width, 4), noise(width, 5), noise(n * t * width, 6)];
      await tidied(async () => {
        const [xt, wt, bt] = [tf.tensor3d(x, [n, t, width]), tf.tensor2d(w, [width, 3 * width]), tf.tensor1d(bias)];
        const [gt, et, dyt] = [tf.tensor1d(gamma), tf.tensor1d(beta), tf.tensor3d(dy, [n, t, width])];
        const half = inHalf(true, () => {
          const normal = layerNorm(xt, gt, et, 1e-6);
          const qkv = linear(xt, wt, bt);
          const out = attention(qkv, h);
          const dx = tf.grad((v) => layerNorm(v, gt, et, 1e-6))(xt, dyt);
          const dqkv = tf.grad((v) => attention(v, h))(qkv, dyt);
          expect([normal, qkv, out, dx, dqkv].map((tensor) => webgpu().isHalf(tensor))).toEqual(Array(5).fill(true));
          return [normal, qkv, out, dx, dqkv].map(toFloat32);
        });
        const [normal, qkv, out, dx, dqkv] = (await Promise.all(half.map(data))) as [
          ...[Float32Array, Float32Array, Float32Array, Float32Array, Float32Array],
        ];
        const normReference = layerNormReference(x, gamma, beta, 1e-6, dy);
        const rounding = 2 ** -11;
        expect(relativeError(normal, normReference.y)).toBeLessThan(rounding);
        expect(relativeError(dx, normReference.dx)).toBeLessThan(rounding);
        expect(relativeError(qkv, linearReference(x, w, bias, false, new Float32Array(qkv.length)).y)).toBeLessThan(
          rounding,
        );
        // Of what it was given, which is rounded already.
        const attended = attentionReference({ n, t, h, d }, qkv, dy);
        expect(relativeError(out, attended.out)).toBeLessThan(rounding);
        // rowsum(dO * O) is of the rounded output.
        expect(relativeError(dqkv, attended.dqkv)).toBeLessThan(3 * rounding);
      });
    });
  }

  test("shapes that do not agree are refused, with what was got and what is allowed", async () => {
    await tidied(async () => {
      const x = tf.zeros([2, 3, 12]);
      expect(() => attention(x, 5)).toThrow("got qkv of width 12, allowed: multiples of 3 x 5 heads");
      expect(() => layerNorm(x, tf.zeros([11]), tf.zeros([12]), 1e-6)).toThrow("layer norm: gamma");
      expect(() => linear(x, tf.zeros([11, 4]), tf.zeros([4]))).toThrow("linear: w");
    });
  });
});
