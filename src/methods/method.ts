/**
 * What a method of training is. It has no device, no thread, no file and no order of its own: engines call what it says in
 * the phases of `engine/phases.ts`. n images of a unit, N of the batch, D directions.
 *
 * A unit is a split of the batch in one direction. Direction d sees view d of every image; its targets, where the method
 * has some, see the other view.
 */
import type * as tf from "@tensorflow/tfjs-core";
import type { Heads, ParameterSpec, Texts, TextTower } from "../nn/network.ts";
import type { AugmentationSpec, CommonSpec } from "../schema/common.ts";

/** A tensor of the method's own that a rule moves, not a gradient: a centre of the targets. */
export interface StateSpec {
  readonly shape: readonly number[];
  /** First value of every element. */
  readonly init: number;
  /** In a checkpoint. */
  readonly name: string;
  /** What it is after a step, of what it was and of the step's targets of all directions, f32[D*N,C]. */
  next(current: tf.Tensor, targets: tf.Tensor2D): tf.Tensor;
}

/** How a view is drawn: of an image, or one of the texts that belong to it. */
export type ViewSpec = AugmentationSpec | "text";

export interface NetworkSpec {
  /** Of its tensors' names in a checkpoint. */
  readonly prefix: string;
  /** Besides the encoder. Those of a follower are the first ones of the network that it follows. */
  readonly heads: Heads;
  /** A tower for texts, of methods on pairs. */
  readonly text?: TextTower;
  /** Besides those of encoder and heads, by name. Of the trained network alone. */
  readonly parameters?: Readonly<Record<string, ParameterSpec>>;
  /** It is a moving average of the trained network; unset: it is the trained network, which comes first. */
  readonly follows?: {
    /** m of w = m*w + (1-m)*trained at `progress`, the share of all steps that are done. */
    momentum(progress: number): number;
    /** Before the forward pass, with the weights before this step (MoCo), or after the update (BYOL). */
    readonly when: "before" | "after";
  };
}

/** A FIFO of the newest targets and of the images that they are of; random unit vectors of no image (-1) at first. */
export interface RingSpec {
  readonly rows: number;
  readonly dim: number;
  /** The targets of this direction alone are pushed into it; unset: those of all. */
  readonly direction?: number;
  /** Names in a checkpoint: of the rows as [dim, rows], of the images, of the place of the oldest row. */
  readonly names: { readonly rows: string; readonly ids: string; readonly pointer: string };
}

/** A network in training mode: its batch statistics are recorded. */
export interface Bound {
  /** f32[n,S,S,channels] -> f32[n,F] */
  backbone(images: tf.Tensor): tf.Tensor;
  /** One of its heads. */
  head(name: string, x: tf.Tensor): tf.Tensor;
  /** Its text tower. -> f32[n,dim] */
  text(texts: Texts): tf.Tensor;
  /** One of its own parameters; of methods whose loss is over rows. */
  parameter(name: string): tf.Tensor;
}

export interface BatchTargets {
  readonly from: number;
  readonly count: number;
  readonly rows: tf.Tensor;
  readonly ids: tf.Tensor;
}

/** Numbers that a step is given. */
export interface StepValues {
  /** One of `schedules`, as it is in this step. */
  scheduled(name: string): tf.Scalar;
  /** One of `state`. */
  state(name: string): tf.Tensor;
}

/** What a loss over the batch has besides its rows. */
export interface BatchStep extends StepValues {
  /** A parameter of the trained network's own. It has a gradient. */
  parameter(name: string): tf.Tensor;
}

