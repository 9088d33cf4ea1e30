/** Vision Transformers as PyTorch's: features, gradients and running statistics on both devices, and what they start from. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as tf from "@tensorflow/tfjs-core";
import { FIRST, LAST, watchedLayers } from "../../src/engine/gradient.ts";
import { sincosPositions } from "../../src/nn/encoders/vit.ts";
import { type Layout, toTorch } from "../../src/nn/layout.ts";
import { buildNetwork, type Pass } from "../../src/nn/network.ts";
import { differentiate } from "../../src/nn/tape.ts";
import { type VitSpec, vitDefaults } from "../../src/schema/encoder.ts";
import type { TrainSpec } from "../../src/schema/pretrain.ts";
import { fillMixed, squares } from "../golden/formulas.ts";
import { devices, useTestDevice } from "../support/devices.ts";
import { golden, relativeError, sampled } from "../support/helpers.ts";

const [N, MEAN, STD] = [4, 0.45, 0.25];
const theirs = golden("vit_forward.safetensors");

/** As in vit_forward.py. */
const cases: Record<string, { side: number; spec: Partial<VitSpec> }> = {
  token: { side: 16, spec: { patch: 4, width: 24, depth: 2, heads: 3, position: "learned", freezePatches: false } },
  sincos: { side: 16, spec: { patch: 4, width: 24, depth: 2, heads: 6 } },
  mean: {
    side: 16,
    spec: {
      patch: 8,
      width: 24,
      depth: 2,
      heads: 2,
      position: "none",
      pool: "mean",
      mlpNorm: "batch",
      freezePatches: false,
    },
  },
  drop: { side: 16, spec: { patch: 8, width: 24, depth: 2, heads: 2, freezePatches: false } },
  conv: { side: 32, spec: { patch: 16, width: 16, depth: 1, heads: 2, stem: "conv", freezePatches: false } },
};

const encoderOf = (name: string) => {
  const { side, spec } = cases[name] as (typeof cases)[string];
  return buildNetwork({ ...vitDefaults("vit-tiny", side), ...spec } as VitSpec, 3, side);
};

/** Tensors of a layout's values by name. */
const tensorsOf = (layout: Layout, values: Float32Array) =>
  new Map(
    layout.entries.map(({ name, offset, size, shape }) => [
      name,
      tf.tensor(values.subarray(offset, offset + size), [...shape]),
    ]),
  );

describe.each(devices)("%s", (device) => {
  beforeAll(() => useTestDevice(device));
  afterAll(() => useTestDevice("wasm"));

  test.each(Object.keys(cases))("%s: features, gradients and statistics equal PyTorch's to 1e-4", async (name) => {
    const { side } = cases[name] as (typeof cases)[string];
    const encoder = encoderOf(name);
    const values = new Float32Array(encoder.params.size);
    encoder.params.initialise(values, 0); // what is fixed
    fillMixed(
      encoder.params.entries.filter((entry) => entry.init.kind !== "table"),
      values,
      0,
    );
    const tensors = tensorsOf(encoder.params, values);
    const param = (of: string) => tensors.get(of) as tf.Tensor;
    const x = tf.tensor4d(
      Float32Array.from(squares(N, side), (v) => (v / 255 - MEAN) / STD),
      [N, side, side, 3],
    );
    const wave = tf.tensor2d(
      Float32Array.from({ length: N * encoder.features }, (_, i) => Math.sin(0.7 * i)),
      [N, encoder.features],
    );
    const stats = new Map<string, tf.Tensor>();
    const record: Extract<Pass["norm"], { mode: "train" }>["record"] = (norm, mean, variance, rows) => {
      stats.set(`${norm}.running_mean`, tf.keep(tf.mul(mean, 0.1)));
      stats.set(`${norm}.running_var`, tf.keep(tf.add(tf.mul(variance, (0.1 * rows) / (rows - 1)), 0.9)));
    };
    const { trainable } = encoder.params;
    const gradients = new Map<string, tf.Tensor>();
    let features: tf.Tensor | undefined;
    differentiate(
      () => {
        const branch = (i: number) =>
          tf.tensor1d(Array.from({ length: N }, (_, n) => ((7 * i + 3 * n) % 5 === 0 ? 0 : 1.25)));
        const pass: Pass = {
          param,
          branch: name === "drop" ? branch : undefined,
          norm: { mode: "train", groups: 1, record },
        };
        features = tf.keep(encoder.backbone(pass, x));
        return tf.sum(tf.mul(features, wave));
      },
      trainable.map((entry) => param(entry.name)),
      (gradient, index) => gradients.set(trainable[index]?.name as string, tf.keep(gradient.clone())),
    );
    const evaluated = tf.tidy(() =>
      encoder.backbone({ param, norm: { mode: "eval", stat: (of) => stats.get(of) as tf.Tensor } }, x),
    );
    const errors: [string, number][] = [];
    const compare = async (of: string, got: tf.Tensor) =>
      errors.push([of, relativeError(await got.data(), theirs(`${name}.${of}`))]);
    await compare("train", features as unknown as tf.Tensor);
    await compare("eval", evaluated);
    for (const [of, got] of stats) await compare(of, got);
    for (const entry of trainable) {
      const got = (await gradients.get(entry.name)?.data()) as Float32Array;
      errors.push([entry.name, relativeError(sampled(toTorch(entry, got)), theirs(`${name}.grad.${entry.name}`))]);
    }
    expect(errors.length).toBe(2 + stats.size + trainable.length);
    expect(errors.filter(([, error]) => !(error < 1e-4))).toEqual([]);
  });

  test.each(["token", "mean"] as const)(
    "%s: features of the last two blocks are those of one block more, side by side",
    async (pool) => {
      const spec = { ...vitDefaults("vit-tiny", 16), patch: 8, width: 24, depth: 3, heads: 2, pool };
      const [whole, shorter] = [3, 2].map((depth) => buildNetwork({ ...spec, depth } as VitSpec, 3, 16));
      if (!whole || !shorter) throw new Error("unreachable");
      const values = new Float32Array(whole.params.size);
      whole.params.initialise(values, 5);
      const tensors = tensorsOf(whole.params, values);
      const pass: Pass = {
        param: (of) => tensors.get(of) as tf.Tensor,
        norm: { mode: "eval", stat: () => tf.scalar(0) },
      };
      const x = tf.tensor4d(
        Float32Array.from(squares(N, 16), (v) => v / 255),
        [N, 16, 16, 3],
      );
      const both = whole.backbone(pass, x, 2);
      expect(both.shape).toEqual([N, 48]);
      const parts = [shorter.backbone(pass, x), whole.backbone(pass, x)];
      expect(await both.data()).toEqual(await tf.concat(parts, 1).data());
    },
  );
});

