/**
 * ResNet (He et al. 2016) with torchvision's names, and MoCo's projection head as its `fc`.
 * N batch, HW side, C channels; images f32[N,HW,HW,C], channels innermost.
 */
import * as tf from "@tensorflow/tfjs-core";
import { batchNormEval, batchNormTrain } from "../../kernels/batch_norm/index.ts";
import { maxPool } from "../../kernels/max_pool/index.ts";
import { meanPlaces } from "../../kernels/mean_places/index.ts";
import type { EncoderSpec } from "../../schema/pretrain.ts";
import { Layout } from "../layout.ts";

/** What a forward pass reads and writes besides its input. */
export interface Pass {
  param(name: string): tf.Tensor;
  /**
   * Train: normalise by the batch, or by each of `groups` equal parts of it, and hand the statistics over, with the number
   * of rows that they are of. Eval: by the running ones.
   */
  readonly norm:
    | {
        mode: "train";
        groups: number;
        record: (name: string, mean: tf.Tensor, variance: tf.Tensor, rows: number) => void;
      }
    | { mode: "eval"; stat: (name: string) => tf.Tensor };
}

type Layer = (pass: Pass, x: tf.Tensor) => tf.Tensor;

export interface Encoder {
  readonly params: Layout;
  /** running_mean and running_var of every batch norm. */
  readonly stats: Layout;
  /** Of the images. */
  readonly channels: number;
  /** Dimension of the backbone's features. */
  readonly features: number;
  /** f32[N,HW,HW,C] -> f32[N,features] */
  backbone(pass: Pass, images: tf.Tensor): tf.Tensor;
  /** f32[N,features] -> f32[N,dim], not normalised. */
  project(pass: Pass, features: tf.Tensor): tf.Tensor;
}

export const architectures = {
  resnet10: { blocks: [1, 1, 1, 1], expansion: 1 },
  resnet18: { blocks: [2, 2, 2, 2], expansion: 1 },
  resnet34: { blocks: [3, 4, 6, 3], expansion: 1 },
  resnet50: { blocks: [3, 4, 6, 3], expansion: 4 },
} as const satisfies Record<EncoderSpec["arch"], unknown>;

export function buildEncoder(spec: EncoderSpec, channels: number, head: "mlp" | "linear", dim: number): Encoder {
  const params = new Layout();
  const stats = new Layout();

  const conv = (name: string, size: number, from: number, to: number, stride: number): Layer => {
    params.add(`${name}.weight`, [size, size, from, to], { kind: "kaiming-fan-out" });
    const pad = (size - 1) / 2;
    return (pass, x) => tf.conv2d(x as tf.Tensor4D, pass.param(`${name}.weight`) as tf.Tensor4D, stride, pad);
  };

  const norm = (name: string, c: number) => {
    params.add(`${name}.weight`, [c], { kind: "constant", value: 1 });
    params.add(`${name}.bias`, [c], { kind: "constant", value: 0 });
    stats.add(`${name}.running_mean`, [c], { kind: "constant", value: 0 });
    stats.add(`${name}.running_var`, [c], { kind: "constant", value: 1 });
    return (pass: Pass, x: tf.Tensor, relu: boolean, residual?: tf.Tensor): tf.Tensor => {
      const gamma = pass.param(`${name}.weight`);
      const inputs = { x, gamma, beta: pass.param(`${name}.bias`), ...(residual && { residual }) };
      if (pass.norm.mode === "eval") {
        const { stat } = pass.norm;
        return batchNormEval(inputs, stat(`${name}.running_mean`), stat(`${name}.running_var`), relu);
      }
      const { groups } = pass.norm;
      const [y, mean, variance] = batchNormTrain(inputs, relu, groups);
      pass.norm.record(name, mean, variance, x.size / c / groups);
      return y;
    };
  };

  const shortcut = (name: string, from: number, to: number, stride: number): Layer => {
    if (from === to && stride === 1) return (_, x) => x;
    const c = conv(`${name}.downsample.0`, 1, from, to, stride);
    const n = norm(`${name}.downsample.1`, to);
    return (pass, x) => n(pass, c(pass, x), false);
  };

  const basic = (name: string, from: number, width: number, stride: number): Layer => {
    const c1 = conv(`${name}.conv1`, 3, from, width, stride);
    const n1 = norm(`${name}.bn1`, width);
    const c2 = conv(`${name}.conv2`, 3, width, width, 1);
    const n2 = norm(`${name}.bn2`, width);
    const skip = shortcut(name, from, width, stride);
    return (pass, x) => n2(pass, c2(pass, n1(pass, c1(pass, x), true)), true, skip(pass, x));
  };

  const bottleneck = (name: string, from: number, width: number, stride: number): Layer => {
    const c1 = conv(`${name}.conv1`, 1, from, width, 1);
    const n1 = norm(`${name}.bn1`, width);
    const c2 = conv(`${name}.conv2`, 3, width, width, stride);
    const n2 = norm(`${name}.bn2`, width);
    const c3 = conv(`${name}.conv3`, 1, width, width * 4, 1);
    const n3 = norm(`${name}.bn3`, width * 4);
    const skip = shortcut(name, from, width * 4, stride);
    return (pass, x) => {
      const inner = n2(pass, c2(pass, n1(pass, c1(pass, x), true)), true);
      return n3(pass, c3(pass, inner), true, skip(pass, x));
    };
  };

  const { blocks, expansion } = architectures[spec.arch];
  const small = spec.stem === "cifar";
  const stem = conv("conv1", small ? 3 : 7, channels, spec.width, small ? 1 : 2);
  const stemNorm = norm("bn1", spec.width);
  const layers: Layer[] = [];
  let from = spec.width;
  blocks.forEach((count, stage) => {
    const width = spec.width * 2 ** stage;
    for (let i = 0; i < count; i++) {
      const stride = stage > 0 && i === 0 ? 2 : 1;
      layers.push((expansion === 4 ? bottleneck : basic)(`layer${stage + 1}.${i}`, from, width, stride));
      from = width * expansion;
    }
  });
  const features = from;

  const linear = (name: string, input: number, output: number): Layer => {
    const bound = 1 / Math.sqrt(input);
    params.add(`${name}.weight`, [input, output], { kind: "uniform", bound });
    params.add(`${name}.bias`, [output], { kind: "uniform", bound });
    return (pass, x) =>
      tf.add(tf.matMul(x as tf.Tensor2D, pass.param(`${name}.weight`) as tf.Tensor2D), pass.param(`${name}.bias`));
  };
  // Named as facebookresearch/moco names them: `fc` alone, or the MLP as fc.0 and fc.2 (fc.1 is the ReLU).
  const hidden = head === "mlp" ? linear("fc.0", features, features) : undefined;
  const last = linear(head === "mlp" ? "fc.2" : "fc", features, dim);

  return {
    params,
    stats,
    channels,
    features,
    backbone(pass, images) {
      // Each block's tensors go when it is done; what a gradient needs of them, the tape keeps.
      let x = tf.tidy(() => {
        const first = stemNorm(pass, stem(pass, images), true);
        return small ? first : maxPool(first, 3, 2, 1);
      });
      for (const layer of layers) {
        const next = tf.tidy(() => layer(pass, x));
        x.dispose();
        x = next;
      }
      return meanPlaces(x); // [N,HW,HW,C] -> [N,C]
    },
    project(pass, x) {
      return last(pass, hidden ? tf.relu(hidden(pass, x)) : x);
    },
  };
}
