/**
 * tfjs's WebGPU backend, on a device that we opened, with two things that it lacks: tensors that are a part of a larger
 * buffer, and the recording of a step. What is recorded runs later as often as wanted, with nothing made anew: pipelines,
 * bind groups and buffers are the recording's own. Runs in browsers as well.
 */
import { WebGPUBackend } from "@tensorflow/tfjs-backend-webgpu/dist/backend_webgpu";
import * as tf from "@tensorflow/tfjs-core";
import { DeviceLostError, DeviceMemoryError } from "./errors.ts";
import { type Buffers, type Pass, Recorder } from "./recorder.ts";
import { type Dispatch, Recording } from "./recording.ts";

/** A part of a buffer; offset and size in bytes. Offsets are multiples of 256, as WebGPU asks. */
export interface Slice {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}

/** How kernels compute what is launched next; `kernels/webgpu` says what the two mean. */
export interface LaunchContext {
  readonly half: boolean;
  readonly statisticsGroups: number;
}

/** What is private in tfjs-backend-webgpu 4.22, which is why that version is pinned. */
interface Internals {
  bufferManager: Buffers;
  commandEncoder: GPUCommandEncoder | null;
  computePassEncoder: Pass | null;
  commandQueueOwnedIds: Pick<WeakSet<object>, "add" | "has">;
  tensorDataPendingDisposal: object[];
  uniformPendingDisposal: GPUBuffer[];
  dispatchCountInPass: number;
  tensorToBinding(tensor?: tf.TensorInfo): GPUBindingResource | null;
}

export class GpuBackend extends WebGPUBackend {
  /**
   * Kernels are compiled for their sizes: divisions by constants are a fifth of the time of others. A software adapter,
   * which takes a third of a second to compile one, is better off with one for all sizes.
   */
  foldsNumbers = true;
  private context: LaunchContext = { half: false, statisticsGroups: 0 };
  private readonly slices = new WeakMap<object, Slice>();
  private readonly halves = new WeakSet<object>();
  private readonly pipelines = new Map<string, GPUComputePipeline>();
  private readonly compiling = new Map<string, Promise<GPUComputePipeline>>();
  private readonly constants = new Map<string, GPUBuffer>();
  private readonly layouts = new Map<string, GPUBindGroupLayout>();
  private recorder: Recorder | undefined;
  private compiles = true;
  private failure: Error | undefined;

  constructor(
    device: GPUDevice,
    readonly info: GPUAdapterInfo,
  ) {
    super(device, info);
    // WebGPU goes on with zeros after an error, and tells only who listens.
    device.addEventListener("uncapturederror", ({ error }) => {
      const memory = error instanceof GPUOutOfMemoryError;
      this.failure ??= memory ? new DeviceMemoryError(error.message) : new Error(`WebGPU: ${error.message}`);
    });
    device.lost.then(({ reason, message }) => {
      this.failure ??= new DeviceLostError(`the device was lost (${reason}): ${message}`);
    });
    const stock = this.inside.tensorToBinding.bind(this);
    this.inside.tensorToBinding = (tensor) => (tensor && this.slices.get(tensor.dataId)) ?? stock(tensor);
  }

  get launchContext(): LaunchContext {
    return this.context;
  }

  /** Runs `use` in a context that differs from the present one in `changes`. tfjs hands kernels a backend and no more. */
  within<T>(changes: Partial<LaunchContext>, use: () => T): T {
    const before = this.context;
    this.context = { ...before, ...changes };
    try {
      return use();
    } finally {
      this.context = before;
    }
  }

  private get inside(): Internals {
    return this as unknown as Internals;
  }

  /** A tensor that is a part of a buffer. It must not be disposed after the buffer is destroyed. */
  view(slice: Slice, shape: number[], dtype: "float32" | "int32" = "float32"): tf.Tensor {
    const info = this.makeTensorInfo(shape, dtype);
    Object.assign(this.tensorMap.get(info.dataId), { resource: slice.buffer, external: true });
    this.slices.set(info.dataId, slice);
    return tf.engine().makeTensorFromTensorInfo(info);
  }

  /** A fresh tensor, not cleared; `half`: two values in 32 bits, as `pack2x16float` packs them. */
  allocate(shape: number[], dtype: "float32" | "int32" = "float32", half = false): tf.TensorInfo {
    const info = this.makeTensorInfo(shape, dtype);
    if (half) {
      const size = Math.ceil(tf.util.sizeFromShape(shape) / 2) * 4;
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
      this.tensorMap.get(info.dataId).resource = this.inside.bufferManager.acquireBuffer(size, usage);
      this.halves.add(info.dataId);
    }
    return info;
  }

