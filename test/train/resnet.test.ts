/** ResNets as torchvision's: forward in training and evaluation mode, and the distributions they start from. */
import { expect, test } from "bun:test";
import * as tf from "@tensorflow/tfjs-core";
import { openDevice } from "../../src/kernels/index.ts";
import { featuresOf } from "../../src/nn/encoders/index.ts";
import { linear, relu } from "../../src/nn/heads.ts";
import type { Layout } from "../../src/nn/layout.ts";
import { buildNetwork, type Pass } from "../../src/nn/network.ts";
import { fill, hashedPixels } from "../golden/formulas.ts";
import { golden, relativeError } from "../support/helpers.ts";

const [WIDTH, N, SIDE, MEAN, STD] = [4, 8, 64, 0.45, 0.25];
const theirs = golden("resnet_forward.safetensors");

const tensorOf = (layout: Layout, values: Float32Array) => (name: string) => {
  const { offset, size, shape } = layout.get(name);
  return tf.tensor(values.subarray(offset, offset + size), [...shape]);
};

for (const arch of ["resnet18", "resnet34", "resnet50"] as const) {
  for (const stem of ["cifar", "imagenet"] as const) {
    test(`${arch}, ${stem} stem: features and running statistics equal torchvision's to 1e-4`, async () => {
      await openDevice();
      const encoder = buildNetwork({ arch, stem, width: WIDTH }, 3, 32, { fc: [linear(2)] });
      const params = new Float32Array(encoder.params.size);
      fill(
        encoder.params.entries.filter(({ name }) => !name.startsWith("fc.")),
        params,
        0,
      );
      const stats = new Float32Array(encoder.stats.size);
      const param = tensorOf(encoder.params, params);
      const x = tf.tensor4d(
        Float32Array.from(hashedPixels(N, SIDE), (v) => (v / 255 - MEAN) / STD),
        [N, SIDE, SIDE, 3],
      );
      const record: Extract<Pass["norm"], { mode: "train" }>["record"] = (name, mean, variance, rows) => {
        stats.set(
          mean.dataSync().map((v) => 0.1 * v),
          encoder.stats.get(`${name}.running_mean`).offset,
        );
        stats.set(
          variance.dataSync().map((v) => 0.9 + (0.1 * v * rows) / (rows - 1)),
          encoder.stats.get(`${name}.running_var`).offset,
        );
      };
      const features = (norm: Pass["norm"]) => {
        const y = tf.tidy(() => encoder.backbone({ param, norm }, x)); // it frees what it is given
        expect(y.shape).toEqual([N, encoder.features]);
        return y.dataSync();
      };
      const expected = (name: string) => theirs(`${arch}.${stem}.${name}`);
      const errors: [string, number][] = [
        ["train", relativeError(features({ mode: "train", groups: 1, record }), expected("train"))],
        ["eval", relativeError(features({ mode: "eval", stat: tensorOf(encoder.stats, stats) }), expected("eval"))],
      ];
      for (const { name, offset, size } of encoder.stats.entries) {
        errors.push([name, relativeError(stats.subarray(offset, offset + size), expected(name))]);
      }
      expect(errors.filter(([, error]) => !(error < 1e-4))).toEqual([]);
    });
  }
}

test("a new encoder has torchvision's distributions", () => {
  const spec = { arch: "resnet18", stem: "cifar", width: 32 } as const;
  const encoder = buildNetwork(spec, 3, 32, { fc: [linear(featuresOf(spec)), relu, linear(128)] });
  const values = new Float32Array(encoder.params.size);
  encoder.params.initialise(values, 1);
  for (const { name, shape, offset, size } of encoder.params.entries) {
    const tensor = values.subarray(offset, offset + size);
    const isNorm = shape.length === 1 && !name.startsWith("fc.");
    if (isNorm) {
      expect(tensor.every((v) => v === (name.endsWith("weight") ? 1 : 0))).toBe(true);
      continue;
    }
    const [a, b, , output] = shape.length === 4 ? (shape as number[]) : [1, 1, ...shape];
    // Convolutions: kaiming_normal_, fan_out, relu. Linear layers: PyTorch's own U(-1/sqrt(in), 1/sqrt(in)), bias too.
    const linear = name.startsWith("fc.");
    const bound = 1 / Math.sqrt(encoder.features); // both layers of the MLP head have as many inputs
    const std = linear ? bound / Math.sqrt(3) : Math.sqrt(2 / ((a as number) * (b as number) * (output as number)));
    const mean = tensor.reduce((sum, v) => sum + v, 0) / size;
    const variance = tensor.reduce((sum, v) => sum + (v - mean) ** 2, 0) / size;
    const kurtosis = tensor.reduce((sum, v) => sum + (v - mean) ** 4, 0) / size / variance ** 2;
    // Five standard errors of each moment.
    const error = 5 / Math.sqrt(size);
    expect(Math.abs(mean) / std, name).toBeLessThan(error);
    expect(Math.abs(variance / std ** 2 - 1), name).toBeLessThan(error * Math.SQRT2);
    expect(Math.abs(kurtosis - (linear ? 1.8 : 3)), name).toBeLessThan(error * Math.sqrt(24));
    if (linear) expect(tensor.every((v) => Math.abs(v) <= bound)).toBe(true);
  }
});

test("zeroInit: the last norm of each block has a gain of 0, and no other", () => {
  for (const [arch, last] of [
    ["resnet18", "bn2"],
    ["resnet50", "bn3"],
  ] as const) {
    const { params } = buildNetwork({ arch, stem: "cifar", width: 8, zeroInit: true }, 3, 32);
    const values = new Float32Array(params.size);
    params.initialise(values, 1);
    const gains = params.entries.filter(({ name, shape }) => shape.length === 1 && name.endsWith("weight"));
    for (const { name, offset } of gains) {
      expect(values[offset], name).toBe(name.startsWith("layer") && name.endsWith(`${last}.weight`) ? 0 : 1);
    }
  }
});
