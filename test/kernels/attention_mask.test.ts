/** Attention with a mask against its float64 reference, and that against finite differences. */
import { describe, expect, test } from "bun:test";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { webgpu } from "../../src/backend/webgpu.ts";
import { attention } from "../../src/kernels/attention/index.ts";
import { attentionReference } from "../../src/kernels/attention/reference.ts";
import { linear } from "../../src/kernels/linear/index.ts";
import { inHalf, toFloat32 } from "../../src/kernels/webgpu/precision.ts";
import { askedBy } from "../../src/kernels/webgpu/tune.ts";
import { devices, few, runOn } from "../support/devices.ts";
import { expectGradient, noise, relativeError, tidied } from "../support/helpers.ts";

/** Lengths of n sequences of at most t tokens: 1, t, and what lies between. */
const ragged = (n: number, t: number): number[] =>
  Array.from({ length: n }, (_, i) => [1, t, 1 + ((7 * i + 5) % t)][Math.min(i, 2)] as number);

test("the reference's gradient is that of its values", () => {
  const sizes = { n: 3, t: 4, h: 2, d: 3 };
  const [qkv, dout] = [noise(3 * 4 * 18, 1), noise(3 * 4 * 6, 2)];
  for (const mask of [{ causal: true }, { lengths: [1, 4, 3] }, { causal: true, lengths: [1, 4, 3] }]) {
    const { dqkv } = attentionReference(sizes, qkv, dout, mask);
    expectGradient((v) => attentionReference(sizes, v, dout, mask).out, qkv, dout, dqkv);
  }
});

test("the reference's padding is 0 and has no part in anything", () => {
  const sizes = { n: 1, t: 5, h: 1, d: 2 };
  const [qkv, dout] = [noise(5 * 6, 1), noise(5 * 2, 2)];
  const padded = attentionReference(sizes, qkv, dout, { lengths: [3] });
  const cut = attentionReference({ ...sizes, t: 3 }, qkv.slice(0, 18), dout.slice(0, 6));
  expect(padded.out).toEqual(Float64Array.from({ length: 10 }, (_, i) => cut.out[i] ?? 0));
  expect(padded.dqkv).toEqual(Float64Array.from({ length: 30 }, (_, i) => cut.dqkv[i] ?? 0));
});

