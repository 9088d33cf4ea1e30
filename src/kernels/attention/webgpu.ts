/**
 * Attention on WebGPU (Dao et al. 2022, algorithm 1): a thread has a query, or in the backward pass a key and its value, in
 * registers, and goes through the others, tiles of which its workgroup shares. Nothing is added across threads.
 */
import type * as tf from "@tensorflow/tfjs-core";
import { launch, reads, webgpu, writes } from "../../backend/webgpu.ts";
import { registerOn, type Tensors } from "../register.ts";
import { join } from "../webgpu/access.ts";
import { halfMode, halfWanted } from "../webgpu/precision.ts";
import { tuning } from "../webgpu/tuned.ts";
import { coresFor, forwardOnCores, gradientOnCores } from "./cores.ts";
import { ATTENTION, ATTENTION_GRAD, ATTENTION_OF_LENGTHS, type AttentionAttrs, sizesOf } from "./index.ts";
import { bindMask, type GpuMask, keysSeen, queriesSeeing } from "./mask.ts";
import { eachFour, fours, groupsOf, kernelCode, numbersOf, type Sizes, throughTiles, tileOf } from "./plain_frame.ts";
import { proofOf } from "./proof.ts";

type Lengths = Partial<Tensors<"lengths">>;
type Backward = Tensors<"qkv" | "out" | "stats" | "dout">;

/** Pairs of a query and a key, of all heads; those of padding count: lengths are on the device. */
const pairsOf = ({ n, t, h }: Sizes, mask: GpuMask | undefined): number =>
  n * h * (mask?.causal ? (t * (t + 1)) / 2 : t * t);

function forward(qkv: tf.TensorInfo, s: Sizes, mask?: GpuMask): tf.TensorInfo[] {
  const { n, t, h, d } = s;
  const shape = [n, t, h * d];
  const out = webgpu().allocate(shape, "float32", d % 4 === 0 && halfWanted(shape));
  const stats = webgpu().allocate([n, h, t, 2]);
  const { bind, code } = join({ qkv: fours("qkv", qkv, d), out: fours("out", out, d, true) });
  launch({
    name: "attention",
    numbers: numbersOf(s),
    bind: { ...bind, stats: writes(stats), ...bindMask(mask) },
    code:
      code +
      kernelCode(
        s,
        mask,
        `var q = array<vec4f, FOURS>();
  var sum = array<vec4f, FOURS>();
  if (there) { let q0 = part_of(image, own, 0u, head); ${eachFour("q[c] = qkv_four(q0, c) * its.scaleF;")} }
  var most = -3.4e38;
  var total = 0.0;
  ${throughTiles(
    keysSeen(mask),
    "qkv_four(part_of(image, token, 1u, head), c)",
    "qkv_four(part_of(image, token, 2u, head), c)",
    `var score = 0.0;
        ${eachFour("score += dot(q[c], firsts[row + c]);")}
        if (score > most) {
          let less = exp(most - score);
          most = score;
          total *= less;
          ${eachFour("sum[c] *= less;")}
        }
        let p = exp(score - most);
        total += p;
        ${eachFour("sum[c] += p * seconds[row + c];")}`,
  )}
  ${mask ? "if (!live) { total = 1.0; }" : ""}
  if (there) {
    let to = out_of(image, own, head);
    ${eachFour("out_put(to, c, sum[c] / total);")}
    let at = 2u * stat_of(image, own, head);
    stats[at] = most;
    stats[at + 1u] = 1.0 / total;
  }`,
      ),
    groups: groupsOf(s),
    flops: 4 * d * pairsOf(s, mask),
  });
  return [out, stats];
}

