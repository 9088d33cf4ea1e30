/**
 * What one thread does: encode the keys of a split, differentiate the loss of a split, walk its range of the
 * parameters, embed images. It holds no state between tasks but its WASM device.
 */
import * as tf from "@tensorflow/tfjs-core";
import type { Images } from "../data/types.ts";
import { plainRow, ROW, viewRow } from "../data/view.ts";
import { augment } from "../kernels/augment/index.ts";
import { openDevice } from "../kernels/index.ts";
import { infoNce, momentumUpdate, normalise, splitPositions } from "../methods/moco.ts";
import type { Layout } from "../nn/layout.ts";
import type { Encoder, Pass } from "../nn/resnet.ts";
import { sgd } from "../optim/sgd.ts";
import type { PretrainSpec } from "../spec/pretrain.ts";
import { encoderOf, type StepBuffers, type TrainState } from "./state.ts";

export interface ShardInit {
  spec: PretrainSpec;
  state: TrainState;
  buffers: StepBuffers;
  slots: number;
  images: Images;
  mean: readonly number[];
  std: readonly number[];
  thread: number;
  threads: number;
}

export type Task =
  | { kind: "momentum" }
  | { kind: "keys"; epoch: number }
  | { kind: "queries"; epoch: number; from: number; to: number }
  | { kind: "reduce"; from: number; to: number }
  | { kind: "update"; lr: number }
  | {
      kind: "embed";
      what: "backbone" | "projection";
      images: Images;
      indices: Int32Array;
      /** f32[indices.length, features or dim] */
      out: Float32Array;
    }
  | { kind: "tensors" };

const EMBED_CHUNK = 64;
const BN_MOMENTUM = 0.1;

export class Shard {
  private readonly encoder: Encoder;

  private constructor(private readonly init: ShardInit) {
    this.encoder = encoderOf(init.spec, init.images.channels);
  }

  static async open(init: ShardInit): Promise<Shard> {
    await openDevice();
    return new Shard(init);
  }

  run(task: Task): number | undefined {
    const { state, buffers, spec } = this.init;
    switch (task.kind) {
      case "momentum":
        momentumUpdate(state.keyParams, state.queryParams, spec.momentum, this.range());
        return;
      case "keys":
        return this.withParams(state.keyParams, (param) =>
          this.take(spec.splits, (split) => this.keys(split, task.epoch, param)),
        );
      case "queries":
        return this.withParams(state.queryParams, (param, all) => {
          const queue = tf.tensor2d(state.queue, [spec.queueSize, spec.dim]);
          this.take(task.to, (split) => this.queries(split, split - task.from, task.epoch, param, all, queue));
          queue.dispose();
        });
      case "reduce":
        this.reduce(task.from, task.to);
        return;
      case "update": {
        const { momentum, weightDecay } = spec.optimizer;
        sgd(state.queryParams, state.velocity, buffers.gradient, this.range(), { lr: task.lr, momentum, weightDecay });
        if (this.init.thread === 0) {
          updateStats(state.queryStats, buffers.queryBatchStats, spec.splits);
          updateStats(state.keyStats, buffers.keyBatchStats, spec.splits);
        }
        return;
      }
      case "embed":
        return this.embed(task);
      case "tensors":
        return tf.memory().numTensors;
    }
  }

  /** Threads take indices below `end` in turn; `counter` was set to the first one. */
  private take(end: number, work: (index: number) => void): void {
    for (;;) {
      const index = Atomics.add(this.init.buffers.counter, 0, 1);
      if (index >= end) return;
      tf.tidy(() => work(index));
    }
  }

  private range() {
    const { thread, threads, state } = this.init;
    const size = state.queryParams.length;
    return { from: Math.floor((size * thread) / threads), to: Math.floor((size * (thread + 1)) / threads) };
  }

  private withParams(values: Float32Array, use: (param: Pass["param"], all: tf.Tensor[]) => void): undefined {
    const tensors = tensorsOf(this.encoder.params, values);
    try {
      use((name) => get(tensors, name), [...tensors.values()]);
    } finally {
      tf.dispose([...tensors.values()]);
    }
  }

  /** Views f32[n,S,S,C] of the batch positions, view 0 for queries and 1 for keys. */
  private views(positions: number[], epoch: number, view: number): tf.Tensor {
    const { spec, images, buffers, mean, std } = this.init;
    const bytes = images.height * images.width * images.channels;
    const rows = new Float32Array(positions.length * ROW);
    const offsets = positions.map((position, i) => {
      const sample = buffers.batch[position] as number;
      viewRow(rows, i * ROW, { seed: spec.seed, epoch, sample, view }, spec.augmentation, images.height, images.width);
      return sample * bytes;
    });
    return augment({ ...images, offsets }, rows, spec.augmentation.size, mean, std);
  }

  private training(param: Pass["param"], into: Float32Array, split: number): Pass {
    const { stats } = this.encoder;
    const base = split * stats.size;
    return {
      param,
      norm: {
        mode: "train",
        record: (name, mean, variance, rows) => {
          into.set(mean.dataSync(), base + stats.get(`${name}.running_mean`).offset);
          const unbiased = variance.dataSync().map((v) => (v * rows) / (rows - 1));
          into.set(unbiased, base + stats.get(`${name}.running_var`).offset);
        },
      },
    };
  }

