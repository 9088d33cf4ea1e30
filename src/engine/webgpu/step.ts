/**
 * A step of MoCo on WebGPU, said once: what is called here is recorded, and runs for every step of the run. The order is that
 * of the reference (methods/moco.ts). All splits go through the encoders together, if there is room for it; batch norm keeps
 * them apart.
 */
import * as tf from "@tensorflow/tfjs-core";
import { webgpu } from "../../backend/webgpu.ts";
import { augmentViews } from "../../kernels/augment/views.ts";
import { infoNce } from "../../kernels/info_nce/index.ts";
import {
  launchEnqueue,
  launchGather,
  launchLog,
  launchMomentum,
  launchRows,
  launchRunning,
  launchUpdate,
  type Segments,
} from "../../kernels/update/webgpu.ts";
import { inHalf } from "../../kernels/webgpu/precision.ts";
import { withStatistics } from "../../kernels/webgpu/statistics.ts";
import { normalise } from "../../methods/moco.ts";
import { differentiate } from "../../nn/differentiate.ts";
import type { Encoder, Pass } from "../../nn/encoders/resnet.ts";
import type { PretrainSpec } from "../../schema/pretrain.ts";
import { directionsOf, unitsOf } from "../state.ts";
import { named } from "../threads/context.ts";
import type { StepInputs, ViewInputs } from "./inputs.ts";
import type { GpuState } from "./state.ts";

