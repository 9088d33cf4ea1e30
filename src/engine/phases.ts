/** The order of a step, said once: threads go through the phases one by one, the GPU's recording says each once. */
import type { AnyMethod } from "../methods/index.ts";

/**
 *     follow    the moving averages: before the forward pass, or after the update
 *     targets   what the loss compares with, without gradient
 *     rows      what a unit gives to a loss over the whole batch
 *     couple    that loss, its gradient by the rows and by the method's own parameters
 *     learn     the gradient of each unit, added up in the order of units
 *     update    the optimiser, running statistics
 *     remember  the targets into the rings, and the method's own state
 */
export type Phase = "follow before" | "targets" | "rows" | "couple" | "learn" | "update" | "follow after" | "remember";

export function phasesOf({ couples, targets, rings, state }: AnyMethod): readonly Phase[] {
  return [
    "follow before",
    ...(targets ? (["targets"] as const) : []),
    ...(couples === "batch" ? (["rows", "couple"] as const) : []),
    "learn",
    "update",
    "follow after",
    ...(rings || state ? (["remember"] as const) : []),
  ];
}
