/** The gradient of units on a thread: of their own loss, or of one over the rows of all of them. */
import * as tf from "@tensorflow/tfjs-core";
import { floatsOf as floatsOfTensor } from "../../backend/wasm.ts";
import { keepingDerived } from "../../kernels/derived.ts";
import type { BatchStep, Outcome } from "../../methods/method.ts";
import type { Entry } from "../../nn/layout.ts";
import { differentiate, type Tape } from "../../nn/tape.ts";
import { coupled, differentiatedByUnits, expectAll, recordRows } from "../coupled.ts";
import { blockNames, floatsOf } from "../state.ts";
import { directionsOf, hasPart, unitsOf } from "../units.ts";
import { type Held, named, scheduledOf, stateTensor, type ThreadContext, tensorsOf } from "./context.ts";
import type { Task } from "./tasks.ts";
import { ThreadUnit } from "./unit.ts";

type RowsTask = Extract<Task, { kind: "rows" }>;
type LearnTask = Extract<Task, { kind: "learn" }>;

/** A unit's forward pass that waits for the gradient of its rows. `xs`: the parameters that it was recorded with. */
interface Kept {
  readonly unit: ThreadUnit;
  readonly tape: Tape;
  readonly xs: readonly tf.Tensor[];
}

export class LearnUnits {
  /** By unit: those that this thread has computed the rows of. */
  private readonly kept = new Map<number, Kept>();

  constructor(private readonly context: ThreadContext) {}

  /** Computes the rows of units. With `keep` their tapes stay for `learn`. */
  rows(task: RowsTask): void {
    const { context: c } = this;
    this.forget();
    c.hold([c.networks.trained], (held) =>
      c.takeUnits(0, unitsOf(c.spec), (index) => {
        const unit = new ThreadUnit(c, index, task, "own", held);
        const method = coupled(c.method);
        if (!task.keep) {
          this.give(unit, method.embed(unit));
          return;
        }
        const names = Object.keys(method.rows(c.spec));
        const tape = recordRows(method, unit, names);
        this.give(unit, Object.fromEntries(names.map((name, i) => [name, tape.outputs[i] as tf.Tensor])));
        this.kept.set(index, { unit, tape, xs: this.tensorsOf(unit, held) });
      }),
    );
  }

  /** Differentiates units `from` to `to`; the gradient of each goes to slot `unit - from`. */
  learn(task: LearnTask): void {
    const { context: c } = this;
    if (this.kept.size > 0) {
      const mine = [...this.kept].filter(([index]) => index >= task.from && index < task.to);
      keepingDerived(() => {
        for (const [index, kept] of mine) {
          tf.tidy(() => this.back(kept, index - task.from));
          this.kept.delete(index);
        }
      });
      return;
    }
    c.hold([c.networks.trained], (held) =>
      c.takeUnits(task.from, task.to, (index) => {
        const unit = new ThreadUnit(c, index, task, "own", held);
        if (c.method.couples === "rows") this.learnRows(unit, held, index - task.from);
        else this.learnCoupled(unit, held, index - task.from);
      }),
    );
  }

  private learnRows(unit: ThreadUnit, held: Held, slot: number): void {
    const { context: c } = this;
    if (c.method.couples !== "rows") return;
    const { loss: lossOf } = c.method;
    const { metrics: into } = c.buffers;
    let metrics: tf.Tensor | undefined;
    const loss = () => {
      const outcome: Outcome = lossOf(unit);
      metrics = tf.keep(outcome.metrics);
      return outcome.loss;
    };
    const take = this.taking(unit, slot);
    const value = differentiate(loss, this.tensorsOf(unit, held), take.gradient);
    take.expectAll();
    const measured = metrics as unknown as tf.Tensor;
    into.set([...floatsOfTensor(value), ...floatsOfTensor(measured)], unit.index * (1 + measured.size));
    measured.dispose();
  }

  private learnCoupled(unit: ThreadUnit, held: Held, slot: number): void {
    const { context: c } = this;
    const method = coupled(c.method);
    const tape = recordRows(method, unit, Object.keys(method.rows(c.spec)));
    this.back({ unit, tape, xs: this.tensorsOf(unit, held) }, slot);
  }

