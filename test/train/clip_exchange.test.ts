/** What a run on pairs of images and texts exports. */
import { beforeAll, describe, expect, test } from "bun:test";
import { exportCheckpoint } from "../../src/exchange/export.ts";
import { openDevice } from "../../src/kernels/index.ts";
import { relativeError } from "../support/helpers.ts";
import { channelsFirst, onnxFeatures } from "../support/onnx.ts";
import { CONTEXT, DIM, featuresOf, images, lengths, pairsRun, pixels, resnet, SIDE, tokens } from "../support/pairs.ts";

beforeAll(openDevice);

describe("ONNX", () => {
  test.each([
    ["a ViT, causal", {}],
    ["a ViT, not causal", { text: { causal: false } }],
    ["a ResNet, causal", { encoder: resnet }],
    ["a small ResNet, with queues", { method: "clip-queue", encoder: { arch: "resnet10", stem: "cifar", width: 8 } }],
  ])("both towers give our features in ONNX Runtime to 1e-5: %s", (_, more) => {
    const { spec, model, checkpoint } = pairsRun(more);
    const files = exportCheckpoint(checkpoint, "x", spec, "onnx", "trained");
    const named = new Map(files.map(({ suffix, bytes }) => [suffix, bytes]));
    const ours = featuresOf(model);
    const image = onnxFeatures(named.get(".image.onnx") as Uint8Array, channelsFirst(pixels, SIDE, 3), [
      images,
      3,
      SIDE,
      SIDE,
    ]);
    expect(image.length).toBe(images * DIM);
    expect(ours.image.every((v) => v !== 0)).toBe(true);
    expect(relativeError(image, ours.image)).toBeLessThan(1e-5);
    const given = BigInt64Array.from(tokens, BigInt);
    const text = onnxFeatures(named.get(".text.onnx") as Uint8Array, given, [lengths.length, CONTEXT]);
    expect(text.length).toBe(lengths.length * DIM);
    expect(relativeError(text, ours.text)).toBeLessThan(1e-5);
  });
});
