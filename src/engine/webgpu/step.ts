/**
 * The phases of a step on WebGPU, said once: what is called here is recorded, and runs for every step of the run. All units
 * go through the encoders together, if there is room for them.
 */
import * as tf from "@tensorflow/tfjs-core";
import { inHalf } from "../../kernels/webgpu/precision.ts";
import type { BatchStep, Outcome, StateSpec } from "../../methods/method.ts";
import { launchEnqueue } from "../../methods/ring_webgpu.ts";
import type { Entry } from "../../nn/layout.ts";
import { differentiate, type Tape } from "../../nn/tape.ts";
import { launchMomentum } from "../../optim/average/webgpu.ts";
import { type Limits, launchClamp } from "../../optim/clamp/webgpu.ts";
import { launchClip, launchSquares } from "../../optim/clip/webgpu.ts";
import { launchUpdate } from "../../optim/update.ts";
import type { TrainSpec } from "../../schema/pretrain.ts";
import { expectShape } from "../../util/errors.ts";
import { coupled, differentiatedByUnits, expectAll, recordRows } from "../coupled.ts";
import { needsSquares } from "../gradient.ts";
import { schemaOfTraining } from "../metrics.ts";
import { phasesOf } from "../phases.ts";
import { blockNames, ringsOf, statesOf } from "../state.ts";
import { named } from "../threads/context.ts";
import { directionsOf, hasPart, hasTexts } from "../units.ts";
import { launchGather, launchGradientLog, launchLog } from "./launches.ts";
import { eachPass, PassUnit, type Program, scheduledOf, stateTensor, viewOfPass } from "./program.ts";

/**
 * In float16 the smallest gradients of a deep layer, about 1e-8, would be 0: the loss is that much larger while it is
 * differentiated, and the gradients are divided by it (Micikevicius et al. 2018, section 3.2).
 */
const LOSS_SCALE = 1024;

const isMixed = ({ spec }: Program) => spec.precision === "mixed";
const scaleOf = (program: Program) => (isMixed(program) ? LOSS_SCALE : 1);

/**
 * Passes of a step for which there is room: towers for images and for texts are not gone through together, so each direction
 * has a pass of its own.
 */
export const fewestPasses = (spec: TrainSpec): number => (hasTexts(spec) ? directionsOf(spec) : 1);

/** One step of training. */
export function trainStep(program: Program): void {
  inHalf(isMixed(program), () => {
    const step = new Step(program);
    for (const phase of phasesOf(program.method)) step[phase]();
    step.end();
  });
}

/** The targets of the batch alone: nothing is trained, and no running statistics move. */
export function encodeTargets(program: Program): void {
  inHalf(isMixed(program), () => new Step(program).targets(false));
}

type Rows = Record<string, tf.Tensor>;

class Step {
  private readonly tensors: Readonly<Record<string, Map<string, tf.Tensor>>>;
  /** Rows of a coupled loss, f32[D*N,dim] in the order of `picks`, and its gradient by them. */
  private rowsOfBatch: Rows = {};
  private rowGradients: Rows = {};
  /** Of each pass its forward pass, where there is room for all of them: it waits for the gradient of its rows. */
  private readonly tapes: Tape[] = [];

  constructor(private readonly program: Program) {
    const { networks, state } = program;
    this.tensors = Object.fromEntries(networks.names.map((name) => [name, state.tensors(blockNames.params(name))]));
  }

  "follow before"(): void {
    this.follow("before");
  }

  "follow after"(): void {
    this.follow("after");
  }

  targets(records = true): void {
    const { program, tensors } = this;
    const { targets } = program.method;
    if (!targets) throw new Error("this method has no targets");
    eachPass(program, (pass) => {
      const unit = new PassUnit(program, pass, "targets", records, tensors);
      unit.keepTargets(targets.of(unit));
    });
  }

  rows(): void {
    const { program, tensors } = this;
    const method = coupled(program.method);
    const names = Object.keys(method.rows(program.spec));
    const parts: Record<string, tf.Tensor[]> = Object.fromEntries(names.map((name) => [name, []]));
    const kept = program.passes === fewestPasses(program.spec);
    eachPass(program, (pass) => {
      if (kept) {
        const tape = recordRows(method, new PassUnit(program, pass, "own", true, tensors), names);
        this.tapes.push(tape);
        names.forEach((name, i) => {
          parts[name]?.push(tf.keep(tape.outputs[i] as tf.Tensor));
        });
        return;
      }
      // Statistics move where the gradient is taken: once.
      const rows = method.embed(new PassUnit(program, pass, "own", false, tensors));
      for (const name of names) parts[name]?.push(tf.keep(rows[name] as tf.Tensor));
    });
    if (program.passes === 1) {
      for (const name of names) this.rowsOfBatch[name] = parts[name]?.[0] as tf.Tensor;
      return;
    }
    for (const name of names) {
      this.rowsOfBatch[name] = tf.keep(tf.tidy(() => tf.concat(parts[name] as tf.Tensor[], 0)));
      tf.dispose(parts[name] as tf.Tensor[]);
    }
  }

