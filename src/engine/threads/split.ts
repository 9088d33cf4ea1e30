/** What both kinds of training do with one split: draw its views, normalise by it, keep its gradient. */
import type * as tf from "@tensorflow/tfjs-core";
import { floatsOf } from "../../backend/wasm.ts";
import { PLACE } from "../../data/source.ts";
import { ROW, viewRow } from "../../data/view.ts";
import { augment } from "../../kernels/augment/index.ts";
import type { Encoder, Pass } from "../../nn/encoders/resnet.ts";
import type { BatchTask, ShardInit } from "./tasks.ts";

/** Views f32[n,S,S,C] of some batch positions. */
export function viewsOf(
  { spec, channels, buffers, mean, std }: ShardInit,
  { epoch, pixels }: BatchTask,
  positions: readonly number[],
  view: number,
): tf.Tensor {
  const rows = new Float32Array(positions.length * ROW);
  const places = new Float64Array(positions.length * PLACE);
  positions.forEach((position, i) => {
    const place = buffers.places.subarray(position * PLACE, (position + 1) * PLACE);
    places.set(place, i * PLACE);
    const sample = buffers.batch[position] as number;
    const [height, width] = [place[1], place[2]] as [number, number];
    viewRow(rows, i * ROW, { seed: spec.seed, epoch, sample, view }, spec.augmentation, height, width);
  });
  return augment({ pixels, places, channels }, rows, spec.augmentation.size, mean, std);
}

/** A pass in training mode whose batch statistics go to row `unit` of `into`, f32[units, B]. */
export function trainingPass(encoder: Encoder, param: Pass["param"], into: Float32Array, unit: number): Pass {
  const { stats } = encoder;
  const base = unit * stats.size;
  return {
    param,
    norm: {
      mode: "train",
      groups: 1,
      record: (name, mean, variance, rows) => {
        into.set(floatsOf(mean), base + stats.get(`${name}.running_mean`).offset);
        const unbiased = floatsOf(variance).map((v) => (v * rows) / (rows - 1));
        into.set(unbiased, base + stats.get(`${name}.running_var`).offset);
      },
    },
  };
}

/**
 * Takes gradients of the parameters into slot `slot` of `splitGradients`, straight out of the device: `dataSync` would
 * leave one more copy of all of them to the collector.
 */
export function keepGradients(encoder: Encoder, splitGradients: Float32Array, slot: number) {
  const base = slot * encoder.params.size;
  return (gradient: tf.Tensor, index: number): void => {
    const entry = encoder.params.entries[index] as (typeof encoder.params.entries)[number];
    splitGradients.set(floatsOf(gradient), base + entry.offset);
  };
}
