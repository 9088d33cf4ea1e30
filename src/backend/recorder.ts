/** What tfjs's WebGPU backend is given while a step is recorded, in place of its compute pass and its buffers. */
import type { Dispatch } from "./recording.ts";

/** Of tfjs's buffer manager what its backend asks for. */
export interface Buffers {
  acquireBuffer(size: number, usage: number, mapped?: boolean, reuse?: boolean): GPUBuffer;
  releaseBuffer(buffer: GPUBuffer, reuse?: boolean): void;
}

export type Pass = Pick<GPUComputePassEncoder, "setPipeline" | "setBindGroup" | "dispatchWorkgroups" | "end">;

export class Recorder implements Pass, Buffers {
  readonly dispatches: Dispatch[] = [];
  readonly buffers: GPUBuffer[] = [];
  bytes = 0;
  /** Pipelines that are being compiled. */
  readonly waiting: Promise<unknown>[] = [];
  /** Free buffers by their size. Constants and uniforms are never free: what is in them must last. */
  private readonly free = new Map<number, GPUBuffer[]>();
  private readonly sizes = new Map<GPUBuffer, number>();
  private readonly constants = new WeakSet<GPUBuffer>();
  private pipeline: GPUComputePipeline | undefined;
  private group: GPUBindGroup | undefined;

  constructor(private readonly device: GPUDevice) {}

  acquireBuffer(size: number, usage: number, mapped = false): GPUBuffer {
    const constant = mapped || (usage & GPUBufferUsage.UNIFORM) !== 0;
    const known = constant ? undefined : this.free.get(size)?.pop();
    if (known) return known;
    const made = this.device.createBuffer({ size, usage, mappedAtCreation: mapped });
    this.buffers.push(made);
    this.bytes += size;
    this.sizes.set(made, size);
    if (constant) this.constants.add(made);
    return made;
  }

  releaseBuffer(buffer: GPUBuffer): void {
    if (this.constants.has(buffer)) return;
    if (!this.sizes.has(buffer)) throw new Error("record: a tensor of before was disposed of inside");
    const size = this.sizes.get(buffer) as number;
    this.free.set(size, [...(this.free.get(size) ?? []), buffer]);
  }

  setPipeline(pipeline: GPUComputePipeline): undefined {
    this.pipeline = pipeline;
  }

  setBindGroup(_: number, group: GPUBindGroup | null | undefined): undefined {
    this.group = group ?? undefined;
  }

  dispatchWorkgroups(x: number, y = 1, z = 1): undefined {
    const { pipeline, group } = this;
    if (!pipeline || !group) throw new Error("record: dispatched without a pipeline");
    this.dispatches.push({ name: pipeline.label, pipeline, group, groups: [x, y, z], flops: 0, bytes: 0 });
  }

  end(): undefined {}
}