  couple(): void {
    const { program, rowsOfBatch, tensors } = this;
    const { spec, log, inputs, networks, state } = program;
    const method = coupled(program.method);
    const directions = directionsOf(spec);
    tf.tidy(() =>
      inHalf(false, () => {
        const rows = Object.entries(method.rows(spec)).map(([name, { dim, constant = false }]) => {
          const parts = Array.from({ length: directions }, (_, d) =>
            tf.slice(rowsOfBatch[name] as tf.Tensor2D, [d * spec.batchSize, 0], [spec.batchSize, dim]),
          ); // D x [N,dim]
          return { name, constant, parts };
        });
        const varying = rows.filter(({ constant }) => !constant);
        const gradients: tf.Tensor[] = [];
        const { own } = networks.get(networks.trained).params;
        const all = tensors[networks.trained] as Map<string, tf.Tensor>;
        const parameters = new Map(own.map(({ name }) => [name, named(all, name)]));
        const step: BatchStep = {
          scheduled: (name) => scheduledOf(program, name),
          state: (name) => stateTensor(program, name),
          parameter: (name) => named(parameters, name),
        };
        const loss = () => {
          const { loss: value, metrics } = method.loss(
            spec,
            Object.fromEntries(rows.map(({ name, parts }) => [name, parts])),
            step,
          );
          launchLog({ loss: value, metrics }, log, inputs.counters.tensor, { factor: 1, share: 1, more: false });
          return value;
        };
        const xs = varying.flatMap(({ parts }) => parts);
        const taken = new Set<number>();
        differentiate(loss, [...xs, ...parameters.values()], (gradient, index) => {
          if (index < xs.length) gradients[index] = tf.keep(gradient.clone());
          else {
            const offset = this.offsetOf(own[index - xs.length] as Entry);
            launchGather([{ tensor: gradient, offset }], state.flat("gradient"));
            taken.add(index - xs.length);
          }
        });
        expectAll(own, taken);
        varying.forEach(({ name }, i) => {
          const parts = gradients.slice(i * directions, (i + 1) * directions);
          this.rowGradients[name] = tf.keep(tf.mul(tf.concat(parts, 0), scaleOf(program)));
          tf.dispose(parts);
        });
      }),
    );
  }

  learn(): void {
    const { program, tensors } = this;
    const { method, passes, networks } = program;
    eachPass(program, (pass) => {
      const tape = this.tapes[pass];
      if (tape) {
        this.collect(pass, (xs, take) => tape.back(this.seeds(pass), xs, take), networks.trained);
        return;
      }
      const unit = new PassUnit(program, pass, "own", true, tensors);
      this.collect(
        pass,
        (xs, take) => {
          if (method.couples === "rows") tf.dispose(differentiate(this.rowLoss(unit, pass, passes), xs, take));
          else {
            const names = Object.keys(method.rows(program.spec));
            recordRows(method, unit, names).back(this.seeds(pass), xs, take);
          }
        },
        networks.trained,
      );
    });
  }

  update(): void {
    const { networks, state, inputs, segments, spec } = this.program;
    const { clip } = spec.optimizer;
    const squares = needsSquares(spec) ? launchSquares(state.flat("gradient"), segments) : undefined;
    const factor = squares && clip !== undefined ? launchClip(squares, clip) : undefined;
    if (squares && schemaOfTraining(spec).watchesGradient) {
      launchGradientLog(squares, this.program.layers, this.program.log, inputs.counters.tensor);
    }
    launchUpdate(
      {
        params: state.flat(blockNames.params(networks.trained)),
        gradient: state.flat("gradient"),
        first: state.flat(blockNames.first),
        second: state.has(blockNames.second) ? state.flat(blockNames.second) : undefined,
        scalars: inputs.scalars.tensor,
        rates: inputs.rates.tensor,
        clip: factor,
      },
      segments,
      spec.optimizer,
    );
    launchClamp(state.flat(blockNames.params(networks.trained)), this.limits());
    factor?.dispose();
    squares?.dispose();
  }

  remember(): void {
    const { spec, state, inputs } = this.program;
    const directions = directionsOf(spec);
    Object.entries(ringsOf(spec)).forEach(([name, { rows, dim, direction }], i) => {
      const targets = state.shaped("targets", [directions * spec.batchSize, dim]);
      const queue = {
        keys: state.shaped(blockNames.ring(name), [rows, dim]),
        ids: state.flat(blockNames.ringIds(name)),
      };
      const of = direction === undefined ? { directions, first: 0 } : { directions: 1, first: direction };
      launchEnqueue(queue, targets, inputs.ids.tensor, inputs.counters.tensor, of, 1 + i);
    });
    for (const [name, { shape, next }] of Object.entries(statesOf(spec))) this.advance(name, shape, next);
  }

