/** The engine of WASM: threads in lockstep, a barrier between any two tasks. */
import { methodOf } from "../../methods/index.ts";
import { enqueue } from "../../methods/ring.ts";
import type { Engine, StepTask } from "../engine.ts";
import { needsSquares, watchedLayers, watchedNorms } from "../gradient.ts";
import { figuresOf, lossFiguresOf, type StepMetrics, schemaOfTraining } from "../metrics.ts";
import { phasesOf } from "../phases.ts";
import { blockNames, floatsOf, intsOf, type Model, ringsOf, statesOf } from "../state.ts";
import { directionsOf, unitsOf } from "../units.ts";
import type { Pool } from "./pool.ts";
import type { EmbedTask, EmbedTextsTask } from "./tasks.ts";

export class Threads implements Engine {
  readonly device = "wasm";
  private layers: Int32Array | undefined;

  /** `threads`: that compute at a time; the pool may have more. `keepTapes`: see `rows` in tasks.ts. */
  constructor(
    private readonly model: Model,
    readonly pool: Pool,
    readonly threads: number,
    readonly keepTapes: boolean,
  ) {}

  /** The state is in shared memory: there is nothing to load or to save. */
  load(): void {}

  async settle(): Promise<StepMetrics[]> {
    return [];
  }

  async train(task: StepTask): Promise<StepMetrics[]> {
    for (const phase of phasesOf(methodOf(this.model.spec))) await this.run(phase, task);
    return [this.metrics()];
  }

  /** One phase of a step. */
  async run(phase: ReturnType<typeof phasesOf>[number], task: StepTask): Promise<void> {
    const { model, pool } = this;
    const { epoch, pixels, lr, weightDecay, step, scale } = task;
    switch (phase) {
      case "follow before":
      case "follow after":
        return this.follow(phase === "follow before" ? "before" : "after", task.averages);
      case "targets":
        await pool.run({ kind: "targets", epoch, pixels });
        return;
      case "rows":
        await pool.run({ kind: "rows", keep: this.keepTapes, epoch, pixels });
        return;
      case "couple":
        await pool.run({ kind: "couple" });
        return;
      case "learn": {
        const units = unitsOf(model.spec);
        for (let from = 0; from < units; from += model.slots) {
          const to = Math.min(units, from + model.slots);
          await pool.run({ kind: "learn", epoch, pixels, from, to }, from);
          await pool.run({ kind: "reduce", from, to });
        }
        return;
      }
      case "update":
        if (needsSquares(model.spec)) await pool.run({ kind: "squares" });
        await pool.run({ kind: "update", lr, weightDecay, step, scale });
        return;
      case "remember":
        this.remember(task.pointers);
        if (Object.keys(statesOf(model.spec)).length > 0) await pool.run({ kind: "advance" });
        return;
    }
  }

  async encodeTargets({ epoch, pixels }: Pick<StepTask, "epoch" | "pixels">): Promise<void> {
    await this.pool.run({ kind: "targets", epoch, pixels });
  }

  async embed(task: EmbedTask): Promise<void> {
    await this.pool.run(task);
  }

  async embedTexts(task: EmbedTextsTask): Promise<void> {
    await this.pool.run(task);
  }

  close(): void {
    this.pool.close();
  }

  private async follow(when: "before" | "after", averages: StepTask["averages"]): Promise<void> {
    const { networks } = this.model;
    for (const network of networks.followers) {
      if (networks.specOf(network).follows?.when !== when) continue;
      await this.pool.run({ kind: "follow", network, m: averages[network] as number });
    }
  }

  /** The targets of a ring's directions, of the last one first, as the CIFAR demo of MoCo does. */
  private remember(pointers: StepTask["pointers"]): void {
    const { spec, buffers, state } = this.model;
    const directions = directionsOf(spec);
    for (const [ring, of] of Object.entries(ringsOf(spec))) {
      const [keys, ids] = [floatsOf(state, blockNames.ring(ring)), intsOf(state, blockNames.ringIds(ring))];
      const size = buffers.targets.length / directions;
      let pointer = pointers[ring] as number;
      for (let direction = directions - 1; direction >= 0; direction--) {
        if (of.direction !== undefined && of.direction !== direction) continue;
        const targets = buffers.targets.subarray(direction * size, (direction + 1) * size);
        pointer = enqueue({ keys, ids }, targets, buffers.batch, pointer);
      }
    }
  }

  /** Of rows: the loss summed over directions, as the loss is; the others are means over units. Of the batch: as it is. */
  private metrics(): StepMetrics {
    const { spec, buffers, trained } = this.model;
    const names = lossFiguresOf(spec);
    const coupled = methodOf(spec).couples === "batch";
    const units = coupled ? 1 : unitsOf(spec);
    const figure = (index: number) => {
      let sum = 0;
      for (let unit = 0; unit < units; unit++) sum += buffers.metrics[unit * names.length + index] as number;
      return coupled ? sum : sum / (index === 0 ? spec.splits : units);
    };
    const all = names.map((_, index) => figure(index));
    if (schemaOfTraining(spec).watchesGradient) {
      this.layers ??= watchedLayers(spec, trained.params);
      all.push(...watchedNorms(buffers.squares, this.layers));
    }
    return Object.fromEntries(figuresOf(spec).map((name, index) => [name, all[index] as number]));
  }
}
