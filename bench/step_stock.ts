/**
 * Seconds of the same step on stock tfjs: tfjs-wasm, or with `--device webgpu` tfjs-backend-webgpu on a device that we open
 * (under Bun its own start does not work). `--batch 32 --steps 2`.
 *
 * tfjs-wasm first. It has no Conv2DBackpropFilter, so that one is composed of its own
 * matrix products, one a tap. No augmentation and whole-batch norm: less work than ours does.
 */
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-core/dist/register_all_gradients";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { findAdapters, openAdapter } from "../src/backend/adapters.ts";

const { values } = parseArgs({
  options: {
    device: { type: "string", default: "wasm" },
    batch: { type: "string", default: "32" },
    steps: { type: "string", default: "2" },
  },
});
const onGpu = values.device === "webgpu";
if (onGpu) {
  const [found] = await findAdapters();
  if (!found) throw new Error("no WebGPU adapter here");
  await openAdapter(found);
  await import("@tensorflow/tfjs-backend-webgpu/dist/register_all_kernels");
  await tf.setBackend("webgpu");
} else {
  const { setWasmPaths } = await import("@tensorflow/tfjs-backend-wasm");
  const dist = dirname(Bun.resolveSync("@tensorflow/tfjs-backend-wasm/dist/tf-backend-wasm.node.js", import.meta.dir));
  setWasmPaths(`${dist}/`);
  await tf.setBackend("wasm");
}
await tf.ready();

if (!onGpu)
  tf.registerKernel({
    kernelName: "Conv2DBackpropFilter",
    backendName: "wasm",
    kernelFunc: ({ inputs, attrs }) => {
      const { strides, pad, filterShape } = attrs as never as { strides: number; pad: number; filterShape: number[] };
      const [kh, kw, ci, co] = filterShape as [number, number, number, number];
      return tf.tidy(() => {
        const x = tf.engine().makeTensorFromTensorInfo(inputs.x as tf.TensorInfo) as tf.Tensor4D;
        const dy = tf.engine().makeTensorFromTensorInfo(inputs.dy as tf.TensorInfo) as tf.Tensor4D;
        const [n, oh, ow] = dy.shape;
        const around: [number, number] = [pad, pad];
        const padded = pad ? tf.pad(x, [[0, 0], around, around, [0, 0]]) : x;
        const flat = tf.reshape(dy, [-1, co]) as tf.Tensor2D;
        const taps: tf.Tensor[] = [];
        for (let a = 0; a < kh; a++) {
          for (let b = 0; b < kw; b++) {
            const end = [n, a + (oh - 1) * strides + 1, b + (ow - 1) * strides + 1, ci];
            const shifted = tf.stridedSlice(padded, [0, a, b, 0], end, [1, strides, strides, 1]);
            taps.push(tf.matMul(tf.reshape(shifted, [-1, ci]) as tf.Tensor2D, flat, true, false));
          }
        }
        return tf.reshape(tf.stack(taps), filterShape);
      });
    },
  });

type Layer = (x: tf.Tensor) => tf.Tensor;

function encoder() {
  const params: tf.Variable[] = [];
  const variable = (values: tf.Tensor) => {
    const v = tf.variable(values);
    params.push(v);
    return v;
  };
  const block = (k: number, ci: number, co: number, stride: number): Layer => {
    const w = variable(tf.randomNormal([k, k, ci, co], 0, Math.sqrt(2 / (k * k * ci)), "float32", 1));
    const [gamma, beta] = [variable(tf.ones([co])), variable(tf.zeros([co]))];
    return (x) => {
      const y = tf.conv2d(x as tf.Tensor4D, w as tf.Tensor as tf.Tensor4D, stride, (k - 1) / 2);
      const { mean, variance } = tf.moments(y, [0, 1, 2]);
      return tf.batchNorm(
        y,
        mean as tf.Tensor1D,
        variance as tf.Tensor1D,
        beta as tf.Tensor as tf.Tensor1D,
        gamma as tf.Tensor as tf.Tensor1D,
        1e-5,
      );
    };
  };
  const stem = block(3, 3, 64, 1);
  const blocks: Layer[] = [];
  let from = 64;
  for (const [to, stride] of [
    [64, 1],
    [64, 1],
    [128, 2],
    [128, 1],
    [256, 2],
    [256, 1],
    [512, 2],
    [512, 1],
  ] as const) {
    const [first, second] = [block(3, from, to, stride), block(3, to, to, 1)];
    const skip: Layer = stride !== 1 || from !== to ? block(1, from, to, stride) : (x) => x;
    blocks.push((x) => tf.relu(tf.add(second(tf.relu(first(x))), skip(x))));
    from = to;
  }
  const fc = variable(tf.randomNormal([512, 128], 0, 0.03, "float32", 2));
  const forward: Layer = (x) => {
    let h = tf.relu(stem(x));
    for (const layer of blocks) h = layer(h);
    const z = tf.matMul(tf.mean(h, [1, 2]) as tf.Tensor2D, fc as tf.Tensor as tf.Tensor2D);
    return tf.div(z, tf.norm(z, 2, 1, true));
  };
  return { params, forward };
}

const batch = Number(values.batch);
const [q, k] = [encoder(), encoder()];
const queue = tf.randomNormal([128, 4096]) as tf.Tensor2D;
const [views1, views2] = [tf.randomNormal([batch, 32, 32, 3]), tf.randomNormal([batch, 32, 32, 3])];
const optimiser = tf.train.momentum(0.06, 0.9);
for (let step = 0; step < Number(values.steps); step++) {
  const start = performance.now();
  const keys = tf.tidy(() => {
    q.params.forEach((p, i) => {
      const key = k.params[i] as tf.Variable;
      key.assign(tf.add(tf.mul(key, 0.99), tf.mul(p, 0.01)) as never);
    });
    return k.forward(views2);
  });
  const { value, grads } = tf.variableGrads(() => {
    const z = q.forward(views1);
    const logits = tf.div(tf.concat([tf.sum(tf.mul(z, keys), 1, true), tf.matMul(z as tf.Tensor2D, queue)], 1), 0.1);
    return tf.neg(tf.mean(tf.slice(tf.logSoftmax(logits as tf.Tensor2D), [0, 0], [batch, 1]))) as tf.Scalar;
  }, q.params);
  optimiser.applyGradients(grads as Record<string, tf.Variable>);
  await value.data();
  tf.dispose([keys, value]);
  tf.dispose(grads);
  console.log((performance.now() - start) / 1000);
}
