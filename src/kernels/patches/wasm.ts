import { allocate, pointer, wasmDevice } from "../../backend/wasm.ts";
import { registerOn, type Tensors } from "../register.ts";
import { PATCHES, type PatchesAttrs, patchesShape } from "./index.ts";

export function registerPatchesWasm(): void {
  registerOn("wasm")(PATCHES, ({ x }: Tensors<"x">, { side }: PatchesAttrs) => {
    const y = allocate(patchesShape(x, side));
    const [n, h, w, c] = x.shape as [number, number, number, number];
    wasmDevice().kernels.patches(pointer(x), pointer(y), n, h, w, c, side);
    return y;
  });
}
