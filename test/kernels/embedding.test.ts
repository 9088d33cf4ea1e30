/** Token embedding against its float64 reference, and that against finite differences. */
import { describe, expect, test } from "bun:test";
import * as tf from "@tensorflow/tfjs-core";
import fc from "fast-check";
import { launch, lineKernel, reads, webgpu, writes } from "../../src/backend/webgpu.ts";
import { attention } from "../../src/kernels/attention/index.ts";
import { embedTokens } from "../../src/kernels/embedding/index.ts";
import { embeddingReference } from "../../src/kernels/embedding/reference.ts";
import { linear } from "../../src/kernels/linear/index.ts";
import { inHalf, toFloat32 } from "../../src/kernels/webgpu/precision.ts";
import { Stream } from "../../src/util/random.ts";
import { devices, few, runOn } from "../support/devices.ts";
import { expectGradient, noise, relativeError, tidied } from "../support/helpers.ts";

/** Some tokens are frequent, as the first of every text and its padding are, and many do not occur. */
function texts(count: number, vocabulary: number, salt: number): Int32Array {
  const stream = new Stream(salt, "probe", count);
  return Int32Array.from({ length: count }, () => {
    const uniform = stream.uniform();
    return uniform < 0.3 ? vocabulary - 1 : uniform < 0.5 ? 0 : Math.floor(stream.uniform() * vocabulary);
  });
}

test("the reference's gradient is that of its values", () => {
  const sizes = { vocabulary: 5, channels: 3 };
  const [table, dy, tokens] = [noise(15, 1), noise(4 * 3, 2), [3, 0, 3, 4]];
  const { dtable } = embeddingReference(sizes, table, tokens, dy);
  expectGradient((v) => embeddingReference(sizes, v, tokens, dy).y, table, dy, dtable);
});

