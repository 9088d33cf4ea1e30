/** Whether attention comes out the same on tensor cores: asked of a device before it is computed on them. */
import type * as tf from "@tensorflow/tfjs-core";
import type { webgpu } from "../../backend/webgpu.ts";
import type { Tensors } from "../register.ts";
import { inHalf } from "../webgpu/precision.ts";
import { noise, sameInHalf, valuesOf } from "../webgpu/tune.ts";
import type { Proof, TensorCores } from "../webgpu/tuned.ts";
import { coresFit, forwardOnCores, gradientOnCores } from "./cores.ts";
import type { sizesOf } from "./index.ts";

type Sizes = ReturnType<typeof sizesOf>;

/** Attention without tensor cores. */
export interface Plain {
  readonly forward: (qkv: tf.TensorInfo, s: Sizes) => tf.TensorInfo[];
  readonly gradient: (of: Tensors<"qkv" | "out" | "stats" | "dout">, s: Sizes) => tf.TensorInfo;
}

/** More tokens than a workgroup has rows, and no whole block of them. */
const TOKENS = 67;

export const proofOf = (plain: Plain, { d }: Sizes): Proof => ({
  name: `attention of heads of ${d}`,
  prove: (backend, cores) => inHalf(true, () => agrees(plain, { n: 1, t: TOKENS, h: 2, d }, cores, backend)),
});

async function agrees(
  plain: Plain,
  s: Sizes,
  cores: TensorCores,
  backend: ReturnType<typeof webgpu>,
): Promise<boolean> {
  const { n, t, h, d } = s;
  const made = (width: number) => {
    const tensor = backend.allocate([n, t, width], "float32", true);
    backend.binding(tensor);
    noise(tensor);
    return tensor;
  };
  const [qkv, dout] = [made(3 * h * d), made(h * d)];
  const tensors: tf.TensorInfo[] = [qkv, dout];
  const kept = (...of: tf.TensorInfo[]) => {
    tensors.push(...of);
    return of;
  };
  // All is launched at once, as the mode is that of this call: what is awaited is only read.
  const pairs: [tf.TensorInfo, tf.TensorInfo][] = [];
  const [out, stats] = kept(...plain.forward(qkv, s)) as [tf.TensorInfo, tf.TensorInfo];
  if (coresFit(cores, s, false, [qkv])) pairs.push([kept(...forwardOnCores(qkv, s, cores))[0] as tf.TensorInfo, out]);
  if (coresFit(cores, s, true, [qkv, out, dout])) {
    const of = { qkv, out, stats, dout };
    const [own, expected] = kept(gradientOnCores(of, s, cores), plain.gradient(of, s)) as [
      tf.TensorInfo,
      tf.TensorInfo,
    ];
    pairs.push([own, expected]);
  }
  backend.flush();
  let same = true;
  for (const [own, expected] of pairs) {
    same &&= sameInHalf(await valuesOf(backend, own), await valuesOf(backend, expected));
  }
  for (const { dataId } of tensors) backend.disposeData(dataId);
  return same;
}
