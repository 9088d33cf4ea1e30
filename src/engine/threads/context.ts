/** What the parts of a thread share. */
import * as tf from "@tensorflow/tfjs-core";
import type { AnyMethod } from "../../methods/index.ts";
import type { Entry } from "../../nn/layout.ts";
import type { Pass } from "../../nn/network.ts";
import type { Range } from "../../optim/buffers.ts";
import { blockNames, floatsOf, type Networks, ownStateOf, scheduleIndex } from "../state.ts";
import type { Meeting } from "./meeting.ts";
import type { ShardInit } from "./tasks.ts";

export interface ThreadContext extends ShardInit {
  readonly method: AnyMethod;
  readonly networks: Networks;
  /** This thread's range of the trained parameters. */
  readonly range: Range;
  /** Undefined: batch norm spans no more than a unit. */
  readonly meeting: Meeting | undefined;
  /**
   * Runs `work` for units below `end`, each in a tidy of its own: threads take them in turn (`counter` was set to the first
   * one), but where they meet inside layers each has those of its own split.
   */
  takeUnits(from: number, end: number, work: (unit: number) => void): void;
  /** The same for anything else that can be divided. */
  take(end: number, work: (index: number) => void): void;
  /** Tensors of some networks, and of rings as they are asked for, for as long as `use` runs. */
  hold(networks: readonly string[], use: (held: Held) => void): void;
}

/** What units share while a task runs: parameters, rings and targets do not change in that time. */
export interface Held {
  /** By network. */
  readonly params: Readonly<Record<string, Params>>;
  /** f32[K,C] */
  ringRows(name: string): tf.Tensor;
  /** i32[K] */
  ringIds(name: string): tf.Tensor;
  /** The method's own. */
  stateOf(name: string): tf.Tensor;
  /** f32[N,C]: all targets of a direction. */
  targetsOf(direction: number): tf.Tensor;
  /** i32[N]: the images of the batch. */
  batchIds(): tf.Tensor;
}

/** Parameters of a network by name. */
export interface Params {
  readonly param: Pass["param"];
}

/** One of the method's schedules, as it is in this step. */
export const scheduledOf = ({ spec, buffers }: ShardInit, name: string): tf.Scalar =>
  tf.scalar(buffers.scheduled[scheduleIndex(spec, name)] as number);

/** The method's own state, as it is before the step. */
export const stateTensor = ({ spec, state }: ShardInit, name: string): tf.Tensor =>
  tf.tensor(floatsOf(state, blockNames.own(name)), [...ownStateOf(spec, name).shape]);

export function tensorsOf(
  { entries }: { readonly entries: readonly Entry[] },
  values: Float32Array,
): Map<string, tf.Tensor> {
  return new Map(
    entries.map(({ name, shape, offset, size }) => [
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
