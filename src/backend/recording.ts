/** Dispatches with everything they need, made once and run as often as wanted: what a CUDA graph is to a stream. */

export interface Dispatch {
  readonly name: string;
  /** Set by the time that the recording is there. */
  pipeline: GPUComputePipeline | undefined;
  readonly group: GPUBindGroup;
  readonly groups: readonly [x: number, y: number, z: number];
  /** Multiplications and additions, where they are counted, and bytes bound: what a roofline asks for. */
  readonly flops: number;
  readonly bytes: number;
}

export class Recording {
  constructor(
    private readonly device: GPUDevice,
    readonly dispatches: readonly Dispatch[],
    private readonly buffers: readonly GPUBuffer[],
    /** Of these buffers, which are its own. */
    readonly bytes: number,
  ) {}

  /** Puts all of it into one compute pass of `encoder`. */
  encode(encoder: GPUCommandEncoder, timestampWrites?: GPUComputePassTimestampWrites): void {
    const pass = encoder.beginComputePass(timestampWrites && { timestampWrites });
    let last: GPUComputePipeline | undefined;
    for (const { pipeline, group, groups } of this.dispatches) {
      if (pipeline !== last) pass.setPipeline(pipeline as GPUComputePipeline);
      last = pipeline;
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(...groups);
    }
    pass.end();
  }

  /** Nanoseconds of the whole, from its first dispatch to the end of its last; needs the device's timestamps. */
  async time(): Promise<number> {
    const { device } = this;
    const querySet = device.createQuerySet({ type: "timestamp", count: 2 });
    const resolved = device.createBuffer({ size: 16, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC });
    const read = device.createBuffer({ size: 16, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    const encoder = device.createCommandEncoder();
    this.encode(encoder, { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 });
    encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, read, 0, 16);
    device.queue.submit([encoder.finish()]);
    await read.mapAsync(GPUMapMode.READ);
    const [begin, end] = new BigUint64Array(read.getMappedRange()) as unknown as [bigint, bigint];
    for (const made of [querySet, resolved, read]) made.destroy();
    return Number(end - begin);
  }

  /** Nanoseconds of every dispatch, each in a pass of its own. */
  async times(): Promise<number[]> {
    const times: number[] = [];
    for (const dispatch of this.dispatches) times.push(await new Recording(this.device, [dispatch], [], 0).time());
    return times;
  }

  destroy(): void {
    for (const buffer of this.buffers) buffer.destroy();
  }
}
