/** Batch normalisation on WASM; the meaning and the gradient are in `index.ts`. */
import * as tf from "@tensorflow/tfjs-core";
import { allocate, pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { GRAD, NORMALISE, type NormAttrs, TRAIN } from "./names.ts";

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

  const apply = (i: Inputs, mean: tf.TensorInfo, variance: tf.TensorInfo, attrs: NormAttrs): tf.TensorInfo => {
    const x = i.x as tf.TensorInfo;
    const c = channelsOf(x);
    const y = allocate(x.shape);
    withScratch(c * 8, (scratch) =>
      wasmDevice().kernels.normalise(
        ...[x, i.gamma as tf.TensorInfo, i.beta as tf.TensorInfo, mean, variance].map(pointer),
        ...[i.residual ? pointer(i.residual) : 0, pointer(y), scratch],
        ...[rowsOf(x), c, attrs.epsilon, attrs.relu ? 1 : 0],
      ),
    );
    return y;
  };

  register(TRAIN, (i, attrs) => {
    const x = i.x as tf.TensorInfo;
    const c = channelsOf(x);
    const mean = allocate([c]);
    const variance = allocate([c]);
    withScratch(c * 28, (scratch) =>
      wasmDevice().kernels.moments(pointer(x), pointer(mean), pointer(variance), scratch, rowsOf(x), c),
    );
    return [apply(i, mean, variance, attrs), mean, variance];
  });

  register(NORMALISE, (i, attrs) => apply(i, i.mean as tf.TensorInfo, i.variance as tf.TensorInfo, attrs));

  register(GRAD, (i, attrs) => {
    const x = i.x as tf.TensorInfo;
    const c = channelsOf(x);
    const dx = allocate(x.shape);
    const dgamma = allocate([c]);
    const dbeta = allocate([c]);
    const dResidual = attrs.residual ? allocate(x.shape) : undefined;
    withScratch(c * 36, (scratch) =>
      wasmDevice().kernels.normaliseGrad(
        ...[x, i.gamma, i.mean, i.variance, i.y, i.dy].map((t) => pointer(t as tf.TensorInfo)),
        ...[dx, dgamma, dbeta].map(pointer),
        ...[dResidual ? pointer(dResidual) : 0, scratch, rowsOf(x), c, attrs.epsilon, attrs.relu ? 1 : 0],
      ),
    );
    return dResidual ? [dx, dgamma, dbeta, dResidual] : [dx, dgamma, dbeta];
  });
}
