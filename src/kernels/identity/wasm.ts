/**
 * tfjs's WASM Identity copies the data, and tfjs-core clones every tensor that a gradient keeps: 1.6% of a step. The
 * data is counted by its references, so one more is all that a clone needs.
 */
import * as tf from "@tensorflow/tfjs-core";
import { wasmDevice } from "../../backend/wasm.ts";

export function registerIdentityWasm(): void {
  tf.unregisterKernel("Identity", "wasm");
  tf.registerKernel({
    kernelName: "Identity",
    backendName: "wasm",
    kernelFunc: ({ inputs }) => {
      const { dataId, shape, dtype } = inputs.x as tf.TensorInfo;
      wasmDevice().backend.incRef(dataId);
      return { dataId, shape, dtype };
    },
  });
}
