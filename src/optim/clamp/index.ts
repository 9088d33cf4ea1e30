/** Bounds of a parameter after an update, as CLIP's on its learned temperature. */
import type { Range } from "../buffers.ts";

export function clamp(params: Float32Array, { from, to }: Range, [low, high]: readonly [number, number]): void {
  for (let i = from; i < to; i++) params[i] = Math.min(Math.max(params[i] as number, low), high);
}
