/** Images as numbers of their own type. */

export type NumberValues =
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Float32Array
  | Float64Array;

/** values[height, width, channels] */
export interface NumberImage {
  readonly values: NumberValues;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** What is black and what is white where only the type says it. */
  readonly range: Range;
}

/** What becomes 0 and what becomes 1. */
export type Range = readonly [low: number, high: number];

export interface NumberShape {
  readonly channels: number;
  /** Whether its numbers have more than 8 bits. */
  readonly deep: boolean;
}

/** The whole range of a type; of floats 0 to 1. */
export function rangeOfType(values: NumberValues): Range {
  if (values instanceof Float32Array || values instanceof Float64Array) return [0, 1];
  const bits = 8 * values.BYTES_PER_ELEMENT;
  const signed = values instanceof Int8Array || values instanceof Int16Array || values instanceof Int32Array;
  return signed ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1];
}
