/** From numbers of any type to levels of 8 or 16 bits. */
import type { ValueBytes } from "../types.ts";
import type { NumberImage, NumberValues, Range } from "./types.ts";

/** Shares of a channel's values below what becomes 0, and above what becomes 1. */
const CUT = 0.005;

/** Where in 0 to 1 a number lies, cut off at both. No number (NaN), as sensors' files have it where there is no value, is 0. */
const placed = (value: number, [low, high]: Range): number => {
  const share = (value - low) / (high - low);
  return share > 0 ? Math.min(1, share) : 0;
};

/** Levels of the same shape, 0 to 255 or 65,535. */
export function toLevels(
  { values, channels, range }: Pick<NumberImage, "values" | "channels" | "range">,
  ranges: readonly Range[] | undefined,
  valueBytes: ValueBytes,
): Uint8Array | Uint16Array {
  const most = 256 ** valueBytes - 1;
  const levels = new (valueBytes === 2 ? Uint16Array : Uint8Array)(values.length);
  for (let i = 0; i < values.length; i++) {
    levels[i] = Math.round(most * placed(values[i] as number, ranges?.[i % channels] ?? range));
  }
  return levels;
}

/** Each channel's `CUT` and `1 - CUT` percentile over all images. One of a single value has a range of 1 above it. */
export function percentiles(images: readonly Pick<NumberImage, "values" | "channels">[]): Range[] {
  const { channels } = images[0] as { channels: number };
  return Array.from({ length: channels }, (_, c) => {
    const all = Float64Array.from(
      images.flatMap(({ values }) => [...bandOf(values, channels, c)].filter((v) => !Number.isNaN(v))),
    ).sort();
    const at = (share: number) => all[Math.round(share * (all.length - 1))] ?? 0;
    const [low, high] = [at(CUT), at(1 - CUT)];
    return [low, high > low ? high : low + 1];
  });
}

function* bandOf(values: NumberValues, channels: number, c: number): Generator<number> {
  for (let i = c; i < values.length; i += channels) yield values[i] as number;
}
