/** Launches attention on tensor cores, where the device has them, the tensors are float16 and the heads are made of matrices. */
import type * as tf from "@tensorflow/tfjs-core";
import { launch, reads, webgpu, writes } from "../../backend/webgpu.ts";
import type { Tensors } from "../register.ts";
import { halfMode } from "../webgpu/precision.ts";
import { matrixHeader } from "../webgpu/subgroup_matrices.ts";
import { type TensorCores, tuning } from "../webgpu/tuned.ts";
import { forwardCode, keysCode, queriesCode } from "./cores_code.ts";
import { emulating, fitsHeads, OWN, onCores, type RowProducts, sharedOf, THREADS } from "./cores_products.ts";
import type { sizesOf } from "./index.ts";

type Sizes = ReturnType<typeof sizesOf>;

/** Whether `cores` can compute attention of these tensors, forward or backward. */
export function coresFit(
  cores: TensorCores,
  { d }: Sizes,
  gradient: boolean,
  tensors: readonly tf.TensorInfo[],
): boolean {
  const { maxComputeWorkgroupStorageSize: room, maxComputeInvocationsPerWorkgroup: threads } = webgpu().device.limits;
  return (
    fitsHeads(cores.config, d) &&
    sharedOf(d, gradient) <= room &&
    THREADS <= threads &&
    tensors.every((tensor) => webgpu().isHalf(tensor))
  );
}

/** The tensor cores that compute this attention; undefined: it is computed without any. */
export function coresFor(s: Sizes, gradient: boolean, tensors: readonly tf.TensorInfo[]): TensorCores | undefined {
  const { tensorCores } = tuning();
  return halfMode() && tensorCores && coresFit(tensorCores, s, gradient, tensors) ? tensorCores : undefined;
}

const productsOn = ({ config, emulated }: TensorCores, d: number): RowProducts =>
  emulated ? emulating(d) : onCores(config, d);

/** What launches of one attention have in common. */
const common = ({ n, t, h, d }: Sizes, { emulated }: TensorCores) => ({
  numbers: { TOKENS: t, HEADS: h, scaleF: 1 / Math.sqrt(d) },
  before: emulated ? "" : matrixHeader,
  groups: [Math.ceil(t / OWN), h, n],
});

export function forwardOnCores(qkv: tf.TensorInfo, s: Sizes, cores: TensorCores): tf.TensorInfo[] {
  const { n, t, h, d } = s;
  const out = webgpu().allocate([n, t, h * d], "float32", true);
  const stats = webgpu().allocate([n, h, t, 2]);
  launch({
    ...common(s, cores),
    name: "attention",
    bind: { qkv: reads(qkv, "vec4u"), out: writes(out, "vec2u"), stats: writes(stats) },
    code: forwardCode(productsOn(cores, d), d),
    flops: 4 * n * h * t * t * d,
  });
  return [out, stats];
}

export function gradientOnCores(
  { qkv, out, stats, dout }: Tensors<"qkv" | "out" | "stats" | "dout">,
  s: Sizes,
  cores: TensorCores,
): tf.TensorInfo {
  const { n, t, h, d } = s;
  const dqkv = webgpu().allocate(qkv.shape, "float32", true);
  const deltas = webgpu().allocate([n, h, t]);
  const bind = {
    qkv: reads(qkv, "vec4u"),
    dout: reads(dout, "vec4u"),
    dqkv: writes(dqkv, "vec2u"),
    stats: reads(stats),
  };
  launch({
    ...common(s, cores),
    name: "attention gradient: queries",
    bind: { ...bind, out: reads(out, "vec4u"), deltas: writes(deltas) },
    code: queriesCode(productsOn(cores, d), d),
    flops: 6 * n * h * t * t * d,
  });
  launch({
    ...common(s, cores),
    name: "attention gradient: keys and values",
    bind: { ...bind, deltas: reads(deltas) },
    code: keysCode(productsOn(cores, d), d),
    flops: 8 * n * h * t * t * d,
  });
  webgpu().disposeData(deltas.dataId);
  return dqkv;
}
