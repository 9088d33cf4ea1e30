/** What a recorded step is made of. */
import * as tf from "@tensorflow/tfjs-core";
import { webgpu } from "../../backend/webgpu.ts";
import type { ValueBytes } from "../../data/types.ts";
import { augmentViews } from "../../kernels/augment/views.ts";
import { withStatistics } from "../../kernels/webgpu/statistics.ts";
import type { AnyMethod } from "../../methods/index.ts";
import type { BatchTargets, Bound, Unit, ViewSpec } from "../../methods/method.ts";
import type { Pass, Texts } from "../../nn/network.ts";
import type { Segments } from "../../optim/flat.ts";
import { launchRunning } from "../../optim/running/webgpu.ts";
import type { TrainSpec } from "../../schema/pretrain.ts";
import { ownParameter } from "../coupled.ts";
import { branchesOf } from "../drop.ts";
import { blockNames, type Networks, ownStateOf, ringsOf, scheduleIndex } from "../state.ts";
import { named } from "../threads/context.ts";
import { directionsOf, targetView, unitsOf, viewAt, viewsOf } from "../units.ts";
import type { StepInputs, ViewInputs } from "./inputs.ts";
import { launchRows } from "./launches.ts";
import type { GpuState } from "./state.ts";

export interface Program {
  readonly spec: TrainSpec;
  readonly method: AnyMethod;
  readonly networks: Networks;
  readonly state: GpuState;
  readonly views: ViewInputs;
  readonly inputs: StepInputs;
  /** i32[D * N]: the views of each direction in the order in which they are encoded; also the place of each one's target. */
  readonly picks: tf.Tensor;
  readonly segments: Segments;
  /** i32[T]: see `watchedLayers`. */
  readonly layers: tf.Tensor;
  /** f32[.., figures] */
  readonly log: tf.Tensor;
  /** The units are encoded in so many passes, one after another: what has no room at once. 1, or a multiple of directions. */
  readonly passes: number;
  readonly channels: number;
  readonly valueBytes: ValueBytes;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** Each pass in turn; what it makes is freed after it. */
export function eachPass({ passes }: Program, work: (pass: number) => void): void {
  for (let pass = 0; pass < passes; pass++) tf.tidy(() => work(pass));
}

/** The rows of one pass of a tensor of all units'. */
function partOf({ passes }: Program, rows: tf.Tensor, pass: number): tf.Tensor1D {
  const size = rows.size / passes;
  return (passes === 1 ? rows : tf.slice(rows, [pass * size], [size])) as tf.Tensor1D;
}

/** How the views of a pass are drawn: its own, or those of its targets. A pass of several directions has one kind of view. */
export function viewOfPass({ spec, passes }: Pick<Program, "spec" | "passes">, pass: number, side: Side): ViewSpec {
  const direction = Math.floor((pass * directionsOf(spec)) / passes);
  return viewAt(spec, side === "own" ? direction : targetView(direction, viewsOf(spec)));
}

/** One of the method's schedules, as it is in the step that runs. */
export function scheduledOf({ spec, inputs }: Program, name: string): tf.Scalar {
  const at = tf.slice(inputs.scheduled.tensor as tf.Tensor1D, [scheduleIndex(spec, name)], [1]);
  return tf.reshape(at, []);
}

/** The method's own state, as it is before the step. */
export const stateTensor = ({ spec, state }: Program, name: string): tf.Tensor =>
  state.shaped(blockNames.own(name), [...ownStateOf(spec, name).shape]);

/** `targets`: the views are those whose targets are computed, in the dealt order. */
export type Side = "own" | "targets";

/** The units of a pass, all at once: batch norm keeps them apart where it is split. */
export class PassUnit implements Unit<TrainSpec> {
  /** i32[n] */
  private readonly picks: tf.Tensor1D;
  readonly texts: Texts | undefined;
  private readonly images: tf.Tensor | undefined;

  /** Made inside a tidy, whose tensors it has. `records`: whether running statistics move. */
  constructor(
    private readonly program: Program,
    private readonly pass: number,
    private readonly side: Side,
    private readonly records: boolean,
    private readonly params: Readonly<Record<string, Map<string, tf.Tensor>>>,
  ) {
    const { inputs, picks, views, channels, valueBytes, mean, std, spec } = program;
    this.picks = partOf(program, side === "own" ? picks : inputs.targetPicks.tensor, pass);
    const { pixels, places, rows } = views;
    if (viewOfPass(program, pass, side) === "text") {
      this.texts = this.ownTexts();
      return;
    }
    this.images = augmentViews(
      { pixels: pixels.tensor, places: places.tensor, rows: rows.tensor, picks: this.picks },
      { size: spec.augmentation.size, channels, valueBytes, mean, std },
    );
  }

  get spec(): TrainSpec {
    return this.program.spec;
  }

  get views(): tf.Tensor {
    if (!this.images) throw new Error("this pass has texts, and no images");
    return this.images;
  }

