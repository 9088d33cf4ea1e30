/** Mean and deviation of each channel of images of 8 or 16 bits. */
import type { ValueBytes } from "./types.ts";

/** Sums of a channel's values and their squares: of whole numbers, so exact up to 2^53. */
export class Moments {
  private readonly sum: Float64Array;
  private readonly square: Float64Array;
  private pixels = 0;

  constructor(
    private readonly channels: number,
    private readonly valueBytes: ValueBytes = 1,
  ) {
    [this.sum, this.square] = [new Float64Array(channels), new Float64Array(channels)];
  }

  /** values[pixels, channels] */
  add(values: Uint8Array | Uint16Array): this {
    const { channels, sum, square } = this;
    for (let i = 0; i < values.length; i++) {
      const [c, v] = [i % channels, values[i] as number];
      sum[c] = (sum[c] as number) + v;
      square[c] = (square[c] as number) + v * v;
    }
    this.pixels += values.length / channels;
    return this;
  }

  /** In [0, 1]. Images of one value have no deviation: theirs is 1, so that they are not divided by 0. */
  result(): { mean: number[]; std: number[] } {
    const [most, count] = [256 ** this.valueBytes - 1, this.pixels];
    const mean = [...this.sum].map((of) => of / count / most);
    const std = [...this.square].map(
      (of, c) => Math.sqrt(Math.max(0, of / count / most ** 2 - (mean[c] as number) ** 2)) || 1,
    );
    return { mean, std };
  }
}
