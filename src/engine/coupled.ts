/** What both engines do with a method whose loss needs the rows of the whole batch. */
import type * as tf from "@tensorflow/tfjs-core";
import type { BatchMethod, Method, Unit, ViewSpec } from "../methods/method.ts";
import { type Entry, type Layout, OWN } from "../nn/layout.ts";
import { Tape } from "../nn/tape.ts";
import type { TrainSpec } from "../schema/pretrain.ts";
import { hasPart } from "./units.ts";

/** The method as a coupled one. @throws Error if its loss is a sum over rows. */
export function coupled(method: Method<TrainSpec>): BatchMethod<TrainSpec> {
  if (method.couples !== "batch") throw new Error("the method's loss is a sum over rows");
  return method;
}

/** Parameters that units of a view have a gradient of: a loss over the batch has that of the method's own ones. */
export const differentiatedByUnits = (
  { couples }: Pick<Method, "couples">,
  { trainable }: Layout,
  view: ViewSpec,
): readonly Entry[] => trainable.filter((entry) => hasPart(entry, view) && (couples === "rows" || entry.part !== OWN));

/**
 * The name of a parameter of the method's own that a unit asks for.
 * @throws Error where there is none, and in a method whose loss is over the batch: there its gradient is that loss's alone.
 */
export function ownParameter({ couples }: Pick<Method, "couples">, { own }: Layout, name: string): string {
  if (couples === "batch")
    throw new Error(`parameter ${name}: a loss over the batch takes it from its step, not a unit`);
  if (own.some((entry) => entry.name === name)) return name;
  throw new Error(`there is no parameter ${name}, only ${own.map((entry) => entry.name)}`);
}

/** @throws Error where the loss did not take the gradient of one of them. */
export function expectAll(entries: readonly Entry[], taken: ReadonlySet<number>): void {
  const idle = entries.find((_, index) => !taken.has(index));
  if (idle) throw new Error(`parameter ${idle.name} has no part in the loss`);
}

/** The forward pass of units; the tape's outputs are their rows [n,dim], in the order of `names`. */
export function recordRows(method: BatchMethod<TrainSpec>, unit: Unit<TrainSpec>, names: readonly string[]): Tape {
  return Tape.record(() => {
    const rows = method.embed(unit);
    return names.map((name) => rows[name] as tf.Tensor);
  });
}