  network(name: string): Bound {
    const { networks, passes, spec } = this.program;
    const network = networks.get(name);
    const params = this.params[name];
    if (!params) throw new Error(`network ${name} has no part in this phase`);
    const pass = this.trainingPass(name, params);
    // Convolutions take the sums for the batch norms after them.
    const groups = unitsOf(spec) / passes / (spec.norm === "batch" ? spec.splits : 1);
    return {
      backbone: (images) => withStatistics(groups, () => network.backbone(pass, images)),
      head: (head, x) => network.head(head, pass, x),
      text: (texts) => network.text(pass, texts),
      parameter: (of) => pass.param(ownParameter(this.program.method, network.params, of)),
    };
  }

  targets(): tf.Tensor {
    const { state, method, spec } = this.program;
    const dim = method.targets?.dim(spec) as number;
    const all = state.shaped("targets", [directionsOf(spec) * spec.batchSize, dim]);
    const own = tf.engine().makeTensorFromTensorInfo(webgpu().allocate([this.picks.size, dim]));
    launchRows("gather", all, this.picks, own); // [D*N,dim] -> [n,dim], in the order of the views
    return own;
  }

  batchTargets(): readonly BatchTargets[] {
    const { state, method, spec, passes, inputs } = this.program;
    const dim = method.targets?.dim(spec) as number;
    const directions = directionsOf(spec);
    const all = state.shaped("targets", [directions * spec.batchSize, dim]) as tf.Tensor2D;
    const here = Math.max(1, directions / passes);
    const first = Math.floor((this.pass * directions) / passes);
    const count = this.picks.size / here;
    return Array.from({ length: here }, (_, i) => ({
      from: i * count,
      count,
      rows: tf.slice(all, [(first + i) * spec.batchSize, 0], [spec.batchSize, dim]), // [N,C]
      ids: inputs.ids.tensor,
    }));
  }

  /** Puts targets to the places of their images. f32[n,dim] */
  keepTargets(targets: tf.Tensor): void {
    const { state, inputs, spec } = this.program;
    const rows = directionsOf(spec) * spec.batchSize;
    const places = partOf(this.program, inputs.targetPlaces.tensor, this.pass);
    launchRows("scatter", targets, places, state.shaped("targets", [rows, targets.shape[1] as number]));
  }

  ring(name: string): { readonly rows: tf.Tensor; readonly ids: tf.Tensor } {
    const { state, spec } = this.program;
    const { rows, dim } = ringsOf(spec)[name] as { rows: number; dim: number };
    return {
      get rows() {
        return state.shaped(blockNames.ring(name), [rows, dim]);
      },
      get ids() {
        return state.flat(blockNames.ringIds(name));
      },
    };
  }

  ids(): tf.Tensor {
    return this.gather(this.program.inputs.ids.tensor);
  }

  labels(): tf.Tensor1D {
    return this.gather(this.program.inputs.labels.tensor);
  }

  scheduled(name: string): tf.Scalar {
    return scheduledOf(this.program, name);
  }

  state(name: string): tf.Tensor {
    return stateTensor(this.program, name);
  }

  private ownTexts(): Texts {
    const { inputs, spec } = this.program;
    // A view of image i of the batch is row view * N + i.
    const positions = tf.mod(this.picks, tf.scalar(spec.batchSize, "int32")); // i32[n]
    const of = (rows: tf.Tensor) => tf.gather(rows, positions as tf.Tensor1D); // [N,..] -> [n,..]
    return [{ tokens: of(inputs.tokens.tensor), lengths: of(inputs.lengths.tensor) }];
  }

  /** Factors of a residual branch, of the views of this pass. */
  private branch(index: number): tf.Tensor {
    const { inputs, spec } = this.program;
    const views = directionsOf(spec) * spec.batchSize;
    const all = tf.slice(inputs.branches.tensor as tf.Tensor1D, [index * views], [views]);
    return tf.gather(all, this.picks); // f32[n]
  }

  /** Of the images i32[N], those of this pass. */
  private gather(of: tf.Tensor): tf.Tensor1D {
    return tf.gather(tf.tile(of, [directionsOf(this.spec)]), this.picks) as tf.Tensor1D;
  }

  /** A pass in training mode that moves the running statistics on. */
  private trainingPass(name: string, params: Map<string, tf.Tensor>): Pass {
    const { state, passes, spec } = this.program;
    const { records } = this;
    const drops = this.side === "own" && !this.texts && branchesOf(spec.encoder) > 0;
    const running = state.tensors(blockNames.stats(name));
    const splits = spec.norm === "batch" ? 1 : spec.splits;
    const groups = (directionsOf(spec) * splits) / passes;
    const directions = Math.max(1, directionsOf(spec) / passes);
    const first = (this.pass * groups) % splits === 0;
    return {
      param: (of) => named(params, of),
      branch: drops ? (index) => this.branch(index) : undefined,
      norm: {
        mode: "train",
        groups,
        record(layer, mean, variance, rows) {
          if (!records) return;
          const own = {
            mean: named(running, `${layer}.running_mean`),
            variance: named(running, `${layer}.running_var`),
          };
          launchRunning({ mean, variance }, own, { directions, groups: groups / directions, splits, rows, first });
        },
      },
    };
  }
}
