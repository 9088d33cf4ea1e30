/** uint8 images and rows of parameters -> normalised views, fused for a whole batch. Rows: see `data/view.ts`. */
import type * as tf from "@tensorflow/tfjs-core";
import * as core from "@tensorflow/tfjs-core";
import { allocate, pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { expectShape } from "../../util/errors.ts";

const ROW_FLOATS = 16;

export interface ImageBatch {
  /** Copied out before the call returns. */
  readonly pixels: Uint8Array;
  readonly offsets: ArrayLike<number>;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

/** f32[N,S,S,C]; `offsets` are byte offsets of the N images in `pixels`, `rows` f32[N*16]. */
export function augment(
  batch: ImageBatch,
  rows: Float32Array,
  size: number,
  mean: readonly number[],
  std: readonly number[],
): tf.Tensor4D {
  const { backend, kernels } = wasmDevice();
  const { height: h, width: w, channels: c } = batch;
  const n = batch.offsets.length;
  expectShape("augment rows", [rows.length], [n * ROW_FLOATS]);
  const out = allocate([n, size, size, c]);
  const bytes = h * w * c;
  const side = Math.max(h, w, size);
  const scratchFloats = side * size * c + 4 * side + 64;
  withScratch(n * bytes + rows.byteLength + 8 * c + 64, (images) =>
    withScratch(scratchFloats * 4, (scratch) => {
      const heap = (backend.wasm as unknown as { HEAPU8: Uint8Array }).HEAPU8;
      for (let i = 0; i < n; i++) {
        const from = batch.offsets[i] as number;
        heap.set(batch.pixels.subarray(from, from + bytes), images + i * bytes);
      }
      const rowsAt = (images + n * bytes + 15) & ~15;
      const stats = rowsAt + rows.byteLength;
      heap.set(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength), rowsAt);
      heap.set(new Uint8Array(Float32Array.from([...mean, ...std]).buffer), stats);
      kernels.augment(images, rowsAt, stats, pointer(out), scratch, n, h, w, c, size);
    }),
  );
  return core.engine().makeTensorFromTensorInfo(out) as tf.Tensor4D;
}
