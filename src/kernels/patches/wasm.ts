import * as tf from "@tensorflow/tfjs-core";
import { allocate, pointer, wasmDevice } from "../../backend/wasm.ts";
import { PATCHES, type PatchesAttrs, patchesShape } from "./index.ts";

export function registerPatchesWasm(): void {
  tf.registerKernel({
    kernelName: PATCHES,
    backendName: "wasm",
    kernelFunc: ({ inputs, attrs }) => {
      const x = inputs.x as tf.TensorInfo;
      const { side } = attrs as unknown as PatchesAttrs;
      const y = allocate(patchesShape(x, side));
      const [n, h, w, c] = x.shape as [number, number, number, number];
      wasmDevice().kernels.patches(pointer(x), pointer(y), n, h, w, c, side);
      return y;
    },
  });
}
