/** Attention on WASM, image by image; the meaning is in `index.ts`. */
import { allocate, pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { registerOn, type Tensors } from "../register.ts";
import { ATTENTION, ATTENTION_GRAD, type AttentionAttrs, sizesOf } from "./index.ts";

export function registerAttentionWasm(): void {
  const register = registerOn("wasm");
  register(ATTENTION, ({ qkv }: Tensors<"qkv">, { heads }: AttentionAttrs) => {
    const { kernels } = wasmDevice();
    const { n, t, h, d } = sizesOf(qkv, heads);
    const [out, stats] = [allocate([n, t, h * d]), allocate([n, h, t, 2])];
    withScratch(kernels.attentionScratchBytes(t, d), (scratch) => {
      for (let image = 0; image < n; image++) {
        const tokens = image * t * h * 4;
        const at = [pointer(qkv) + 3 * tokens * d, pointer(out) + tokens * d, pointer(stats) + 2 * tokens];
        kernels.attention(...at, scratch, t, h, d, 1 / Math.sqrt(d));
      }
    });
    return [out, stats];
  });
  type Backward = Tensors<"qkv" | "out" | "stats" | "dout">;
  register(ATTENTION_GRAD, ({ qkv, out, stats, dout }: Backward, { heads }: AttentionAttrs) => {
    const { kernels } = wasmDevice();
    const { n, t, h, d } = sizesOf(qkv, heads);
    const dqkv = allocate(qkv.shape);
    withScratch(kernels.attentionGradScratchBytes(t, d), (scratch) => {
      for (let image = 0; image < n; image++) {
        const tokens = image * t * h * 4;
        const [own, whole] = [tokens * d, 3 * tokens * d];
        const inputsAt = [pointer(qkv) + whole, pointer(out) + own, pointer(stats) + 2 * tokens, pointer(dout) + own];
        kernels.attentionGrad(...inputsAt, pointer(dqkv) + whole, scratch, t, h, d, 1 / Math.sqrt(d));
      }
    });
    return dqkv;
  });
}
