/** Images of 8 or 16 bits and rows of parameters -> normalised views, fused for a whole batch. Rows: see `data/view.ts`. */
import type * as tf from "@tensorflow/tfjs-core";
import * as core from "@tensorflow/tfjs-core";
import { allocate, heap, pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { PLACE } from "../../data/source.ts";
import type { ValueBytes } from "../../data/types.ts";
import { rowFloats } from "../../data/view.ts";
import { expectShape } from "../../util/errors.ts";
import { measured } from "../profile.ts";
import type { AugmentAttrs } from "./names.ts";
import { augmentViews } from "./views.ts";

export interface ImageBatch {
  /** Copied out before the call returns. */
  readonly pixels: Uint8Array;
  /** f64[N, PLACE]: byte offset, height and width of each image in `pixels`. */
  readonly places: Float64Array;
  readonly channels: number;
  /** Of one value in `pixels`; unset: 1. Values of two bytes are u16, least first, and begin at even offsets. */
  readonly valueBytes?: ValueBytes | undefined;
}

/** Views f32[N,S,S,C] of N images; `rows` f32[N*rowFloats(C)]; mean and std per channel in [0, 1]. */
export function augment(
  batch: ImageBatch,
  rows: Float32Array,
  size: number,
  mean: readonly number[],
  std: readonly number[],
): tf.Tensor4D {
  const n = batch.places.length / PLACE;
  expectShape("augment rows", [rows.length], [n * rowFloats(batch.channels)]);
  if (core.getBackend() === "webgpu") {
    const { channels, valueBytes = 1 } = batch;
    return augmentOnGpu(batch, rows, { size, channels, valueBytes, mean, std });
  }
  const out = allocate([n, size, size, batch.channels]);
  const stats = Float32Array.from([...mean, ...std]);
  measured("augment", () => {
    // Images of one size go through the kernel together; of a held dataset that is the whole batch.
    for (let from = 0; from < n; ) {
      let to = from + 1;
      const side = (i: number, which: number) => batch.places[i * PLACE + which];
      while (to < n && side(to, 1) === side(from, 1) && side(to, 2) === side(from, 2)) to++;
      augmentRun(batch, rows, size, stats, out, from, to);
      from = to;
    }
  });
  return core.engine().makeTensorFromTensorInfo(out) as tf.Tensor4D;
}

function augmentOnGpu({ pixels, places }: ImageBatch, rows: Float32Array, attrs: AugmentAttrs): tf.Tensor4D {
  const n = places.length / PLACE;
  // Only what is used goes over: the batch may lie anywhere in a large dataset.
  const from = Math.min(...Array.from({ length: n }, (_, i) => places[i * PLACE] as number));
  const ends = Array.from({ length: n }, (_, i) => {
    const [at, h, w] = places.subarray(i * PLACE, (i + 1) * PLACE) as unknown as [number, number, number];
    return at + h * w * attrs.channels * attrs.valueBytes;
  });
  const words = new Int32Array(Math.ceil((Math.max(...ends) - from) / 4));
  new Uint8Array(words.buffer).set(pixels.subarray(from, Math.max(...ends)));
  const moved = Int32Array.from(places, (v, i) => (i % PLACE === 0 ? v - from : v));
  return core.tidy(() =>
    augmentViews(
      {
        pixels: core.tensor1d(words, "int32"),
        places: core.tensor2d(moved, [n, PLACE], "int32"),
        rows: core.tensor2d(rows, [n, rowFloats(attrs.channels)]),
        picks: core.range(0, n, 1, "int32"),
      },
      attrs,
    ),
  ) as tf.Tensor4D;
}

/** Images [from, to), all of the same height and width. */
function augmentRun(
  { pixels, places, channels: c, valueBytes = 1 }: ImageBatch,
  rows: Float32Array,
  size: number,
  stats: Float32Array,
  out: tf.TensorInfo,
  from: number,
  to: number,
): void {
  const { kernels } = wasmDevice();
  const n = to - from;
  const [h, w] = [places[from * PLACE + 1], places[from * PLACE + 2]] as [number, number];
  const bytes = h * w * c * valueBytes;
  const part = rows.subarray(from * rowFloats(c), to * rowFloats(c));
  const side = Math.max(h, w, size);
  const scratchFloats = side * size * c + 4 * side + 64;
  withScratch(n * bytes + part.byteLength + stats.byteLength + 64, (images) =>
    withScratch(scratchFloats * 4, (scratch) => {
      const memory = heap();
      for (let i = 0; i < n; i++) {
        const at = places[(from + i) * PLACE] as number;
        memory.set(pixels.subarray(at, at + bytes), images + i * bytes);
      }
      const rowsAt = ((images + n * bytes + 15) & ~15) >>> 0;
      const statsAt = rowsAt + part.byteLength;
      memory.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), rowsAt);
      memory.set(new Uint8Array(stats.buffer), statsAt);
      const view = pointer(out) + from * size * size * c * 4;
      kernels.augment(images, rowsAt, statsAt, view, scratch, n, h, w, c, size, valueBytes - 1);
    }),
  );
}