describe.each(devices)("%s", (device) => {
  runOn(device);

  const data = async (t: tf.Tensor) => (await t.data()) as Float32Array<ArrayBuffer>;

  interface Masked {
    readonly causal: boolean;
    readonly lengths: readonly number[] | undefined;
  }
  /** Output and gradient. */
  function both(qkv: tf.Tensor, dout: tf.Tensor, heads: number, { causal, lengths }: Masked): [tf.Tensor, tf.Tensor] {
    const mask = { causal, lengths: lengths && tf.tensor1d([...lengths], "int32") };
    return [attention(qkv, heads, mask), tf.grad((v) => attention(v, heads, mask))(qkv, dout)];
  }

  test("1 to 80 tokens, ragged lengths or none, causal or not", async () => {
    const shape = fc.record({
      n: fc.integer({ min: 1, max: 4 }),
      t: fc.oneof(fc.integer({ min: 1, max: 80 }), fc.constantFrom(1, 32, 33, 64, 65, 77)),
      h: fc.integer({ min: 1, max: 3 }),
      d: fc.constantFrom(5, 32, 48, 64),
      causal: fc.boolean(),
      padded: fc.boolean(),
      size: fc.constantFrom(0.5, 1, 4),
    });
    await fc.assert(
      fc.asyncProperty(shape, async ({ n, t, h, d, causal, padded, size }) => {
        const qkv = noise(n * t * 3 * h * d, 1).map((v) => v * size);
        const dout = noise(n * t * h * d, 2);
        const lengths = padded ? ragged(n, t) : undefined;
        const expected = attentionReference({ n, t, h, d }, qkv, dout, { causal, ...(lengths && { lengths }) });
        await tidied(async () => {
          const [x, dy] = [tf.tensor3d(qkv, [n, t, 3 * h * d]), tf.tensor3d(dout, [n, t, h * d])];
          const [out, dqkv] = both(x, dy, h, { causal, lengths });
          const bound = 2e-6 * (1 + size * size * Math.sqrt(d));
          expect(relativeError(await data(out), expected.out)).toBeLessThan(bound);
          expect(relativeError(await data(dqkv), expected.dqkv)).toBeLessThan(bound);
        });
      }),
      {
        numRuns: few(device, 48),
        seed: 1,
        examples: [
          [{ n: 4, t: 1, h: 2, d: 32, causal: true, padded: true, size: 1 }],
          [{ n: 4, t: 33, h: 2, d: 32, causal: false, padded: true, size: 1 }],
          [{ n: 4, t: 77, h: 2, d: 48, causal: true, padded: true, size: 1 }],
          [{ n: 4, t: 65, h: 2, d: 64, causal: false, padded: true, size: 1 }],
        ],
      },
    );
  });

  test("padding gives exact zeros and has no part in the rest, whatever is in it", async () => {
    const [t, h, d, length] = [40, 2, 32, 9];
    const width = h * d;
    const [qkv, dout] = [noise(t * 3 * width, 1), noise(t * width, 2)];
    for (const causal of [true, false]) {
      await tidied(async () => {
        const run = async (fill: number) => {
          const x = tf.tensor3d(Float32Array.from(qkv).fill(fill, length * 3 * width), [1, t, 3 * width]);
          const dy = tf.tensor3d(Float32Array.from(dout).fill(fill, length * width), [1, t, width]);
          return Promise.all(both(x, dy, h, { causal, lengths: [length] }).map(data));
        };
        const [some, others] = [await run(0), await run(1e30)];
        expect(others).toEqual(some);
        const [out, dqkv] = some as [Float32Array, Float32Array];
        expect(out.subarray(length * width).every((v) => v === 0)).toBe(true);
        expect(dqkv.subarray(length * 3 * width).every((v) => v === 0)).toBe(true);
      });
    }
  });

  test("a mask that leaves nothing out is no mask, to the bit", async () => {
    const [n, t, h, d] = [2, 50, 2, 32];
    await tidied(async () => {
      const x = tf.tensor3d(noise(n * t * 3 * h * d, 1), [n, t, 3 * h * d]);
      const dy = tf.tensor3d(noise(n * t * h * d, 2), [n, t, h * d]);
      const none = both(x, dy, h, { causal: false, lengths: undefined });
      const all = both(x, dy, h, { causal: false, lengths: [t, t] });
      for (const i of [0, 1] as const) expect(await data(all[i])).toEqual(await data(none[i]));
    });
  });

  test("a sequence has the same bits in any batch", async () => {
    const [n, t, h, d] = [3, 45, 1, 48];
    const [qkv, dout] = [noise(n * t * 3 * d, 1), noise(n * t * d, 2)];
    await tidied(async () => {
      const run = (from: number, to: number, lengths: number[]) =>
        both(
          tf.tensor3d(qkv.slice(from * t * 3 * d, to * t * 3 * d), [to - from, t, 3 * d]),
          tf.tensor3d(dout.slice(from * t * d, to * t * d), [to - from, t, d]),
          h,
          { causal: true, lengths },
        );
      const [whole, last] = [run(0, 3, [45, 1, 20]), run(2, 3, [20])];
      expect((await data(whole[0])).slice(2 * t * d)).toEqual(await data(last[0]));
      expect((await data(whole[1])).slice(2 * t * 3 * d)).toEqual(await data(last[1]));
    });
  });

  test("lengths of another shape or type are refused", async () => {
    await tidied(async () => {
      const x = tf.zeros([2, 3, 12]);
      expect(() => attention(x, 2, { lengths: tf.tensor1d([1, 2, 3], "int32") })).toThrow("attention: lengths");
      expect(() => attention(x, 2, { lengths: tf.tensor1d([1, 2]) })).toThrow("got lengths of float32, allowed: int32");
      const tooLong = { lengths: tf.tensor1d([3, 4], "int32") };
      if (device === "wasm") {
        expect(() => attention(x, 2, tooLong)).toThrow("got length 4 of sequence 1, allowed: 1 to 3");
      } else {
        const longest = { lengths: tf.tensor1d([3, 3], "int32") };
        expect(await data(attention(x, 2, tooLong))).toEqual(await data(attention(x, 2, longest)));
      }
    });
  });

  if (device === "webgpu") {
    test("in float16: what is stored is rounded to it, and no tensor cores are asked for", async () => {
      const [n, t, h, d] = [3, 37, 2, 32];
      const halves = (length: number, salt: number) => noise(length, salt).map(Math.f16round);
      const [qkv, dout] = [halves(n * t * 3 * h * d, 1), halves(n * t * h * d, 2)];
      const lengths = ragged(n, t);
      const expected = attentionReference({ n, t, h, d }, qkv, dout, { causal: true, lengths });
      await tidied(async () => {
        const half = (values: Float32Array, width: number) =>
          inHalf(true, () => linear(tf.tensor3d(values, [n, t, width]), tf.eye(width), tf.zeros([width])));
        const [x, dy] = [half(qkv, 3 * h * d), half(dout, h * d)];
        const results = inHalf(true, () => {
          const stored = both(x, dy, h, { causal: true, lengths });
          expect(stored.map((tensor) => webgpu().isHalf(tensor))).toEqual([true, true]);
          return stored.map(toFloat32);
        });
        const [out, dqkv] = results as [tf.Tensor, tf.Tensor];
        expect(relativeError(await data(out), expected.out)).toBeLessThan(2 ** -11);
        expect(relativeError(await data(dqkv), expected.dqkv)).toBeLessThan(3 * 2 ** -11);
        const { proofs } = await askedBy(webgpu(), () => void inHalf(true, () => attention(x, h, { causal: true })));
        expect(proofs).toEqual([]);
      });
    });
  }
});
