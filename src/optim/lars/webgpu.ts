import type * as tf from "@tensorflow/tfjs-core";
import { launch, reads, webgpu, writes } from "../../backend/webgpu.ts";
import { BLOCK, clipped, type Flat, launchFlat, type Segments, type UpdateSettings } from "../flat.ts";
import { TRUST } from "./index.ts";

/** `lars` of index.ts over all parameters. */
export function launchLars(flat: Flat, segments: Segments, settings: UpdateSettings): void {
  const trust = larsTrust(flat, segments);
  launchFlat(
    "LARS",
    flat,
    settings,
    `let segment = u32(segments[i / ${BLOCK}u]);
  let decayed = select(0.0, decay, trust[2u * segment + 1u] != 0.0);
  let v = its.momentumF * first[i] + trust[2u * segment] * (g + decayed * p);
  first[i] = v;
  params[i] = p - lr * v;`,
    { trust: reads(trust), segments: reads(segments.ofBlock, "i32") },
  );
  webgpu().disposeData(trust.dataId);
}

/** f32[T, 2]: each tensor's factor, and whether it is decayed. A workgroup adds up one tensor. */
function larsTrust({ params, gradient, scalars, clip }: Flat, { table }: Segments): tf.TensorInfo {
  const count = table.shape[0] as number;
  const trust = webgpu().allocate([count, 2]);
  launch({
    name: "LARS: trust",
    bind: {
      params: reads(params),
      gradient: reads(gradient),
      scalars: reads(scalars),
      table: reads(table, "i32"),
      trust: writes(trust),
      ...(clip && { clip_factor: reads(clip) }),
    },
    code: `
var<workgroup> sums: array<vec2f, 256>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let begin = u32(table[group.x * 3u]);
  let end = begin + u32(table[group.x * 3u + 1u]);
  let scaled = table[group.x * 3u + 2u] != 0;
  var sum = vec2f();
  for (var i = begin + local; i < end; i += 256u) {
    let u = gradient[i]${clipped(clip)} + scalars[3] * params[i];
    sum += vec2f(params[i] * params[i], u * u);
  }
  sums[local] = sum;
  for (var half = 128u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { sums[local] += sums[local + half]; }
  }
  if (local > 0u) { return; }
  let length = sqrt(sums[0]);
  var factor = 1.0;
  if (scaled && length.x > 0.0 && length.y > 0.0) { factor = ${TRUST} * length.x / length.y; }
  trust[group.x * 2u] = factor;
  trust[group.x * 2u + 1u] = select(0.0, 1.0, scaled);
}`,
    groups: [count],
  });
  return trust;
}
