/** Texts for the tower, without the padding that none of them needs. */
import * as tf from "@tensorflow/tfjs-core";
import type { TextGroup } from "../../nn/network.ts";

/** Rows `at` of tokens i32[M, context] and lengths i32[M], as long as the longest of them. */
export function textGroup(
  { tokens, lengths }: { readonly tokens: Int32Array; readonly lengths: Int32Array },
  at: readonly number[],
): TextGroup {
  const context = tokens.length / lengths.length;
  const own = at.map((row) => lengths[row] as number);
  const longest = Math.max(...own);
  const rows = new Int32Array(own.length * longest);
  at.forEach((row, i) => {
    rows.set(tokens.subarray(row * context, row * context + longest), i * longest);
  });
  return { tokens: tf.tensor2d(rows, [own.length, longest], "int32"), lengths: tf.tensor1d(own, "int32") };
}
