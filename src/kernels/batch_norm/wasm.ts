/** Batch normalisation on WASM; the meaning and the gradient are in `index.ts`. */
import * as tf from "@tensorflow/tfjs-core";
import { allocate, floatsOf, pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { GRAD, NORMALISE, type NormAttrs, statsShape, TRAIN } from "./names.ts";

const rowsOf = (x: tf.TensorInfo) => x.shape.slice(0, -1).reduce((a, b) => a * b, 1);
const channelsOf = (x: tf.TensorInfo) => x.shape.at(-1) as number;

type Inputs = Record<string, tf.TensorInfo>;

export function registerBatchNormWasm(): void {
  const register = (kernelName: string, run: (i: Inputs, attrs: NormAttrs) => tf.TensorInfo | tf.TensorInfo[]) =>
    tf.registerKernel({
      kernelName,
      backendName: "wasm",
      kernelFunc: ({ inputs, attrs }) => run(inputs as Inputs, attrs as unknown as NormAttrs),
    });

  /** Addresses of a group's part of a tensor [..., C] and of one [groups, C]. */
  const partsOf = (x: tf.TensorInfo, groups: number) => {
    const [c, rows] = [channelsOf(x), rowsOf(x) / groups];
    return Array.from({ length: groups }, (_, group) => ({
      ...{ c, rows },
      part: (t: tf.TensorInfo) => pointer(t) + group * rows * c * 4,
      stat: (t: tf.TensorInfo) => pointer(t) + group * c * 4,
    }));
  };

  const apply = (i: Inputs, mean: tf.TensorInfo, variance: tf.TensorInfo, attrs: NormAttrs): tf.TensorInfo => {
    const x = i.x as tf.TensorInfo;
    const y = allocate(x.shape);
    withScratch(channelsOf(x) * 8, (scratch) => {
      for (const { part, stat, rows, c } of partsOf(x, attrs.groups)) {
        wasmDevice().kernels.normalise(
          ...[part(x), pointer(i.gamma as tf.TensorInfo), pointer(i.beta as tf.TensorInfo), stat(mean), stat(variance)],
          ...[i.residual ? part(i.residual) : 0, part(y), scratch, rows, c, attrs.epsilon, attrs.relu ? 1 : 0],
        );
      }
    });
    return y;
  };

  register(TRAIN, (i, attrs) => {
    const x = i.x as tf.TensorInfo;
    const shape = statsShape(attrs.groups, channelsOf(x));
    const [mean, variance] = [allocate(shape), allocate(shape)];
    withScratch(channelsOf(x) * 28, (scratch) => {
      for (const { part, stat, rows, c } of partsOf(x, attrs.groups)) {
        wasmDevice().kernels.moments(part(x), stat(mean), stat(variance), scratch, rows, c);
      }
    });
    return [apply(i, mean, variance, attrs), mean, variance];
  });

  register(NORMALISE, (i, attrs) => apply(i, i.mean as tf.TensorInfo, i.variance as tf.TensorInfo, attrs));

  register(GRAD, (i, attrs) => {
    const [x, y, dy] = [i.x, i.y, i.dy] as [tf.TensorInfo, tf.TensorInfo, tf.TensorInfo];
    const [gamma, mean, variance] = [i.gamma, i.mean, i.variance] as [tf.TensorInfo, tf.TensorInfo, tf.TensorInfo];
    const channels = channelsOf(x);
    const dx = allocate(x.shape);
    const dResidual = attrs.residual ? allocate(x.shape) : undefined;
    // Of each group apart, added up behind.
    const [gammas, betas] = [allocate([attrs.groups, channels]), allocate([attrs.groups, channels])];
    withScratch(channels * 36, (scratch) => {
      for (const { part, stat, rows, c } of partsOf(x, attrs.groups)) {
        wasmDevice().kernels.normaliseGrad(
          ...[part(x), pointer(gamma), stat(mean), stat(variance), part(y), part(dy)],
          ...[part(dx), stat(gammas), stat(betas), dResidual ? part(dResidual) : 0],
          ...[scratch, rows, c, attrs.epsilon, attrs.relu ? 1 : 0],
        );
      }
    });
    const [dgamma, dbeta] = [gammas, betas].map((parts) => sumOfGroups(parts)) as [tf.TensorInfo, tf.TensorInfo];
    return dResidual ? [dx, dgamma, dbeta, dResidual] : [dx, dgamma, dbeta];
  });
}

/** f32[groups, C] -> f32[C]; takes the place of what it was given. */
function sumOfGroups(parts: tf.TensorInfo): tf.TensorInfo {
  const [groups, c] = parts.shape as [number, number];
  if (groups === 1) return { ...parts, shape: [c] };
  const sum = allocate([c]);
  const [from, to] = [floatsOf(parts), floatsOf(sum)];
  for (let i = 0; i < c; i++) {
    let total = 0;
    for (let group = 0; group < groups; group++) total += from[group * c + i] as number;
    to[i] = total;
  }
  wasmDevice().backend.disposeData(parts.dataId);
  return sum;
}
