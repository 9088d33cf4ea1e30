/** A run's state on a WebGPU device: the flat buffers of `state.ts`, each tensor at a place where it can be bound. */
import type * as tf from "@tensorflow/tfjs-core";
import type { GpuBackend, Slice } from "../../backend/gpu_backend.ts";
import { BLOCK } from "../../kernels/update/webgpu.ts";
import type { Layout } from "../../nn/layout.ts";
import type { Model } from "../state.ts";

/** Where the tensors of a layout are on the device. The gaps stay 0, which every optimiser leaves as it is. */
class DeviceLayout {
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

export class GpuState {
  readonly params: DeviceLayout;
  readonly stats: DeviceLayout;
  private readonly mirrors = new Map<string, Mirror>();
  private readonly buffers: GPUBuffer[] = [];
  /** Of all of them. */
  bytes = 0;

  constructor(
    private readonly backend: GpuBackend,
    model: Model,
  ) {
    const { encoder, state, buffers } = model;
    this.params = new DeviceLayout(encoder.params);
    this.stats = new DeviceLayout(encoder.stats);
    for (const name of ["queryParams", "keyParams", "velocity", "second"] as const) {
      if (state[name].length > 0) this.mirrorLayout(name, this.params, state[name]);
    }
    this.mirrorLayout("gradient", this.params, buffers.gradient);
    this.mirrorLayout("queryStats", this.stats, state.queryStats);
    this.mirrorLayout("keyStats", this.stats, state.keyStats);
    this.mirrorArray("queue", state.queue, "float32");
    this.mirrorArray("queueIds", state.queueIds, "int32");
    this.mirrorArray("keys", buffers.keys, "float32");
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

  private mirrorArray(name: string, values: Float32Array | Int32Array, dtype: "float32" | "int32"): void {
    this.mirrors.set(name, {
      ...this.allocate([values.length], dtype),
      // From shared memory WebGPU does not copy.
      upload: () => values.slice(),
      download: (bytes) => {
        const all = dtype === "int32" ? new Int32Array(bytes) : new Float32Array(bytes);
        values.set(all.subarray(0, values.length));
      },
    });
  }

  private mirror(name: string): Mirror {
    return this.mirrors.get(name) as Mirror;
  }

  /** All of one of the buffers. */
  flat(name: "queryParams" | "keyParams" | "velocity" | "gradient" | "queue" | "queueIds"): tf.Tensor {
    return this.mirror(name).tensor;
  }

  get second(): tf.Tensor | undefined {
    return this.mirrors.get("second")?.tensor;
  }

  /** The tensors of a layout, each where it is in the flat buffer. */
  tensors(name: "queryParams" | "keyParams" | "queryStats" | "keyStats"): Map<string, tf.Tensor> {
    const { slice } = this.mirror(name);
    const { layout, offsets } = name.endsWith("Params") ? this.params : this.stats;
    return new Map(
      layout.entries.map(({ name: tensor, shape, size }, i) => {
        const offset = 4 * (offsets[i] as number);
        return [tensor, this.backend.view({ buffer: slice.buffer, offset, size: 4 * size }, [...shape])];
      }),
    );
  }

  /** A view of another shape. */
  shaped(tensor: "queue" | "keys", shape: number[]): tf.Tensor {
    return this.backend.view(this.mirror(tensor).slice, shape);
  }

  /** The device gets what the model has. */
  load(): void {
    for (const { slice, upload } of this.mirrors.values()) {
      this.backend.device.queue.writeBuffer(slice.buffer, 0, upload() as Float32Array<ArrayBuffer>);
    }
  }

  /** The model gets what the device has, all or one. Rejects where the device is lost; then the model is as it was. */
  async save(only?: "keys"): Promise<void> {
    const { backend } = this;
    const all = only ? [this.mirror(only)] : [...this.mirrors.values()];
    const read = await Promise.all(all.map(({ slice }) => backend.readSlice(slice)));
    for (const [i, { download }] of all.entries()) download(read[i] as ArrayBuffer);
  }

  destroy(): void {
    for (const buffer of this.buffers) buffer.destroy();
  }
}