  /** The method's own state becomes what it is after this step. */
  private advance(name: string, shape: readonly number[], next: StateSpec["next"]): void {
    const { program } = this;
    const { spec, state, method } = program;
    tf.tidy(() =>
      inHalf(false, () => {
        const rows = directionsOf(spec) * spec.batchSize;
        const targets = state.shaped("targets", [rows, method.targets?.dim(spec) as number]) as tf.Tensor2D; // [D*N,C]
        const before = stateTensor(program, name);
        const after = next(before, targets);
        if (after.dataId === before.dataId) return; // it stays; a kernel may not write what it reads
        expectShape(`state ${name}`, after.shape, shape);
        launchGather([{ tensor: after, offset: 0 }], state.flat(blockNames.own(name)));
      }),
    );
  }

  end(): void {
    tf.dispose([...Object.values(this.rowsOfBatch), ...Object.values(this.rowGradients)]);
  }

  /** Where a tensor of the trained network is in its flat buffers. */
  private offsetOf(entry: Entry): number {
    const { state, networks } = this.program;
    return state.params.offsets[networks.get(networks.trained).params.entries.indexOf(entry)] as number;
  }

  /** Parameters that are clamped. */
  private limits(): Limits[] {
    const { networks } = this.program;
    const { entries } = networks.get(networks.trained).params;
    return entries.flatMap((entry) =>
      entry.range ? [{ first: this.offsetOf(entry), size: entry.size, range: entry.range }] : [],
    );
  }

  private follow(when: "before" | "after"): void {
    const { networks, state, inputs } = this.program;
    networks.followers.forEach((name, i) => {
      if (networks.specOf(name).follows?.when !== when) return;
      const [own, trained] = [name, networks.trained].map((of) => state.flat(blockNames.params(of)));
      launchMomentum(own as tf.Tensor, trained as tf.Tensor, inputs.scalars.tensor, i);
    });
  }

  /** The loss of a pass, as large as its share of the step's. */
  private rowLoss(unit: PassUnit, pass: number, passes: number): () => tf.Scalar {
    const { program } = this;
    const { method, log, inputs, spec } = program;
    if (method.couples !== "rows") throw new Error("the method's loss needs the whole batch");
    // The loss is a sum over directions of means over the batch.
    const share = directionsOf(spec) / passes;
    return () => {
      const { loss, metrics }: Outcome = method.loss(unit);
      const of = { factor: share, share: 1 / passes, more: pass > 0 };
      launchLog({ loss, metrics }, log, inputs.counters.tensor, of);
      return tf.mul<tf.Scalar>(loss, scaleOf(program) * share);
    };
  }

  /** The gradient of the rows of a pass, undefined for constants. */
  private seeds(pass: number): (tf.Tensor | undefined)[] {
    const { program, rowGradients } = this;
    return Object.entries(coupled(program.method).rows(program.spec)).map(([name, { dim }]) => {
      const all = rowGradients[name] as tf.Tensor2D | undefined;
      if (!all || program.passes === 1) return all;
      const size = (all.shape[0] as number) / program.passes;
      return tf.slice(all, [pass * size, 0], [size, dim]);
    });
  }

  /** Adds the gradients of a pass up in the flat buffer. */
  private collect(
    pass: number,
    differentiated: (xs: tf.Tensor[], take: (gradient: tf.Tensor, index: number) => void) => void,
    network: string,
  ): void {
    const { program, tensors } = this;
    const { state, networks, method } = program;
    const { params } = networks.get(network);
    const view = viewOfPass(program, pass, "own");
    const units = differentiatedByUnits(method, params, view);
    const xs = units.map(({ name }) => named(tensors[network] as Map<string, tf.Tensor>, name));
    const gradients: { tensor: tf.Tensor; offset: number }[] = [];
    const taken = new Set<number>();
    differentiated(xs, (part, index) => {
      taken.add(index);
      gradients.push({ tensor: tf.keep(part.clone()), offset: this.offsetOf(units[index] as Entry) });
    });
    expectAll(units, taken);
    if (pass === 0) {
      // What this pass has no part in has its gradient added by later ones.
      for (const entry of params.trainable) {
        if (hasPart(entry, view)) continue;
        gradients.push({ tensor: tf.keep(tf.fill([entry.size], 0)), offset: this.offsetOf(entry) });
      }
    }
    launchGather(gradients, state.flat("gradient"), 1 / scaleOf(program), pass > 0);
    for (const { tensor } of gradients) tensor.dispose();
  }
}