export interface Program {
  readonly spec: PretrainSpec;
  readonly encoder: Encoder;
  readonly state: GpuState;
  readonly views: ViewInputs;
  readonly inputs: StepInputs;
  /** i32[directions * N]: the rows of queries in the order in which they are encoded; also the place of each one's key. */
  readonly queryPicks: tf.Tensor;
  readonly segments: Segments;
  /** f32[.., 4] */
  readonly ring: tf.Tensor;
  /** The units are encoded in so many passes, one after another: what has no room at once. 1, or a multiple of directions. */
  readonly passes: number;
  readonly channels: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/**
 * In float16 the smallest gradients of a deep layer, about 1e-8, would be 0: the loss is that much larger while it is
 * differentiated, and the gradients are divided by it (Micikevicius et al. 2018, section 3.2).
 */
const LOSS_SCALE = 1024;

/** Views f32[n,S,S,C] of rows. */
export function viewsOf({ spec, views, channels, mean, std }: Program, picks: tf.Tensor): tf.Tensor {
  const { pixels, places, rows } = views;
  return augmentViews(
    { pixels: pixels.tensor, places: places.tensor, rows: rows.tensor, picks },
    { size: spec.augmentation.size, channels, mean, std },
  );
}

/** The rows of one pass of a tensor of all units'. */
function partOf({ passes }: Program, rows: tf.Tensor, pass: number): tf.Tensor1D {
  const size = rows.size / passes;
  return (passes === 1 ? rows : tf.slice(rows, [pass * size], [size])) as tf.Tensor1D;
}

/** Each pass in turn, what it makes gone behind it. */
function eachPass({ passes }: Program, work: (pass: number) => void): void {
  for (let pass = 0; pass < passes; pass++) tf.tidy(() => work(pass));
}

/** An encoder's pass in training mode that, where it trains, moves the running statistics on behind itself. */
function trainingPass(
  program: Program,
  which: "query" | "key",
  params: Map<string, tf.Tensor>,
  pass: number,
  trains = true,
): Pass {
  const { spec, state, passes } = program;
  const running = state.tensors(`${which}Stats`);
  const units = unitsOf(spec) / passes;
  const directions = Math.max(1, directionsOf(spec) / passes);
  const first = (pass * units) % spec.splits === 0;
  return {
    param: (name) => named(params, name),
    norm: {
      mode: "train",
      groups: units,
      record(name, mean, variance, rows) {
        if (!trains) return;
        const own = { mean: named(running, `${name}.running_mean`), variance: named(running, `${name}.running_var`) };
        const of = { directions, groups: units / directions, splits: spec.splits, rows, first };
        launchRunning({ mean, variance }, own, of);
      },
    },
  };
}

/** Features in training mode; convolutions take the sums for the batch norms behind them. */
function backbone({ spec, encoder, passes }: Program, pass: Pass, views: tf.Tensor): tf.Tensor {
  return withStatistics(unitsOf(spec) / passes, () => encoder.backbone(pass, views));
}

/** Encodes the keys of the batch, shuffled, to `keys` by direction and batch position. */
export function encodeKeys(program: Program, trains: boolean): void {
  const { spec, encoder, state, inputs } = program;
  const rows = directionsOf(spec) * spec.batchSize;
  const params = state.tensors("keyParams");
  eachPass(program, (i) => {
    const pass = trainingPass(program, "key", params, i, trains);
    const views = viewsOf(program, partOf(program, inputs.keyPicks.tensor, i));
    const features = backbone(program, pass, views);
    const keys = normalise(encoder.project(pass, features)); // [D*N/passes, C]
    launchRows("scatter", keys, partOf(program, inputs.keyPlaces.tensor, i), state.shaped("keys", [rows, spec.dim]));
  });
}

/** What a pass computes: the loss, a mean over its rows, and the three metrics. */
interface Outcome {
  readonly loss: tf.Scalar;
  readonly metrics: tf.Tensor;
}

/** Differentiates the loss by the query encoder's parameters, pass by pass, and updates them. `of` may be summed over. */
function learn(program: Program, directions: number, outcome: (pass: Pass, i: number) => Outcome): void {
  const { spec, state, inputs, segments, encoder, passes, ring } = program;
  const params = state.tensors("queryParams");
  const scale = spec.precision === "mixed" ? LOSS_SCALE : 1;
  const gradient = state.flat("gradient");
  // The loss is a sum over directions of means over the batch.
  const share = directions / passes;
  eachPass(program, (i) => {
    const pass = trainingPass(program, "query", params, i);
    const gradients: { tensor: tf.Tensor; offset: number }[] = [];
    const loss = () => {
      const { loss: mean, metrics } = outcome(pass, i);
      const log = { factor: share, share: 1 / passes, more: i > 0 };
      launchLog({ loss: mean, metrics }, ring, inputs.counters.tensor, log);
      return tf.mul<tf.Scalar>(mean, scale * share);
    };
    differentiate(loss, [...params.values()], (part, index) => {
      const offset = state.params.offsets[index] as number;
      gradients.push({ tensor: tf.keep(part.clone()), offset });
    });
    if (gradients.length !== encoder.params.entries.length) throw new Error("a parameter has no gradient");
    launchGather(gradients, gradient, 1 / scale, i > 0);
    for (const { tensor } of gradients) tensor.dispose();
  });
  const { scalars, rates } = inputs;
  launchUpdate(
    {
      ...{ params: state.flat("queryParams"), gradient, first: state.flat("velocity"), second: state.second },
      ...{ scalars: scalars.tensor, rates: rates.tensor },
    },
    segments,
    spec.optimizer,
  );
}

const half = ({ spec }: Program) => spec.precision === "mixed";

/** One step of MoCo. */
export function trainStep(program: Program): void {
  const { spec, encoder, state, inputs, queryPicks } = program;
  const directions = directionsOf(spec);
  inHalf(half(program), () => {
    launchMomentum(state.flat("keyParams"), state.flat("queryParams"), spec.momentum);
    encodeKeys(program, true);
    const rows = directions * spec.batchSize;
    const keys = state.shaped("keys", [rows, spec.dim]);
    const queue = state.shaped("queue", [spec.queueSize, spec.dim]);
    learn(program, directions, (pass, i) => {
      const picks = partOf(program, queryPicks, i);
      const positives = tf.engine().makeTensorFromTensorInfo(webgpu().allocate([picks.size, spec.dim]));
      launchRows("gather", keys, picks, positives); // in the order of queries
      const images = spec.maskSameImage ? { ids: idsOf(program, picks), queueIds: state.flat("queueIds") } : undefined;
      const q = normalise(encoder.project(pass, backbone(program, pass, viewsOf(program, picks))));
      return infoNce(q, positives, queue, spec.temperature, images);
    });
    const counters = inputs.counters.tensor;
    launchEnqueue({ keys: queue, ids: state.flat("queueIds") }, keys, inputs.ids.tensor, counters, directions);
  });
}

/** i32[rows]: the image of each row. */
function idsOf({ spec, inputs }: Program, picks: tf.Tensor1D): tf.Tensor {
  return tf.gather(tf.tile(inputs.ids.tensor, [directionsOf(spec)]), picks);
}

/** One step of supervised training, where the encoder's head is the classifier. */
export function classifyStep(program: Program): void {
  const { spec, encoder, inputs, queryPicks } = program;
  inHalf(half(program), () => {
    learn(program, 1, (pass, i) => {
      const picks = partOf(program, queryPicks, i);
      const labels = tf.gather(inputs.ids.tensor, picks) as tf.Tensor1D;
      const target = tf.oneHot(labels, spec.dim); // [N, classes]
      const logits = encoder.project(pass, backbone(program, pass, viewsOf(program, picks))); // [N, classes]
      const loss = tf.mean(tf.sub(tf.logSumExp(logits, 1), tf.sum(tf.mul(logits, target), 1))) as tf.Scalar;
      const right = tf.mean(tf.cast(tf.equal(tf.argMax(logits, 1), labels), "float32"));
      return { loss, metrics: tf.stack([right, right, right]) };
    });
  });
}