function gradient({ qkv, out, stats, dout }: Backward, s: Sizes, mask?: GpuMask): tf.TensorInfo {
  const { n, t, h, d } = s;
  const dqkv = webgpu().allocate(qkv.shape, "float32", d % 4 === 0 && halfWanted(qkv.shape));
  // rowsum(dO * O) of each query.
  const deltas = webgpu().allocate([n, h, t]);
  const common = {
    qkv: fours("qkv", qkv, d),
    dout: fours("dout", dout, d),
    dqkv: fours("dqkv", dqkv, d, true),
  };
  const forQueries = join({ ...common, out: fours("out", out, d) });
  launch({
    name: "attention gradient: queries",
    numbers: numbersOf(s),
    bind: { ...forQueries.bind, stats: reads(stats), deltas: writes(deltas), ...bindMask(mask) },
    code:
      forQueries.code +
      kernelCode(
        s,
        mask,
        `var q = array<vec4f, FOURS>();
  var dq = array<vec4f, FOURS>();
  var g = array<vec4f, FOURS>();
  var delta = 0.0;
  var most = 0.0;
  var share = 0.0;
  let q0 = part_of(image, own, 0u, head);
  if (there) {
    let o0 = out_of(image, own, head);
    ${eachFour("q[c] = qkv_four(q0, c) * its.scaleF; g[c] = dout_four(o0, c); delta += dot(g[c], out_four(o0, c));")}
    let at = stat_of(image, own, head);
    deltas[at] = delta;
    most = stats[2u * at];
    share = stats[2u * at + 1u];
  }
  ${throughTiles(
    keysSeen(mask),
    "qkv_four(part_of(image, token, 1u, head), c)",
    "qkv_four(part_of(image, token, 2u, head), c)",
    `var score = 0.0;
        var dp = 0.0;
        ${eachFour("score += dot(q[c], firsts[row + c]); dp += dot(g[c], seconds[row + c]);")}
        let ds = exp(score - most) * share * (dp - delta);
        ${eachFour("dq[c] += ds * firsts[row + c];")}`,
  )}
  if (there) { ${eachFour("dqkv_put(q0, c, dq[c] * its.scaleF);")} }`,
      ),
    groups: groupsOf(s),
    flops: 6 * d * pairsOf(s, mask),
  });
  const forKeys = join(common);
  launch({
    name: "attention gradient: keys and values",
    numbers: numbersOf(s),
    bind: { ...forKeys.bind, stats: reads(stats), deltas: reads(deltas), ...bindMask(mask) },
    code:
      forKeys.code +
      `var<workgroup> mosts: array<f32, ${tileOf(s)}>;
var<workgroup> shares: array<f32, ${tileOf(s)}>;
var<workgroup> means: array<f32, ${tileOf(s)}>;` +
      kernelCode(
        s,
        mask,
        `var k = array<vec4f, FOURS>();
  var v = array<vec4f, FOURS>();
  var dk = array<vec4f, FOURS>();
  var dv = array<vec4f, FOURS>();
  let k0 = part_of(image, own, 1u, head);
  let v0 = part_of(image, own, 2u, head);
  if (there) { ${eachFour("k[c] = qkv_four(k0, c); v[c] = qkv_four(v0, c);")} }
  ${throughTiles(
    queriesSeeing(mask),
    "qkv_four(part_of(image, token, 0u, head), c) * its.scaleF",
    "dout_four(out_of(image, token, head), c)",
    `var score = 0.0;
        var dp = 0.0;
        ${eachFour("score += dot(k[c], firsts[row + c]); dp += dot(v[c], seconds[row + c]);")}
        let p = exp(score - mosts[j]) * shares[j];
        let ds = p * (dp - means[j]);
        ${eachFour("dk[c] += ds * firsts[row + c]; dv[c] += p * seconds[row + c];")}`,
    `if (local < TILE && first + local < u32(TOKENS)) {
      let at = stat_of(image, first + local, head);
      mosts[local] = stats[2u * at];
      shares[local] = stats[2u * at + 1u];
      means[local] = deltas[at];
    }`,
  )}
  if (there) { ${eachFour("dqkv_put(k0, c, dk[c]); dqkv_put(v0, c, dv[c]);")} }`,
      ),
    groups: groupsOf(s),
    flops: 8 * d * pairsOf(s, mask),
  });
  webgpu().disposeData(deltas.dataId);
  return dqkv;
}

/** How attention is computed: on tensor cores in mixed precision, where the device has shown that they are right. */
function forwardAsBest(qkv: tf.TensorInfo, s: Sizes): tf.TensorInfo[] {
  if (halfMode() && webgpu().isHalf(qkv)) tuning().heardProof?.(proofOf({ forward, gradient }, s));
  const cores = coresFor(s, false, [qkv]);
  return cores ? forwardOnCores(qkv, s, cores) : forward(qkv, s);
}

function gradientAsBest(of: Backward, s: Sizes): tf.TensorInfo {
  const cores = coresFor(s, true, [of.qkv, of.out, of.dout]);
  return cores ? gradientOnCores(of, s, cores) : gradient(of, s);
}

/** Masked attention has no variant for tensor cores: it is that of texts, whose tokens are few. */
const maskOf = ({ lengths }: Lengths, { causal = false }: AttentionAttrs): GpuMask | undefined =>
  causal || lengths ? { causal, lengths } : undefined;

export function registerAttentionWebgpu(): void {
  const register = registerOn("webgpu");
  const forwardOf = (inputs: Tensors<"qkv"> & Lengths, attrs: AttentionAttrs) => {
    const mask = maskOf(inputs, attrs);
    const s = sizesOf(inputs.qkv, attrs.heads);
    return mask ? forward(inputs.qkv, s, mask) : forwardAsBest(inputs.qkv, s);
  };
  register(ATTENTION, forwardOf);
  register(ATTENTION_OF_LENGTHS, forwardOf);
  register(ATTENTION_GRAD, (inputs: Backward & Lengths, attrs: AttentionAttrs) => {
    const mask = maskOf(inputs, attrs);
    const s = sizesOf(inputs.qkv, attrs.heads);
    return mask ? gradient(inputs, s, mask) : gradientAsBest(inputs, s);
  });
}