describe.each(devices)("%s", (device) => {
  runOn(device);

  const data = async (t: tf.Tensor) => (await t.data()) as Float32Array<ArrayBuffer>;
  const gradientOf = (table: tf.Tensor, tokens: tf.Tensor, dy: tf.Tensor) =>
    tf.grad((v) => embedTokens(v, tokens))(table, dy);

  async function check(n: number, t: number, vocabulary: number, channels: number): Promise<void> {
    const tokens = texts(n * t, vocabulary, 3);
    const [table, dy] = [noise(vocabulary * channels, 1), noise(n * t * channels, 2)];
    const expected = embeddingReference({ vocabulary, channels }, table, tokens, dy);
    await tidied(async () => {
      const inputs = [tf.tensor2d(table, [vocabulary, channels]), tf.tensor2d(tokens, [n, t], "int32")] as const;
      const dyt = tf.tensor3d(dy, [n, t, channels]);
      const y = embedTokens(...inputs);
      expect(y.shape).toEqual([n, t, channels]);
      expect(await data(y)).toEqual(Float32Array.from(expected.y));
      const dtable = gradientOf(...inputs, dyt);
      expect(dtable.shape).toEqual([vocabulary, channels]);
      const got = await data(dtable);
      // Up to 2500 float32 numbers, one after another.
      expect(relativeError(got, expected.dtable)).toBeLessThan(5e-6);
      const occurs = new Set(tokens);
      const rows = Array.from({ length: vocabulary }, (_, row) => row).filter((row) => !occurs.has(row));
      const zeros = (row: number) => got.subarray(row * channels, (row + 1) * channels).every((v) => v === 0);
      expect(rows.every(zeros)).toBe(true);
      expect(await data(gradientOf(...inputs, dyt))).toEqual(got);
    });
  }

  test("any sizes: exact rows, sums of dy, zeros for what does not occur, the same bits each time", async () => {
    const shape = fc.record({
      n: fc.integer({ min: 1, max: 40 }),
      t: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(1, 32, 64)),
      vocabulary: fc.oneof(fc.integer({ min: 1, max: 70 }), fc.constantFrom(1, 257, 4096)),
      channels: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(128, 256)),
    });
    await fc.assert(
      fc.asyncProperty(shape, ({ n, t, vocabulary, channels }) => check(n, t, vocabulary, channels)),
      { numRuns: few(device, 40), seed: 1 },
    );
  });

  test("a vocabulary of 49,408 and rows of 1024", async () => {
    await check(64, 32, 49_408, 8);
    await check(8, 77, 300, 1024);
  });

  test("tokens of another shape or type are refused, those of no row as the device does", async () => {
    await tidied(async () => {
      const table = tf.tensor2d(noise(12, 1), [3, 4]);
      const tokens = (values: number[]) => tf.tensor2d(values, [1, values.length], "int32");
      expect(() => embedTokens(table, tf.tensor1d([1], "int32"))).toThrow("token embedding: tokens");
      expect(() => embedTokens(table, tf.tensor2d([[1]]))).toThrow("got tokens of float32, allowed: int32");
      for (const wrong of [-1, 3, 1 << 30]) {
        if (device === "wasm") {
          expect(() => embedTokens(table, tokens([2, wrong]))).toThrow(
            `got token ${wrong} at place 1, allowed: 0 to 2`,
          );
          continue;
        }
        const dy = noise(12, 2);
        const y = await data(embedTokens(table, tokens([2, wrong, 2])));
        expect(y.subarray(4, 8)).toEqual(new Float32Array(4));
        const dtable = await data(gradientOf(table, tokens([2, wrong, 2]), tf.tensor3d(dy, [1, 3, 4])));
        const { dtable: expected } = embeddingReference(
          { vocabulary: 3, channels: 4 },
          new Float32Array(12),
          [2, 2],
          [...dy.subarray(0, 4), ...dy.subarray(8)],
        );
        expect(relativeError(dtable, expected)).toBeLessThan(1e-6);
      }
    });
  });

  if (device === "webgpu") {
    test("in float16: activations are rounded to it, the table and its gradient are float32", async () => {
      const [n, t, vocabulary, channels] = [5, 33, 60, 32];
      const tokens = texts(n * t, vocabulary, 3);
      const table = noise(vocabulary * channels, 1);
      const dy = noise(n * t * channels, 2).map(Math.f16round);
      const expected = embeddingReference({ vocabulary, channels }, table, tokens, dy);
      await tidied(async () => {
        const inputs = [tf.tensor2d(table, [vocabulary, channels]), tf.tensor2d(tokens, [n, t], "int32")] as const;
        const [y, dtable] = inHalf(true, () => {
          // A product with the identity, which leaves float16.
          const dyt = linear(tf.tensor3d(dy, [n, t, channels]), tf.eye(channels), tf.zeros([channels]));
          const results = [embedTokens(...inputs), gradientOf(...inputs, dyt)] as const;
          expect(results.map((tensor) => webgpu().isHalf(tensor))).toEqual([true, false]);
          return [toFloat32(results[0]), results[1]] as const;
        });
        expect(await data(y)).toEqual(Float32Array.from(expected.y, Math.f16round));
        expect(relativeError(await data(dtable), expected.dtable)).toBeLessThan(1e-6);
      });
    });

    test("a recording takes other tokens and lengths than it was made with", async () => {
      const [n, t, vocabulary, heads, d] = [3, 20, 50, 1, 8];
      const width = 3 * heads * d;
      const backend = webgpu();
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
      const sized = (size: number, shape: number[], dtype: "float32" | "int32" = "float32") => {
        const slice = { buffer: backend.device.createBuffer({ size, usage }), offset: 0, size };
        return { slice, tensor: backend.view(slice, shape, dtype) };
      };
      await tidied(async () => {
        const tokens = sized(4 * n * t, [n, t], "int32");
        const lengths = sized(4 * n, [n], "int32");
        const result = sized(4 * vocabulary * width, [vocabulary, width]);
        const table = tf.tensor2d(noise(vocabulary * width, 1), [vocabulary, width]);
        const dout = tf.tensor3d(noise(n * t * heads * d, 2), [n, t, heads * d]);
        for (const tensor of [table, dout]) backend.binding(tensor);
        const step = (at: tf.Tensor, of: tf.Tensor) =>
          tf.grad((v) => attention(embedTokens(v, at), heads, { causal: true, lengths: of }))(table, dout);
        const recording = await backend.record(() => {
          const made = step(tokens.tensor, lengths.tensor);
          launch({
            name: "copy",
            bind: { made: reads(made), copy: writes(result.tensor) },
            code: lineKernel(made.size, 64, "copy[i] = made[i];"),
            groups: [Math.ceil(made.size / 64)],
          });
        });
        for (const salt of [3, 4]) {
          const given = [texts(n * t, vocabulary, salt), Int32Array.from([20, 1, salt])] as const;
          backend.device.queue.writeBuffer(tokens.slice.buffer, 0, given[0] as Int32Array<ArrayBuffer>);
          backend.device.queue.writeBuffer(lengths.slice.buffer, 0, given[1]);
          const encoder = backend.device.createCommandEncoder();
          recording.encode(encoder);
          backend.device.queue.submit([encoder.finish()]);
          const got = new Float32Array(await backend.readSlice(result.slice));
          const expected = step(tf.tensor2d(given[0], [n, t], "int32"), tf.tensor1d(given[1], "int32"));
          expect(got).toEqual(await data(expected));
          expect(got.some((v) => v !== 0)).toBe(true);
        }
        recording.destroy();
      });
    });
  }
});
