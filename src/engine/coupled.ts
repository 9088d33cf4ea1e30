/** What both engines do with a method whose loss needs the rows of the whole batch. */
import type * as tf from "@tensorflow/tfjs-core";
import type { BatchMethod, Method, Unit } from "../methods/method.ts";
import { Tape } from "../nn/tape.ts";
import type { TrainSpec } from "../schema/pretrain.ts";

/** The method as a coupled one. @throws Error if its loss is a sum over rows. */
export function coupled(method: Method<TrainSpec>): BatchMethod<TrainSpec> {
  if (method.couples !== "batch") throw new Error("the method's loss is a sum over rows");
  return method;
}

/** The forward pass of units; the tape's outputs are their rows [n,dim], in the order of `names`. */
export function recordRows(method: BatchMethod<TrainSpec>, unit: Unit<TrainSpec>, names: readonly string[]): Tape {
  return Tape.record(() => {
    const rows = method.embed(unit);
    return names.map((name) => rows[name] as tf.Tensor);
  });
}