  isHalf(tensor: tf.TensorInfo): boolean {
    return this.halves.has(tensor.dataId);
  }

  /** Where a tensor is on the device, which it comes to now if it was not there. */
  binding(tensor: tf.TensorInfo): GPUBufferBinding {
    this.uploadToGPU(tensor.dataId);
    return this.inside.tensorToBinding(tensor) as GPUBufferBinding;
  }

  /** Compiles once for every code; while a recording is made all of them at once, off this thread, behind it. */
  private pipeline(name: string, code: string, layout: GPUBindGroupLayout): Promise<GPUComputePipeline> | undefined {
    const { device } = this;
    const describe = (): GPUComputePipelineDescriptor => ({
      label: name,
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module: device.createShaderModule({ code, label: name }) },
    });
    if (this.pipelines.has(code)) return undefined;
    if (!this.recorder) {
      this.pipelines.set(code, device.createComputePipeline(describe()));
      return undefined;
    }
    if (!this.compiles) return undefined;
    let made = this.compiling.get(code);
    made ??= device.createComputePipelineAsync(describe()).then((pipeline) => {
      this.pipelines.set(code, pipeline);
      this.compiling.delete(code);
      return pipeline;
    });
    made.catch(() => undefined); // whoever awaits the recording hears of it
    this.compiling.set(code, made);
    return made;
  }

  /** A bind group of storage buffers, and the layout that goes with it. `written`: which of them. */
  private bindGroup(storage: readonly GPUBufferBinding[], written: readonly boolean[], numbers: Uint8Array) {
    const uniform = numbers.length > 0;
    const key = `${written.join()} ${uniform}`;
    const layout =
      this.layouts.get(key) ??
      this.device.createBindGroupLayout({
        entries: [
          ...written.map((w): GPUBufferBindingLayout => ({ type: w ? "storage" : "read-only-storage" })),
          ...(uniform ? [{ type: "uniform" } as const] : []),
        ].map((buffer, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer })),
      });
    this.layouts.set(key, layout);
    const resources = uniform ? [...storage, { buffer: this.constant(numbers) }] : storage;
    const entries = resources.map((resource, binding) => ({ binding, resource }));
    return { layout, group: this.device.createBindGroup({ layout, entries }) };
  }

  /** A buffer that holds these bytes for ever: there are as many as there are different ones. */
  private constant(bytes: Uint8Array): GPUBuffer {
    const key = bytes.join();
    const known = this.constants.get(key);
    if (known) return known;
    const size = Math.ceil(bytes.length / 16) * 16;
    const made = this.device.createBuffer({ size, usage: GPUBufferUsage.UNIFORM, mappedAtCreation: true });
    new Uint8Array(made.getMappedRange()).set(bytes);
    made.unmap();
    this.constants.set(key, made);
    return made;
  }

  /** Runs `code` over tensors, bound in order, or records that. Throws Error where there are too many workgroups. */
  launch(
    kernel: {
      name: string;
      code: string;
      groups: readonly [number, number, number];
      flops: number;
      /** A uniform buffer behind the tensors, unless it is empty. */
      numbers: Uint8Array;
    },
    tensors: readonly { tensor: tf.TensorInfo; written: boolean; bytes?: number }[],
  ): void {
    const { name, code, groups, flops, numbers } = kernel;
    const resources = tensors.map(({ tensor }) => this.binding(tensor));
    const { layout, group } = this.bindGroup(
      resources,
      tensors.map(({ written }) => written),
      numbers,
    );
    const compiling = this.pipeline(name, code, layout);
    const bytes = tensors.reduce((sum, { tensor, bytes: part }) => {
      return sum + (part ?? tf.util.sizeFromShape(tensor.shape) * (this.isHalf(tensor) ? 2 : 4));
    }, 0);
    const dispatch: Dispatch = { name, group, groups, flops, bytes, pipeline: this.pipelines.get(code) };
    const arrived = compiling?.then((pipeline) => {
      dispatch.pipeline = pipeline;
    });
    if (arrived) this.recorder?.waiting.push(arrived);
    this.dispatch(
      dispatch,
      tensors.map(({ tensor }) => tensor),
    );
  }

  /** Adds one dispatch to what is recorded, or to the queue. */
  private dispatch(dispatch: Dispatch, keep: readonly tf.TensorInfo[]): void {
    if (this.recorder) {
      this.recorder.dispatches.push(dispatch);
      return;
    }
    const { inside } = this;
    this.ensureCommandEncoderReady();
    inside.computePassEncoder ??= (inside.commandEncoder as GPUCommandEncoder).beginComputePass();
    const pass = inside.computePassEncoder;
    pass.setPipeline(dispatch.pipeline as GPUComputePipeline);
    pass.setBindGroup(0, dispatch.group);
    pass.dispatchWorkgroups(...dispatch.groups);
    for (const { dataId } of keep) inside.commandQueueOwnedIds.add(dataId);
    if (++inside.dispatchCountInPass >= tf.env().getNumber("WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE")) this.flush();
  }

  /** Throws what went wrong on the device since it was opened: DeviceLostError, DeviceMemoryError or another Error. */
  check(): void {
    if (this.failure) throw this.failure;
  }

  /** What is in a buffer when all that was submitted is done. Rejects as `check` throws. */
  async readSlice({ buffer, offset, size }: Slice): Promise<ArrayBuffer> {
    this.check();
    const staging = this.device.createBuffer({ size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, offset, staging, 0, size);
    this.device.queue.submit([encoder.finish()]);
    try {
      await staging.mapAsync(GPUMapMode.READ);
    } catch (error) {
      // Why it cannot be mapped is told to those who listen, in a turn of its own.
      await this.device.queue.onSubmittedWorkDone();
      this.check();
      throw error;
    }
    this.check();
    const bytes = staging.getMappedRange().slice(0);
    staging.destroy();
    return bytes;
  }

  /** Hands over what waits. */
  flush(): void {
    this.endComputePassEncoder();
    if (this.inside.commandEncoder) this.submitQueue();
  }

  /**
   * Records every dispatch of `work` instead of running it; nothing that `work` computes may be read. Tensors that it
   * makes are gone behind it: results go to views of buffers that were there before. Rejects where a kernel is refused.
   * `runs`: whether it is meant to be run, or only to be looked at, for which nothing is compiled. Rejects with
   * DeviceMemoryError, and leaves the device as it was, where there is no room for it.
   */
  async record(work: () => void, runs = true): Promise<Recording> {
    this.compiles = runs;
    this.device.pushErrorScope("out-of-memory");
    // What follows from a buffer that is not there is no news.
    this.device.pushErrorScope("validation");
    let recorder: Recorder | undefined;
    let thrown: unknown;
    try {
      recorder = this.recorded(work);
    } catch (error) {
      thrown = error;
    }
    this.compiles = true;
    const [invalid, noRoom] = await Promise.all([this.device.popErrorScope(), this.device.popErrorScope()]);
    if (noRoom) {
      for (const buffer of recorder?.buffers ?? []) buffer.destroy();
      throw new DeviceMemoryError(`no room on the GPU: ${noRoom.message.split("\n")[0]}`);
    }
    if (!recorder) throw thrown;
    if (invalid) throw new Error(`WebGPU: ${invalid.message}`);
    await Promise.all(recorder.waiting);
    return new Recording(this.device, recorder.dispatches, recorder.buffers, recorder.bytes);
  }

  private recorded(work: () => void): Recorder {
    if (this.recorder) throw new Error("record: a recording is being made already");
    this.flush();
    const { inside } = this;
    const recorder = new Recorder(this.device);
    const before = { ...inside };
    const other = tf.getBackend();
    tf.setBackend("webgpu"); // at once: it is there already
    const batch = tf.env().getNumber("WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE");
    const onCpu = tf.env().getBool("WEBGPU_CPU_FORWARD");
    tf.env().set("WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE", Number.MAX_SAFE_INTEGER);
    tf.env().set("WEBGPU_CPU_FORWARD", false);
    inside.bufferManager = recorder;
    inside.computePassEncoder = recorder;
    // Order is that of the recording, so a buffer may be used again as soon as its tensor is gone.
    inside.commandQueueOwnedIds = { add: () => new WeakSet(), has: () => false };
    this.recorder = recorder;
    try {
      tf.tidy(() => void work()); // what it returns would be kept
      return recorder;
    } catch (error) {
      for (const buffer of recorder.buffers) buffer.destroy();
      throw error;
    } finally {
      this.recorder = undefined;
      tf.setBackend(other);
      const { bufferManager, commandQueueOwnedIds } = before;
      Object.assign(inside, { bufferManager, commandQueueOwnedIds, computePassEncoder: null, dispatchCountInPass: 0 });
      Object.assign(inside, { commandEncoder: null, uniformPendingDisposal: [], tensorDataPendingDisposal: [] });
      tf.env().set("WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE", batch);
      tf.env().set("WEBGPU_CPU_FORWARD", onCpu);
    }
  }
}
