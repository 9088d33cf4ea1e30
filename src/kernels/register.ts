import * as tf from "@tensorflow/tfjs-core";

/** Puts kernels of ours under one of tfjs's backends; what a kernel says of its inputs and attributes is what is called with. */
export const registerOn =
  (backendName: "wasm" | "webgpu") =>
  <Inputs, Attrs = unknown>(
    kernelName: string,
    run: (inputs: Inputs, attrs: Attrs) => tf.TensorInfo | tf.TensorInfo[],
  ): void =>
    tf.registerKernel({
      kernelName,
      backendName,
      kernelFunc: ({ inputs, attrs }) => run(inputs as Inputs, attrs as Attrs),
    });

/** Inputs by name. */
export type Tensors<Name extends string> = Readonly<Record<Name, tf.TensorInfo>>;
