/** A unit on a thread: its views, its networks in training mode, and where its results go. */
import * as tf from "@tensorflow/tfjs-core";
import { floatsOf as floatsOfTensor } from "../../backend/wasm.ts";
import { PLACE } from "../../data/source.ts";
import { rowFloats, viewRow } from "../../data/view.ts";
import { augment } from "../../kernels/augment/index.ts";
import type { BatchTargets, Bound, Unit, ViewSpec } from "../../methods/method.ts";
import type { Pass, Texts } from "../../nn/network.ts";
import type { AugmentationSpec, TrainSpec } from "../../schema/pretrain.ts";
import { ownParameter } from "../coupled.ts";
import { branchesOf, dropFactors } from "../drop.ts";
import { directionsOf, inOrder, splitPositions, targetView, unitAt, viewAt, viewsOf } from "../units.ts";
import { type Held, scheduledOf, type ThreadContext } from "./context.ts";
import type { BatchTask } from "./tasks.ts";
import { textGroup } from "./text_group.ts";

/** Texts of a group at the least, and groups of a unit at the most: each has a gradient of the whole table of embeddings. */
const [SMALLEST_GROUP, MOST_GROUPS] = [8, 8];

/** `targets`: the unit's images are those whose targets are computed, of the other view and in the dealt order. */
export type Side = "own" | "targets";

export class ThreadUnit implements Unit<TrainSpec> {
  readonly direction: number;
  /** Places of its images in the batch. */
  readonly positions: readonly number[];
  readonly view: ViewSpec;
  readonly texts: Texts | undefined;
  private readonly images: tf.Tensor | undefined;
  /** By branch, a factor for each of its images. */
  private readonly branches: readonly tf.Tensor[];

  /** Made inside a tidy, whose tensors it has. `held`: the networks that are used. */
  constructor(
    private readonly context: ThreadContext,
    readonly index: number,
    task: BatchTask,
    side: Side,
    private readonly held: Held,
  ) {
    const { spec, buffers } = context;
    const { direction, split } = unitAt(spec, index);
    const { batchSize, splits } = spec;
    this.direction = direction;
    const order =
      side === "own" ? inOrder(batchSize) : buffers.order.subarray(direction * batchSize, (direction + 1) * batchSize);
    const positions = splitPositions(order, split, splits);
    const view = side === "own" ? direction : targetView(direction, viewsOf(spec));
    this.view = viewAt(spec, view);
    this.positions = this.view === "text" ? this.byLength(positions) : positions;
    this.texts = this.view === "text" ? this.ownTexts() : undefined;
    this.images = this.view === "text" ? undefined : this.draw(task, view, this.view);
    this.branches = side === "own" ? this.drawBranches(task.epoch) : [];
  }

  get spec(): TrainSpec {
    return this.context.spec;
  }

  get views(): tf.Tensor {
    if (!this.images) throw new Error("this unit has texts, and no images");
    return this.images;
  }

  network(name: string): Bound {
    const network = this.context.networks.get(name);
    const params = this.held.params[name];
    if (!params) throw new Error(`network ${name} has no part in this phase`);
    const pass = this.pass(name, params.param);
    return {
      backbone: (images) => network.backbone(pass, images),
      head: (head, x) => network.head(head, pass, x),
      text: (texts) => network.text(pass, texts),
      parameter: (of) => params.param(ownParameter(this.context.method, network.params, of)),
    };
  }

  targets(): tf.Tensor {
    const { targets, batch } = this.context.buffers;
    return this.gather(targets, targets.length / (directionsOf(this.spec) * batch.length));
  }

  batchTargets(): readonly BatchTargets[] {
    const { held, direction, positions } = this;
    return [{ from: 0, count: positions.length, rows: held.targetsOf(direction), ids: held.batchIds() }];
  }

  ring(name: string): { readonly rows: tf.Tensor; readonly ids: tf.Tensor } {
    const { held } = this;
    return {
      get rows() {
        return held.ringRows(name);
      },
      get ids() {
        return held.ringIds(name);
      },
    };
  }

  ids(): tf.Tensor {
    return this.integers(this.context.buffers.batch);
  }

  labels(): tf.Tensor1D {
    return this.integers(this.context.buffers.labels);
  }