  private keys(split: number, epoch: number, param: Pass["param"]): void {
    const { spec, buffers } = this.init;
    const positions = splitPositions(buffers.shuffle, split, spec.splits);
    const pass = this.training(param, buffers.keyBatchStats, split);
    const features = this.encoder.backbone(pass, this.views(positions, epoch, 1));
    const keys = normalise(this.encoder.project(pass, features)).dataSync(); // [N/S, C]
    positions.forEach((position, i) => {
      buffers.keys.set(keys.subarray(i * spec.dim, (i + 1) * spec.dim), position * spec.dim);
    });
  }

  private queries(
    split: number,
    slot: number,
    epoch: number,
    param: Pass["param"],
    all: tf.Tensor[],
    queue: tf.Tensor,
  ) {
    const { spec, buffers } = this.init;
    const order = Array.from({ length: spec.batchSize }, (_, i) => i);
    const positions = splitPositions(order, split, spec.splits);
    const keys = new Float32Array(positions.length * spec.dim);
    positions.forEach((position, i) => {
      keys.set(buffers.keys.subarray(position * spec.dim, (position + 1) * spec.dim), i * spec.dim);
    });
    const views = this.views(positions, epoch, 0);
    const k = tf.tensor2d(keys, [positions.length, spec.dim]);
    const pass = this.training(param, buffers.queryBatchStats, split);
    let logits: tf.Tensor | undefined;
    const { value, grads } = tf.engine().gradients(() => {
      const q = normalise(this.encoder.project(pass, this.encoder.backbone(pass, views)));
      const out = infoNce(q, k, queue, spec.temperature);
      logits = tf.keep(out.logits);
      return out.loss;
    }, all);
    const base = slot * this.encoder.params.size;
    this.encoder.params.entries.forEach((entry, i) => {
      buffers.splitGradients.set((grads[i] as tf.Tensor).dataSync(), base + entry.offset);
    });
    const correct = tf.mean(tf.cast(tf.equal(tf.argMax(logits as tf.Tensor, 1), 0), "float32"));
    buffers.metrics[split * 2] = value.dataSync()[0] as number;
    buffers.metrics[split * 2 + 1] = correct.dataSync()[0] as number;
    logits?.dispose();
  }

  /** gradient += the slots of splits [from, to), one after another: the same bits for any number of threads. */
  private reduce(from: number, to: number): void {
    const { buffers, spec } = this.init;
    const { gradient, splitGradients } = buffers;
    const size = gradient.length;
    const range = this.range();
    if (from === 0) gradient.fill(0, range.from, range.to);
    for (let slot = 0; slot < to - from; slot++) {
      const base = slot * size;
      for (let i = range.from; i < range.to; i++)
        gradient[i] = (gradient[i] as number) + (splitGradients[base + i] as number);
    }
    if (to === spec.splits) {
      for (let i = range.from; i < range.to; i++) gradient[i] = (gradient[i] as number) / spec.splits;
    }
  }

  private embed(task: Extract<Task, { kind: "embed" }>): undefined {
    const { spec, state, mean, std } = this.init;
    const { images, indices, out } = task;
    const bytes = images.height * images.width * images.channels;
    const stats = tensorsOf(this.encoder.stats, state.queryStats);
    this.withParams(state.queryParams, (param) => {
      const pass: Pass = { param, norm: { mode: "eval", stat: (name) => get(stats, name) } };
      this.take(Math.ceil(indices.length / EMBED_CHUNK), (chunk) => {
        const part = indices.subarray(chunk * EMBED_CHUNK, (chunk + 1) * EMBED_CHUNK);
        const rows = new Float32Array(part.length * ROW);
        for (let i = 0; i < part.length; i++) plainRow(rows, i * ROW, images.height, images.width);
        const offsets = Array.from(part, (index) => index * bytes);
        const views = augment({ ...images, offsets }, rows, spec.augmentation.size, mean, std);
        const features = this.encoder.backbone(pass, views);
        const wanted = task.what === "backbone" ? features : this.encoder.project(pass, features);
        out.set(wanted.dataSync(), chunk * EMBED_CHUNK * (wanted.shape[1] as number));
      });
    });
    tf.dispose([...stats.values()]);
  }
}

function tensorsOf(layout: Layout, values: Float32Array): Map<string, tf.Tensor> {
  return new Map(
    layout.entries.map(({ name, shape, offset, size }) => [
      name,
      tf.tensor(values.subarray(offset, offset + size), [...shape]),
    ]),
  );
}

function get(tensors: Map<string, tf.Tensor>, name: string): tf.Tensor {
  const tensor = tensors.get(name);
  if (!tensor) throw new Error(`the model has no tensor ${name}`);
  return tensor;
}

/** running = mean over splits of (1 - 0.1) * running + 0.1 * split's statistic, as the CIFAR demo's SplitBatchNorm. */
function updateStats(running: Float32Array, batch: Float32Array, splits: number): void {
  for (let i = 0; i < running.length; i++) {
    let sum = 0;
    for (let s = 0; s < splits; s++) {
      sum += (1 - BN_MOMENTUM) * (running[i] as number) + BN_MOMENTUM * (batch[s * running.length + i] as number);
    }
    running[i] = sum / splits;
  }
}
