/** A run on pairs whose weights and statistics are not the initial ones, and its features by our kernels. */
import * as tf from "@tensorflow/tfjs-core";
import { startPosition } from "../../src/engine/metrics.ts";
import {
  blockNames,
  createModel,
  floatsOf,
  type Model,
  ringsOf,
  trainedParams,
  trainedStats,
} from "../../src/engine/state.ts";
import { OWN } from "../../src/nn/layout.ts";
import { parseSpec } from "../../src/schema/job.ts";
import { END, FIRST_BYTE, START } from "../../src/text/tokens.ts";
import { encodeCheckpoint } from "../../src/train/checkpoint.ts";
import { fillMixed, hashedPixels } from "../golden/formulas.ts";

export const [SIDE, CONTEXT, DIM] = [32, 12, 16];
const text = { tokens: { kind: "bytes" }, context: CONTEXT, width: 24, depth: 2, heads: 3, causal: true };

export const vit = { arch: "vit-tiny", patch: 8, width: 24, depth: 2, heads: 3, position: "learned" } as const;
export const resnet = { arch: "resnet18", stem: "imagenet", width: 64 } as const;

/** Fields of a run of `clip`, or of `clip-queue`; `text` is merged. */
export function pairsRun(more: { text?: object; [field: string]: unknown } = {}) {
  const spec = parseSpec("pretrain", {
    method: "clip",
    preset: "cifar",
    dataset: { kind: "folder", path: "/nonexistent", texts: "beside" },
    encoder: vit,
    dim: DIM,
    ...(more.method === "clip-queue" && { queueSize: 32 }),
    batchSize: 16,
    splits: 2,
    augmentation: { size: SIDE },
    ...more,
    text: { ...text, ...more.text },
  });
  const model = createModel(spec, 3, 1);
  const { networks, trained } = model;
  networks.names.forEach((name, n) => {
    const filled = networks.get(name).params.entries.filter(({ part }) => part !== OWN);
    fillMixed(filled, floatsOf(model.state, blockNames.params(name)), 0.1 * n);
  });
  const stats = trainedStats(model);
  for (const { name, offset, size } of trained.stats.entries) {
    const [middle, range] = name.endsWith("running_mean") ? [0, 0.1] : [0.7, 0.3];
    for (let i = offset; i < offset + size; i++) stats[i] = middle + range * Math.sin(i);
  }
  const saved = { ...model, tokenizer: { format: "mocod-tokenizer-1", kind: "bytes" } as const };
  return { spec, model, checkpoint: encodeCheckpoint(saved, startPosition(spec, Object.keys(ringsOf(spec)))) };
}

export const images = 4;
/** f32[images, SIDE, SIDE, 3] */
export const pixels = Float32Array.from(hashedPixels(images, SIDE), (v) => (v / 255 - 0.45) / 0.25);

/** Tokens of each text: from start and end alone to all of the context. */
export const lengths = [2, 5, CONTEXT - 1, CONTEXT];
/** i32[lengths.length, CONTEXT] */
export const tokens = Int32Array.from({ length: lengths.length * CONTEXT }, (_, at) => {
  const [place, length] = [at % CONTEXT, lengths[Math.floor(at / CONTEXT)] as number];
  if (place >= length) return 0;
  return place === 0 ? START : place === length - 1 ? END : FIRST_BYTE + ((at * 37) % 256);
});

/** Projections of `pixels` and of `tokens`, not of unit length: f32[images, DIM], f32[lengths.length, DIM]. */
export function featuresOf({ trained, ...model }: Pick<Model, "trained" | "networks" | "state">) {
  const tensor = (values: Float32Array, at: { offset: number; size: number; shape: readonly number[] }) =>
    tf.tensor(values.subarray(at.offset, at.offset + at.size), [...at.shape]);
  const param = (name: string) => tensor(trainedParams(model), trained.params.get(name));
  const stat = (name: string) => tensor(trainedStats(model), trained.stats.get(name));
  const pass = { param, norm: { mode: "eval", stat } } as const;
  const values = (of: () => tf.Tensor) => tf.tidy(of).dataSync() as Float32Array;
  return {
    image: values(() => {
      const features = trained.backbone(pass, tf.tensor4d(pixels, [images, SIDE, SIDE, 3]));
      return trained.project(pass, features);
    }),
    text: values(() =>
      trained.text(pass, [
        {
          tokens: tf.tensor2d(tokens, [lengths.length, CONTEXT], "int32"),
          lengths: tf.tensor1d(lengths, "int32"),
        },
      ]),
    ),
  };
}