  scheduled(name: string): tf.Scalar {
    return scheduledOf(this.context, name);
  }

  state(name: string): tf.Tensor {
    return this.held.stateOf(name);
  }

  /** Writes rows f32[n,dim] of these images to `into` f32[D,N,dim]. */
  scatter(rows: tf.Tensor, into: Float32Array): void {
    const dim = rows.shape[1] as number;
    const values = floatsOfTensor(rows);
    const first = this.direction * this.spec.batchSize;
    this.positions.forEach((position, i) => {
      into.set(values.subarray(i * dim, (i + 1) * dim), (first + position) * dim);
    });
  }

  /** Rows f32[n,dim] of these images out of f32[D,N,dim]. */
  gather(from: Float32Array, dim: number): tf.Tensor2D {
    const rows = new Float32Array(this.positions.length * dim);
    const first = this.direction * this.spec.batchSize;
    this.positions.forEach((position, i) => {
      const at = (first + position) * dim;
      rows.set(from.subarray(at, at + dim), i * dim);
    });
    return tf.tensor2d(rows, [this.positions.length, dim]);
  }

  private integers(of: Int32Array): tf.Tensor1D {
    return tf.tensor1d(
      this.positions.map((position) => of[position] as number),
      "int32",
    );
  }

  /** Views f32[n,S,S,channels] of the unit's images. */
  private draw({ epoch, pixels }: BatchTask, view: number, augmentation: AugmentationSpec): tf.Tensor {
    const { spec, channels, valueBytes, buffers, mean, std } = this.context;
    const row = rowFloats(channels);
    const rows = new Float32Array(this.positions.length * row);
    const places = new Float64Array(this.positions.length * PLACE);
    this.positions.forEach((position, i) => {
      const place = buffers.places.subarray(position * PLACE, (position + 1) * PLACE);
      places.set(place, i * PLACE);
      const sample = buffers.batch[position] as number;
      const [height, width] = [place[1], place[2]] as [number, number];
      viewRow(rows, i * row, { seed: spec.seed, epoch, sample, view }, augmentation, height, width, channels);
    });
    return augment({ pixels, places, channels, valueBytes }, rows, augmentation.size, mean, std);
  }

  /** The shortest texts first, so that groups have little padding. */
  private byLength(positions: readonly number[]): number[] {
    const { lengths } = this.context.buffers;
    return positions.toSorted((a, b) => (lengths[a] as number) - (lengths[b] as number) || a - b);
  }

  /** The texts of the unit's images in groups, each as long as its longest. */
  private ownTexts(): Texts {
    const { positions } = this;
    const size = Math.max(SMALLEST_GROUP, Math.ceil(positions.length / MOST_GROUPS));
    return Array.from({ length: Math.ceil(positions.length / size) }, (_, i) =>
      textGroup(this.context.buffers, positions.slice(i * size, (i + 1) * size)),
    );
  }

  /** f32[n] of each branch that images may skip. */
  private drawBranches(epoch: number): tf.Tensor[] {
    const { spec, positions, direction: view } = this;
    const { batch } = this.context.buffers;
    const count = this.texts ? 0 : branchesOf(spec.encoder);
    if (count === 0) return [];
    const of = positions.map((position) => dropFactors(spec, { epoch, sample: batch[position] as number, view }));
    return Array.from({ length: count }, (_, branch) => tf.tensor1d(of.map((factors) => factors[branch] as number)));
  }

  /** A pass in training mode whose batch statistics go to this unit's row, f32[units, B]. */
  private pass(name: string, param: Pass["param"]): Pass {
    const { buffers, networks, meeting } = this.context;
    const { stats } = networks.get(name);
    const into = buffers.batchStats[name] as Float32Array;
    const base = this.index * stats.size;
    const { branches } = this;
    return {
      param,
      branch: branches.length > 0 ? (index) => branches[index] as tf.Tensor : undefined,
      norm: {
        mode: "train",
        groups: 1,
        meeting,
        record(layer, mean, variance, rows) {
          into.set(floatsOfTensor(mean), base + stats.get(`${layer}.running_mean`).offset);
          const unbiased = floatsOfTensor(variance).map((v) => (v * rows) / (rows - 1));
          into.set(unbiased, base + stats.get(`${layer}.running_var`).offset);
        },
      },
    };
  }
}
