/** A run's state on a WebGPU device: the blocks of `state.ts`, each tensor at a place where it can be bound. */
import type * as tf from "@tensorflow/tfjs-core";
import type { GpuBackend, Slice } from "../../backend/gpu_backend.ts";

import type { Layout } from "../../nn/layout.ts";
import { BLOCK } from "../../optim/flat.ts";
import { blockNames, type Model } from "../state.ts";

/** Where the tensors of a layout are on the device. The gaps stay 0, which every optimiser leaves as it is. */
export class DeviceLayout {
  readonly offsets: number[] = [];
  readonly size: number;

  constructor(readonly layout: Layout) {
    let at = 0;
    for (const { size } of layout.entries) {
      this.offsets.push(at);
      at += Math.ceil(size / BLOCK) * BLOCK;
    }
    this.size = at;
  }

  /** Gives every block, of `blocks` [size / BLOCK], its tensor's value. */
  fillBlocks<T extends Int32Array | Float32Array>(blocks: T, value: (index: number) => number): T {
    this.layout.entries.forEach(({ size }, i) => {
      const from = (this.offsets[i] as number) / BLOCK;
      blocks.fill(value(i), from, from + Math.ceil(size / BLOCK));
    });
    return blocks;
  }

  pack(values: Float32Array): Float32Array {
    const packed = new Float32Array(this.size);
    this.layout.entries.forEach(({ offset, size }, i) => {
      packed.set(values.subarray(offset, offset + size), this.offsets[i]);
    });
    return packed;
  }

  unpack(packed: Float32Array, values: Float32Array): void {
    this.layout.entries.forEach(({ offset, size }, i) => {
      const from = this.offsets[i] as number;
      values.set(packed.subarray(from, from + size), offset);
    });
  }
}

/** One buffer, the tensor that is all of it, and the array of the model that it mirrors. */
interface Mirror {
  readonly slice: Slice;
  readonly tensor: tf.Tensor;
  upload(): Float32Array | Int32Array;
  download(bytes: ArrayBuffer): void;
}

/** Blocks of the model on the device, by their names in the state; besides them `gradient` and `targets`. */
export class GpuState {
  /** Of the trained network's parameters; those of its followers begin like them. */
  readonly params: DeviceLayout;
  private readonly mirrors = new Map<string, Mirror>();
  private readonly layouts = new Map<string, DeviceLayout>();
  private readonly buffers: GPUBuffer[] = [];
  /** Of all of them. */
  bytes = 0;

  constructor(
    private readonly backend: GpuBackend,
    model: Model,
  ) {
    const { networks, state, buffers, trained } = model;
    this.params = new DeviceLayout(trained.params);
    for (const name of networks.names) {
      const { params, stats } = networks.get(name);
      this.layouts.set(blockNames.params(name), name === networks.trained ? this.params : new DeviceLayout(params));
      this.layouts.set(blockNames.stats(name), new DeviceLayout(stats));
    }
    for (const name of [blockNames.first, blockNames.second, "gradient"]) this.layouts.set(name, this.params);
    for (const [name, block] of Object.entries({ ...state, gradient: buffers.gradient })) {
      const layout = this.layouts.get(name);
      if (layout && block instanceof Float32Array) this.mirrorLayout(name, layout, block);
      else this.mirrorArray(name, block);
    }
    if (buffers.targets.length > 0) this.mirrorArray("targets", buffers.targets);
    this.load();
  }

  /** A buffer for inputs and results, and the tensor that is all of it. */
  allocate(shape: number[], dtype: "float32" | "int32" = "float32"): { tensor: tf.Tensor; slice: Slice } {
    const size = Math.max(16, 4 * shape.reduce((a, b) => a * b, 1));
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = this.backend.device.createBuffer({ size, usage });
    this.buffers.push(buffer);
    this.bytes += size;
    const slice = { buffer, offset: 0, size };
    return { slice, tensor: this.backend.view(slice, shape, dtype) };
  }

  private mirrorLayout(name: string, layout: DeviceLayout, values: Float32Array): void {
    this.mirrors.set(name, {
      ...this.allocate([layout.size]),
      upload: () => layout.pack(values),
      download: (bytes) => layout.unpack(new Float32Array(bytes), values),
    });
  }

  private mirrorArray(name: string, values: Float32Array | Int32Array): void {
    const integers = values instanceof Int32Array;
    this.mirrors.set(name, {
      ...this.allocate([values.length], integers ? "int32" : "float32"),
      // From shared memory WebGPU does not copy.
      upload: () => values.slice(),
      download: (bytes) => {
        const all = integers ? new Int32Array(bytes) : new Float32Array(bytes);
        values.set(all.subarray(0, values.length));
      },
    });
  }

  private mirror(name: string): Mirror {
    const mirror = this.mirrors.get(name);
    if (!mirror) throw new Error(`the device has no ${name}, only ${[...this.mirrors.keys()]}`);
    return mirror;
  }

  has(name: string): boolean {
    return this.mirrors.has(name);
  }

  /** All of one of the blocks, with the gaps of its layout. */
  flat(name: string): tf.Tensor {
    return this.mirror(name).tensor;
  }

  /** The tensors of a layout's block, each where it is in the flat buffer. */
  tensors(name: string): Map<string, tf.Tensor> {
    const { slice } = this.mirror(name);
    const found = this.layouts.get(name);
    if (!found) throw new Error(`${name} has no tensors of its own`);
    const { layout, offsets } = found;
    return new Map(
      layout.entries.map(({ name: tensor, shape, size }, i) => {
        const offset = 4 * (offsets[i] as number);
        return [tensor, this.backend.view({ buffer: slice.buffer, offset, size: 4 * size }, [...shape])];
      }),
    );
  }

  /** A view of another shape. */
  shaped(name: string, shape: number[]): tf.Tensor {
    return this.backend.view(this.mirror(name).slice, shape);
  }

  /** The device gets what the model has. */
  load(): void {
    for (const { slice, upload } of this.mirrors.values()) {
      this.backend.device.queue.writeBuffer(slice.buffer, 0, upload() as Float32Array<ArrayBuffer>);
    }
  }

  /** The model gets what the device has, all or one. Rejects where the device is lost; then the model is as it was. */
  async save(only?: "targets"): Promise<void> {
    const { backend } = this;
    const all = only ? [this.mirror(only)] : [...this.mirrors.values()];
    const read = await Promise.all(all.map(({ slice }) => backend.readSlice(slice)));
    for (const [i, { download }] of all.entries()) download(read[i] as ArrayBuffer);
  }

  destroy(): void {
    for (const buffer of this.buffers) buffer.destroy();
  }
}
