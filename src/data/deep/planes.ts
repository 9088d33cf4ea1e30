/** Channels of an image, each by itself. */
import type { NumberValues } from "./types.ts";

/** values[places] of each channel to values[places, channels]. */
export function interleaved<T extends NumberValues>(planes: readonly T[]): T {
  const first = planes[0] as T;
  const all = new (first.constructor as new (length: number) => T)(first.length * planes.length);
  for (const [c, plane] of planes.entries()) {
    for (let i = 0; i < plane.length; i++) all[i * planes.length + c] = plane[i] as number;
  }
  return all;
}
