/**
 * A step of MoCo on WebGPU, said once: what is called here is recorded, and runs for every step of the run. The order is that
 * of the reference (methods/moco.ts). All splits go through the encoders together; batch norm keeps them apart.
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
import { normalise } from "../../methods/moco.ts";
import { differentiate } from "../../nn/differentiate.ts";
import type { Encoder, Pass } from "../../nn/resnet.ts";
import type { PretrainSpec } from "../../spec/pretrain.ts";
import { named } from "../context.ts";
import { directionsOf, unitsOf } from "../state.ts";
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

/** A pass in training mode that, where it trains, moves an encoder's running statistics on behind itself. */
function trainingPass(program: Program, which: "query" | "key", params: Map<string, tf.Tensor>, trains = true): Pass {
  const { spec, state } = program;
  const running = state.tensors(`${which}Stats`);
  const groups = { directions: directionsOf(spec), splits: spec.splits };
  return {
    param: (name) => named(params, name),
    norm: {
      mode: "train",
      groups: unitsOf(spec),
      record(name, mean, variance, rows) {
        if (!trains) return;
        const own = { mean: named(running, `${name}.running_mean`), variance: named(running, `${name}.running_var`) };
        launchRunning({ mean, variance }, own, { ...groups, rows });
      },
    },
  };
}

/** Encodes the keys of the batch, shuffled, to `keys` by direction and batch position. */
export function encodeKeys(program: Program, trains: boolean): void {
  const { spec, encoder, state, inputs } = program;
  tf.tidy(() => {
    const pass = trainingPass(program, "key", state.tensors("keyParams"), trains);
    const features = encoder.backbone(pass, viewsOf(program, inputs.keyPicks.tensor));
    const keys = normalise(encoder.project(pass, features)); // [D*N, C]
    launchRows("scatter", keys, inputs.keyPlaces.tensor, state.shaped("keys", [keys.shape[0] as number, spec.dim]));
  });
}

/** Differentiates `loss` by the query encoder's parameters, and updates them. */
function learn(program: Program, loss: (pass: Pass) => tf.Scalar): void {
  const { spec, state, inputs, segments, encoder } = program;
  const params = state.tensors("queryParams");
  const pass = trainingPass(program, "query", params);
  const scale = spec.precision === "mixed" ? LOSS_SCALE : 1;
  const gradients: { tensor: tf.Tensor; offset: number }[] = [];
  const scaled = () => (scale === 1 ? loss(pass) : tf.mul<tf.Scalar>(loss(pass), scale));
  differentiate(scaled, [...params.values()], (gradient, index) => {
    const offset = state.params.offsets[index] as number;
    gradients.push({ tensor: tf.keep(gradient.clone()), offset });
  });
  if (gradients.length !== encoder.params.entries.length) throw new Error("a parameter has no gradient");
  const gradient = state.flat("gradient");
  launchGather(gradients, gradient, 1 / scale);
  for (const { tensor } of gradients) tensor.dispose();
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
  const { spec, encoder, state, inputs, queryPicks, ring } = program;
  const directions = directionsOf(spec);
  inHalf(half(program), () => {
    launchMomentum(state.flat("keyParams"), state.flat("queryParams"), spec.momentum);
    encodeKeys(program, true);
    const rows = directions * spec.batchSize;
    const keys = state.shaped("keys", [rows, spec.dim]);
    const queue = state.shaped("queue", [spec.queueSize, spec.dim]);
    const positives = tf.engine().makeTensorFromTensorInfo(webgpu().allocate([rows, spec.dim]));
    launchRows("gather", keys, queryPicks, positives); // in the order of queries
    const images = spec.maskSameImage ? { ids: idsOfQueries(program), queueIds: state.flat("queueIds") } : undefined;
    const views = viewsOf(program, queryPicks);
    learn(program, (pass) => {
      const q = normalise(encoder.project(pass, encoder.backbone(pass, views)));
      const { loss, metrics } = infoNce(q, positives, queue, spec.temperature, images);
      launchLog(loss, metrics, ring, inputs.counters.tensor, directions);
      // A mean over both directions; the loss is their sum.
      return directions === 1 ? loss : tf.mul<tf.Scalar>(loss, directions);
    });
    const counters = inputs.counters.tensor;
    launchEnqueue({ keys: queue, ids: state.flat("queueIds") }, keys, inputs.ids.tensor, counters, directions);
  });
}

/** i32[directions * N]: the image of each query, in the order in which they are encoded. */
function idsOfQueries({ spec, inputs, queryPicks }: Program): tf.Tensor {
  const ids = tf.tile(inputs.ids.tensor, [directionsOf(spec)]);
  return tf.gather(ids, queryPicks as tf.Tensor1D);
}

/** One step of supervised training, where the encoder's head is the classifier. */
export function classifyStep(program: Program): void {
  const { spec, encoder, inputs, queryPicks, ring } = program;
  inHalf(half(program), () => {
    const labels = tf.gather(inputs.ids.tensor, queryPicks as tf.Tensor1D) as tf.Tensor1D;
    const target = tf.oneHot(labels, spec.dim); // [N, classes]
    const views = viewsOf(program, queryPicks);
    learn(program, (pass) => {
      const logits = encoder.project(pass, encoder.backbone(pass, views)); // [N, classes]
      const loss = tf.mean(tf.sub(tf.logSumExp(logits, 1), tf.sum(tf.mul(logits, target), 1))) as tf.Scalar;
      const right = tf.mean(tf.cast(tf.equal(tf.argMax(logits, 1), labels), "float32"));
      launchLog(loss, tf.stack([right, right, right]), ring, inputs.counters.tensor, 1);
      return loss;
    });
  });
}
