/** A file of arrays, whatever its format. */
import type { NumberValues } from "../deep/types.ts";
import type { NumberArray } from "./npy.ts";

export interface ArrayFile {
  readonly names: readonly string[];
  /** Throws FileError where it is no such array, or damaged. */
  readonly read: (name: string) => Promise<NumberArray>;
  /** Row by row, where the format allows it. */
  readonly rows?: (name: string) => Promise<Rows>;
}

/** Rows of an array in a file that is open until it is closed. */
export interface Rows {
  readonly shape: readonly number[];
  /** As NumPy spells it. */
  readonly type: string;
  /** A copy of one row. Throws FileError where it cannot be read. */
  readonly row: (index: number) => Promise<NumberValues>;
  readonly close: () => void;
}