/** What a method works on: threads call it for one unit at a time, a GPU for many at once. */
export interface Unit<S> extends StepValues {
  readonly spec: S;
  /** f32[n,S,S,channels], augmented. @throws in a unit of texts. */
  readonly views: tf.Tensor;
  /** In place of views in a unit whose view is a text; undefined in one of images. */
  readonly texts: Texts | undefined;
  network(name: string): Bound;
  /** f32[n,C]: the targets of these images. */
  targets(): tf.Tensor;
  /**
   * All targets of the batch, of each direction that it has images of, which are its rows [from, from + count): f32[N,C], and
   * the images that they are of, i32[N].
   */
  batchTargets(): readonly BatchTargets[];
  /** rows f32[K,C] and the images that they are of, i32[K]. */
  ring(name: string): { readonly rows: tf.Tensor; readonly ids: tf.Tensor };
  /** i32[n]: dataset indices of these images, and their classes. */
  ids(): tf.Tensor;
  labels(): tf.Tensor1D;
}

/** A loss, and what is measured: f32[M] in the order of the schema's `metrics`. */
export interface Outcome {
  readonly loss: tf.Scalar;
  readonly metrics: tf.Tensor1D;
}

interface Common<S> {
  networks(spec: S): Readonly<Record<string, NetworkSpec>>;
  /** How each view of an image is drawn. */
  views(spec: S): readonly ViewSpec[];
  directions(spec: S): number;
  /** What the loss compares with: computed first, without gradient. */
  readonly targets?: {
    readonly network: string;
    /** Whether each direction deals its images anew to splits, so that batch norm cannot tell which target is whose. */
    shuffled(spec: S): boolean;
    dim(spec: S): number;
    /** f32[n,dim] */
    of(unit: Unit<S>): tf.Tensor;
  };
  /** FIFOs that the targets of every step are pushed into, those of the last direction first. */
  rings?(spec: S): Readonly<Record<string, RingSpec>>;
  /** Tensors that a rule moves after each step, by name; of methods with targets. */
  state?(spec: S): Readonly<Record<string, StateSpec>>;
  /** Numbers that move over the run, by name, as functions of the share of all steps that are done. Inputs of a recorded step. */
  schedules?(spec: S): Readonly<Record<string, (progress: number) => number>>;
  /** Factor of the learning rate for a parameter; `lr` is this step's. Unset: 1 for all. */
  rate?(spec: S, entry: { readonly name: string; readonly part: string }, lr: number): number;
}

/** Given targets and rings, the loss is a mean over rows: each unit is differentiated by itself. */
export interface RowMethod<S = CommonSpec> extends Common<S> {
  readonly couples: "rows";
  /** A mean over the unit's rows. The loss of a step is the sum over directions of the means over the batch. */
  loss(unit: Unit<S>): Outcome;
}

/**
 * The loss needs the rows of all units at once. They are computed unit by unit, the loss and its gradient by them once for
 * the whole batch, and the units are differentiated with that gradient: exact, in the memory of one unit (GradCache,
 * Gao et al. 2021).
 */
export interface BatchMethod<S = CommonSpec> extends Common<S> {
  readonly couples: "batch";
  /** What a unit gives: the dimension of each, and whether the loss takes it as a constant (stop-gradient). */
  rows(spec: S): Readonly<Record<string, { readonly dim: number; readonly constant?: boolean }>>;
  /** f32[n,dim] of each. */
  embed(unit: Unit<S>): Readonly<Record<string, tf.Tensor>>;
  /** `rows`: of each name, the batch of each direction, f32[N,dim], the same image in the same row of all. */
  loss(spec: S, rows: Readonly<Record<string, readonly tf.Tensor2D[]>>, step: BatchStep): Outcome;
}

export type Method<S = CommonSpec> = RowMethod<S> | BatchMethod<S>;

/** Direction d is view d: of methods that treat their two views alike. */
export const bothViews = { directions: () => 2 } as const;

/** One augmentation for view 0, and for view 1 what `secondView` says besides. */
export const twoViews = (spec: {
  augmentation: AugmentationSpec;
  secondView?: Partial<AugmentationSpec>;
}): AugmentationSpec[] => [spec.augmentation, { ...spec.augmentation, ...spec.secondView }];
