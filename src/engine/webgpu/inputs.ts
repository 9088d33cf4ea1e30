/** What a step on WebGPU is told: the batch's images, how to look at them, and the few numbers that change. */
import type * as tf from "@tensorflow/tfjs-core";
import type { Slice } from "../../backend/gpu_backend.ts";
import { PLACE } from "../../data/source.ts";
import { SCALARS } from "../../optim/flat.ts";
import type { GpuState } from "./state.ts";

export interface Images {
  /** u8[...] and f64[n, PLACE]: where each image is in it. */
  readonly pixels: Uint8Array;
  readonly places: Float64Array;
}

/** A buffer of the device, its tensor, and how it is filled. */
class Input {
  readonly tensor: tf.Tensor;
  private readonly slice: Slice;

  constructor(
    private readonly device: GPUDevice,
    state: GpuState,
    shape: number[],
    dtype: "float32" | "int32" = "float32",
  ) {
    ({ tensor: this.tensor, slice: this.slice } = state.allocate(shape, dtype));
  }

  write(values: Float32Array | Int32Array): void {
    this.device.queue.writeBuffer(this.slice.buffer, 0, values as Float32Array<ArrayBuffer>);
  }
}

/** Images and rows of views, for `rows` of them of `rowFloats` each; `imageBytes` is what the images may take together. */
export class ViewInputs {
  readonly pixels: Input;
  readonly places: Input;
  readonly rows: Input;

  constructor(
    device: GPUDevice,
    state: GpuState,
    rows: number,
    rowFloats: number,
    readonly imageBytes: number,
  ) {
    this.pixels = new Input(device, state, [Math.ceil(imageBytes / 4)], "int32");
    this.places = new Input(device, state, [rows, PLACE], "int32");
    this.rows = new Input(device, state, [rows, rowFloats]);
  }

  /** Puts the images together on the device; `views` rows follow one another for the images in turn, `views` times. */
  write({ pixels, places }: Images, pixelBytes: number, views: number, rows: Float32Array): void {
    const count = places.length / PLACE;
    const packed = new Int32Array(Math.ceil(bytesOf(places, pixelBytes) / 4));
    const bytes = new Uint8Array(packed.buffer);
    const moved = new Int32Array(count * PLACE * views);
    let at = 0;
    for (let i = 0; i < count; i++) {
      const [from, height, width] = places.subarray(i * PLACE, (i + 1) * PLACE) as unknown as [number, number, number];
      const length = height * width * pixelBytes;
      bytes.set(pixels.subarray(from, from + length), at);
      for (let view = 0; view < views; view++) moved.set([at, height, width], (view * count + i) * PLACE);
      at += length;
    }
    this.pixels.write(packed);
    this.places.write(moved);
    this.rows.write(rows);
  }
}

/** Bytes that images of so many bytes a pixel take when they are put together. */
export function bytesOf(places: Float64Array, pixelBytes: number): number {
  let bytes = 0;
  for (let i = 0; i < places.length; i += PLACE) {
    bytes += (places[i + 1] as number) * (places[i + 2] as number) * pixelBytes;
  }
  return bytes;
}

/** The numbers of a step. D directions, N batch. */
export interface StepInputs {
  /** See `scalarsOf`. */
  readonly scalars: Input;
  /** i32: the place in the log, then the place of the oldest row of each ring. */
  readonly counters: Input;
  /** f32[P / BLOCK, 2]: factors of the rate and of the weight decay. */
  readonly rates: Input;
  /** i32[N]: images, and their classes. */
  readonly ids: Input;
  readonly labels: Input;
  /** Of the batch's texts, i32[N,context] and i32[N]; of one value where there are none. */
  readonly tokens: Input;
  readonly lengths: Input;
  /** f32: see `StepBuffers.scheduled`. */
  readonly scheduled: Input;
  /** i32[D * N]: the views that targets are of, and the places that they go to, in the order in which they are encoded. */
  readonly targetPicks: Input;
  readonly targetPlaces: Input;
  /** f32[branches, D * N]: see `drop.ts`; of one value where nothing is dropped. */
  readonly branches: Input;
}

export function stepInputs(
  device: GPUDevice,
  state: GpuState,
  sizes: {
    batch: number;
    directions: number;
    blocks: number;
    rings: number;
    branches: number;
    scheduled: number;
    /** Tokens of a text; 0: there are none. */
    context: number;
  },
): StepInputs {
  const { batch, directions, blocks, rings, branches, scheduled, context } = sizes;
  return {
    scalars: new Input(device, state, [SCALARS]),
    counters: new Input(device, state, [1 + rings], "int32"),
    rates: new Input(device, state, [blocks, 2]),
    ids: new Input(device, state, [batch], "int32"),
    labels: new Input(device, state, [batch], "int32"),
    tokens: new Input(device, state, context > 0 ? [batch, context] : [1, 1], "int32"),
    lengths: new Input(device, state, [context > 0 ? batch : 1], "int32"),
    scheduled: new Input(device, state, [scheduled]),
    targetPicks: new Input(device, state, [directions * batch], "int32"),
    targetPlaces: new Input(device, state, [directions * batch], "int32"),
    branches: new Input(device, state, [Math.max(1, branches * directions * batch)]),
  };
}