  /** Goes back over a unit's tape with the gradient of its rows. */
  private back({ unit, tape, xs }: Kept, slot: number): void {
    const { spec, buffers, method } = this.context;
    const rows = coupled(method).rows(spec);
    const seeds = Object.entries(rows).map(([name, { dim, constant = false }]) =>
      constant ? undefined : unit.gather(buffers.rowGradients[name] as Float32Array, dim),
    );
    const take = this.taking(unit, slot);
    tape.back(seeds, xs, take.gradient);
    take.expectAll();
  }

  private give(unit: ThreadUnit, rows: Readonly<Record<string, tf.Tensor>>): void {
    for (const [name, into] of Object.entries(this.context.buffers.rows)) unit.scatter(rows[name] as tf.Tensor, into);
  }

  private entriesOf({ view }: ThreadUnit): readonly Entry[] {
    const { networks, method } = this.context;
    return differentiatedByUnits(method, networks.get(networks.trained).params, view);
  }

  private tensorsOf(unit: ThreadUnit, { params }: Held): readonly tf.Tensor[] {
    const { param } = params[this.context.networks.trained] as (typeof params)[string];
    return this.entriesOf(unit).map(({ name }) => param(name));
  }

  /**
   * Takes gradients of the parameters into a slot, straight out of the device: `dataSync` would leave one more copy of all
   * of them to the collector. Those of a tower that has no part in the unit are 0.
   */
  private taking(unit: ThreadUnit, slot: number) {
    const { networks, buffers } = this.context;
    const { params } = networks.get(networks.trained);
    const entries = this.entriesOf(unit);
    const base = slot * params.size;
    const taken = new Set<number>();
    for (const entry of params.trainable) {
      if (!hasPart(entry, unit.view))
        buffers.unitGradients.fill(0, base + entry.offset, base + entry.offset + entry.size);
    }
    return {
      gradient: (gradient: tf.Tensor, index: number): void => {
        taken.add(index);
        const { offset } = entries[index] as (typeof entries)[number];
        buffers.unitGradients.set(floatsOfTensor(gradient), base + offset);
      },
      expectAll: () => expectAll(entries, taken),
    };
  }

  /** Frees tapes of a step that was given up. */
  private forget(): void {
    for (const { tape } of this.kept.values()) tape.dispose();
    this.kept.clear();
  }
}

/** The loss over the rows of the whole batch, its gradient by them and by the method's own parameters. One thread does it. */
export function coupleRows(context: ThreadContext): void {
  const { spec, buffers, method, networks, state } = context;
  if (method.couples !== "batch") return;
  const directions = directionsOf(spec);
  const { batchSize } = spec;
  tf.tidy(() => {
    const rows = Object.entries(method.rows(spec)).map(([name, { dim, constant = false }]) => {
      const all = buffers.rows[name] as Float32Array;
      const size = batchSize * dim;
      const parts = Array.from({ length: directions }, (_, d) =>
        tf.tensor2d(all.subarray(d * size, (d + 1) * size), [batchSize, dim]),
      ); // D x [N,dim]
      return { name, constant, size, parts };
    });
    const { own } = networks.get(networks.trained).params;
    const parameters = tensorsOf({ entries: own }, floatsOf(state, blockNames.params(networks.trained)));
    const step: BatchStep = {
      scheduled: (name) => scheduledOf(context, name),
      state: (name) => stateTensor(context, name),
      parameter: (name) => named(parameters, name),
    };
    let metrics: tf.Tensor | undefined;
    const loss = () => {
      const given = Object.fromEntries(rows.map(({ name, parts }) => [name, parts]));
      const outcome = method.loss(spec, given, step);
      metrics = tf.keep(outcome.metrics);
      return outcome.loss;
    };
    const varying = rows.filter(({ constant }) => !constant);
    const xs = varying.flatMap(({ parts }) => parts);
    const taken = new Set<number>();
    const value = differentiate(loss, [...xs, ...parameters.values()], (gradient, index) => {
      if (index >= xs.length) {
        const { offset } = own[index - xs.length] as Entry;
        taken.add(index - xs.length);
        buffers.ownGradient.set(floatsOfTensor(gradient), offset - (own[0] as Entry).offset);
        return;
      }
      const { name, size } = varying[Math.floor(index / directions)] as (typeof varying)[number];
      buffers.rowGradients[name]?.set(floatsOfTensor(gradient), (index % directions) * size);
    });
    expectAll(own, taken);
    const measured = metrics as unknown as tf.Tensor;
    buffers.metrics.set([...floatsOfTensor(value), ...floatsOfTensor(measured)]);
    measured.dispose();
  });
}
