/** The engine of WASM: threads in lockstep, a barrier between any two lines that end in `run`. */
import { enqueue } from "../../methods/moco.ts";
import type { PretrainSpec } from "../../schema/pretrain.ts";
import type { Engine, StepTask } from "../engine.ts";
import { directionsOf, METRICS, type Model, type StepMetrics, unitsOf } from "../state.ts";
import type { Pool } from "./pool.ts";
import type { EmbedTask } from "./tasks.ts";

export class Threads implements Engine {
  readonly device = "wasm";

  constructor(
    private readonly spec: PretrainSpec,
    private readonly model: Model,
    readonly pool: Pool,
    readonly threads: number,
  ) {}

  /** The state is in shared memory: there is nothing to load or to save. */
  load(): void {}

  async settle(): Promise<StepMetrics[]> {
    return [];
  }

  /** With the symmetric loss the keys of view 0 are enqueued before those of view 1, as the CIFAR demo does. */
  async train({ step, epoch, pixels, lr, queuePointer }: StepTask & { queuePointer: number }): Promise<StepMetrics[]> {
    const { spec, model, pool } = this;
    const { buffers, state, slots } = model;
    const units = unitsOf(spec);
    await pool.run({ kind: "momentum" });
    await pool.run({ kind: "keys", epoch, pixels });
    for (let from = 0; from < units; from += slots) {
      const to = Math.min(units, from + slots);
      await pool.run({ kind: "queries", epoch, pixels, from, to }, from);
      await pool.run({ kind: "reduce", from, to });
    }
    await pool.run({ kind: "update", lr, step });
    let pointer = queuePointer;
    for (let direction = directionsOf(spec) - 1; direction >= 0; direction--) {
      const size = spec.batchSize * spec.dim;
      const keys = buffers.keys.subarray(direction * size, (direction + 1) * size);
      pointer = enqueue({ keys: state.queue, ids: state.queueIds }, keys, buffers.batch, pointer);
    }
    return [this.metrics(units)];
  }

  async classify({ step, epoch, pixels, lr, scale }: StepTask & { scale: readonly number[] }): Promise<StepMetrics[]> {
    const { pool } = this;
    await pool.run({ kind: "classify", from: 0, to: 1, epoch, pixels });
    await pool.run({ kind: "reduce", from: 0, to: 1 });
    await pool.run({ kind: "update", lr, step, scale });
    return [this.metrics(1)];
  }

  async encodeKeys({ epoch, pixels }: Omit<StepTask, "lr">): Promise<void> {
    await this.pool.run({ kind: "keys", epoch, pixels });
  }

  async embed(task: EmbedTask): Promise<void> {
    await this.pool.run(task);
  }

  close(): void {
    this.pool.close();
  }

  /** Of the units' metrics: the loss summed over directions, as the loss is; the others are means. */
  private metrics(units: number): StepMetrics {
    const [loss, top1, positive, negative] = Array.from({ length: METRICS }, (_, metric) => {
      let sum = 0;
      for (let unit = 0; unit < units; unit++) sum += this.model.buffers.metrics[unit * METRICS + metric] as number;
      return sum / (metric === 0 ? this.spec.splits : units);
    }) as [number, number, number, number];
    return { loss, top1, positive, negative };
  }
}
