/** What the parts of a thread share. */
import * as tf from "@tensorflow/tfjs-core";
import type { Encoder, Pass } from "../../nn/encoders/resnet.ts";
import type { Layout } from "../../nn/layout.ts";
import type { Range } from "../../optim/buffers.ts";
import type { ShardInit } from "./tasks.ts";

export interface ThreadContext extends ShardInit {
  readonly encoder: Encoder;
  /** This thread's range of the parameters. */
  readonly range: Range;
  /** Threads take indices below `end` in turn; `counter` was set to the first one. Each in a tidy of its own. */
  take(end: number, work: (index: number) => void): void;
  /** Parameters as tensors for as long as `use` runs. */
  withParams(values: Float32Array, use: (param: Pass["param"], all: tf.Tensor[]) => void): void;
}

export function tensorsOf(layout: Layout, values: Float32Array): Map<string, tf.Tensor> {
  return new Map(
    layout.entries.map(({ name, shape, offset, size }) => [
      name,
      tf.tensor(values.subarray(offset, offset + size), [...shape]),
    ]),
  );
}

export function named(tensors: Map<string, tf.Tensor>, name: string): tf.Tensor {
  const tensor = tensors.get(name);
  if (!tensor) throw new Error(`the model has no tensor ${name}`);
  return tensor;
}
