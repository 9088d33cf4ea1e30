/** Which weights features are of. */
import { type Model, trainedParams, trainedStats } from "../engine/state.ts";
import type { Layout } from "../nn/layout.ts";
import { sha256 } from "../store/files.ts";

/** SHA-256 of what the features depend on: main_lincls.py's sanity check, over every bit of the backbone. */
export function fingerprintOf(model: Model): string {
  const bytes = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  const parts = (layout: Layout, values: Float32Array) =>
    layout.entries
      .filter(({ part }) => part === "backbone")
      .map(({ offset, size }) => bytes(values.subarray(offset, offset + size)));
  const { params, stats } = model.trained;
  return sha256(Buffer.concat([...parts(params, trainedParams(model)), ...parts(stats, trainedStats(model))]));
}
