/** Batch normalisation on WASM; the meaning and the gradient are in `index.ts`. */
import type * as tf from "@tensorflow/tfjs-core";
import { allocate, floatsOf, heap, pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { registerOn } from "../register.ts";
import { GRAD, NORMALISE, type NormAttrs, type NormMeeting, statsShape, TRAIN } from "./names.ts";

const rowsOf = (x: tf.TensorInfo) => x.shape.slice(0, -1).reduce((a, b) => a * b, 1);
const channelsOf = (x: tf.TensorInfo) => x.shape.at(-1) as number;

type Inputs = Record<string, tf.TensorInfo>;

export function registerBatchNormWasm(): void {
  const register = registerOn("wasm")<Inputs, NormAttrs>;

  /** Addresses of a group's part of a tensor [..., C] and of one [groups, C]. */
  const partsOf = (x: tf.TensorInfo, groups: number) => {
    const [c, rows] = [channelsOf(x), rowsOf(x) / groups];
    return Array.from({ length: groups }, (_, group) => ({
      c,
      rows,
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
          part(x),
          pointer(i.gamma as tf.TensorInfo),
          pointer(i.beta as tf.TensorInfo),
          stat(mean),
          stat(variance),
          i.residual ? part(i.residual) : 0,
          part(y),
          scratch,
          rows,
          c,
          attrs.epsilon,
          attrs.relu ? 1 : 0,
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
    if (attrs.meeting) shareMoments(attrs.meeting, floatsOf(mean), floatsOf(variance));
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
    const parts = attrs.meeting?.parts ?? 1;
    withScratch(channels * (2 * SUMS + 12), (sums) => {
      const total = sums + channels * SUMS;
      const scratch = total + channels * SUMS;
      for (const { part, stat, rows, c } of partsOf(x, attrs.groups)) {
        const { kernels } = wasmDevice();
        const relu = attrs.relu ? 1 : 0;
        kernels.normaliseGradSums(part(x), stat(mean), part(y), part(dy), sums, scratch, rows, c, relu);
        shareSums(attrs.meeting, sums, total, c);
        const tensors = [part(x), pointer(gamma), stat(mean), stat(variance), part(y), part(dy)] as const;
        const results = [part(dx), stat(gammas), stat(betas), dResidual ? part(dResidual) : 0] as const;
        kernels.normaliseGrad(...tensors, ...results, sums, total, scratch, rows, rows * parts, c, attrs.epsilon, relu);
      }
    });
    const [dgamma, dbeta] = [gammas, betas].map((parts) => sumOfGroups(parts)) as [tf.TensorInfo, tf.TensorInfo];
    return dResidual ? [dx, dgamma, dbeta, dResidual] : [dx, dgamma, dbeta];
  });
}

/** Bytes a channel of the two sums of a gradient, f64[2, C]. */
const SUMS = 16;

/** The mean and biased variance f32[C] of a part become those of all parts, which are equally large. */
function shareMoments(meeting: NormMeeting, mean: Float32Array, variance: Float32Array): void {
  const c = mean.length;
  const all = meeting.gather(Float64Array.of(...mean, ...variance)); // [parts, 2, C]
  for (let i = 0; i < c; i++) {
    let centre = 0;
    for (let part = 0; part < meeting.parts; part++) centre += (all[part * 2 * c + i] as number) / meeting.parts;
    let spread = 0;
    for (let part = 0; part < meeting.parts; part++) {
      const away = (all[part * 2 * c + i] as number) - centre;
      spread += ((all[(part * 2 + 1) * c + i] as number) + away * away) / meeting.parts;
    }
    mean[i] = centre;
    variance[i] = spread;
  }
}

/** f64[2, C] at `own`, added up over all parts in their order, to `total`. */
function shareSums(meeting: NormMeeting | undefined, own: number, total: number, c: number): void {
  const [from, to] = [own, total].map((address) => new Float64Array(heap().buffer, address, 2 * c)) as [
    Float64Array,
    Float64Array,
  ];
  if (!meeting) {
    to.set(from);
    return;
  }
  const all = meeting.gather(from.slice());
  for (let i = 0; i < 2 * c; i++) {
    let sum = 0;
    for (let part = 0; part < meeting.parts; part++) sum += all[part * 2 * c + i] as number;
    to[i] = sum;
  }
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