test("frozen patches and fixed positions have no gradient; the others all have one", () => {
  const frozen = (name: string) =>
    encoderOf(name)
      .params.entries.filter((e) => e.frozen)
      .map((e) => e.name);
  expect(frozen("sincos")).toEqual(["patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed"]);
  expect(frozen("token")).toEqual([]);
  expect(frozen("conv")).toEqual(["pos_embed"]);
});

test("the layers whose gradient is watched: the first trained one, and the last block", () => {
  const watched = (name: string, of: number) => {
    const { side, spec } = cases[name] as (typeof cases)[string];
    const encoder = { ...vitDefaults("vit-tiny", side), ...spec };
    const { params } = encoderOf(name);
    const layers = watchedLayers({ encoder } as TrainSpec, params);
    return [
      ...new Set(
        params.entries.filter((_, i) => (layers[i] as number) & of).map((e) => e.name.split(".").slice(0, 2).join(".")),
      ),
    ];
  };
  expect([watched("token", FIRST), watched("token", LAST)]).toEqual([["patch_embed.proj"], ["blocks.1"]]);
  expect([watched("sincos", FIRST), watched("sincos", LAST)]).toEqual([["blocks.0"], ["blocks.1"]]);
});

test("positions: the row first, then the column; a class token has zeros", () => {
  const values = sincosPositions(8, 3, true);
  expect(values.subarray(0, 8)).toEqual(new Float32Array(8));
  // Token of row 1, column 2; frequencies 1 and 1/100.
  const at = (1 + 3 + 2) * 8;
  const expected: number[] = [];
  for (const place of [1, 2]) {
    for (const f of [Math.sin, Math.cos]) for (const frequency of [1, 0.01]) expected.push(f(place * frequency));
  }
  expect(relativeError(values.subarray(at, at + 8), expected)).toBeLessThan(1e-7);
});

test("a new ViT has MoCo v3's distributions", () => {
  const spec: VitSpec = { ...vitDefaults("vit-tiny", 32), depth: 1 };
  const { params } = buildNetwork(spec, 3, 32);
  const values = new Float32Array(params.size);
  params.initialise(values, 1);
  const of = (name: string) => {
    const { offset, size } = params.get(name);
    return values.subarray(offset, offset + size);
  };
  /** Uniform in +-bound: the standard deviation is bound / sqrt(3). Five standard errors. */
  const expectUniform = (name: string, bound: number) => {
    const tensor = of(name);
    const variance = tensor.reduce((sum, v) => sum + v * v, 0) / tensor.length;
    expect(tensor.every((v) => Math.abs(v) <= bound)).toBe(true);
    expect(Math.abs(variance / (bound ** 2 / 3) - 1)).toBeLessThan(5 / Math.sqrt(tensor.length));
  };
  // The fans of query, key and value are those of a matrix each.
  expectUniform("blocks.0.attn.qkv.weight", Math.sqrt(6 / (192 + 192)));
  expectUniform("blocks.0.attn.proj.weight", Math.sqrt(6 / (192 + 192)));
  expectUniform("blocks.0.mlp.fc1.weight", Math.sqrt(6 / (192 + 768)));
  expectUniform("patch_embed.proj.weight", Math.sqrt(6 / (3 * 4 * 4 + 192)));
  const token = of("cls_token");
  const deviation = Math.sqrt(token.reduce((sum, v) => sum + v * v, 0) / token.length);
  expect(Math.abs(deviation / 1e-6 - 1)).toBeLessThan(5 / Math.sqrt(2 * token.length));
  for (const zero of ["blocks.0.attn.qkv.bias", "blocks.0.mlp.fc2.bias", "patch_embed.proj.bias", "norm.bias"]) {
    expect(of(zero).every((v) => v === 0)).toBe(true);
  }
  expect(of("norm.weight").every((v) => v === 1)).toBe(true);
});

test("ViT-B/16 and ViT-BN-L/7 at 224 have the papers' numbers of parameters", () => {
  const count = (spec: VitSpec) => buildNetwork(spec, 3, 224).params.size;
  // timm's vit_base_patch16_224 without its classifier; the 151,296 fixed positions are in it as well.
  expect(count(vitDefaults("vit-base", 224))).toBe(85_798_656);
  const large = count({ ...vitDefaults("vit-large", 224), patch: 7, mlpNorm: "batch" });
  expect(Math.round(large / 1e6)).toBe(304); // the paper: "ViT-BN-L/7, 304M"
});
