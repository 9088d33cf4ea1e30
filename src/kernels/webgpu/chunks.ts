import type * as tf from "@tensorflow/tfjs-core";
import { launch, reads, webgpu, writes } from "../../backend/webgpu.ts";
import type { PartialSums } from "./column_sums.ts";

/** f32[C] of each term: the chunks of `columnSums` over one group, added up in their order. The parts are freed. */
export function addChunks(name: string, { parts, chunks }: PartialSums): tf.TensorInfo[] {
  const [, , terms, channels] = parts.shape as [number, number, number, number];
  const sums = Array.from({ length: terms }, () => webgpu().allocate([channels]));
  const names = sums.map((_, term) => `sum${term}`);
  launch({
    name,
    numbers: { CHANNELS: channels, CHUNKS: chunks },
    bind: { parts: reads(parts), ...Object.fromEntries(sums.map((sum, term) => [names[term] as string, writes(sum)])) },
    code: `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x;
  if (c >= u32(CHANNELS)) { return; }
  var sums = array<f32, ${terms}>();
  for (var chunk = 0u; chunk < u32(CHUNKS); chunk++) {
    for (var term = 0u; term < ${terms}u; term++) { sums[term] += parts[(chunk * ${terms}u + term) * u32(CHANNELS) + c]; }
  }
  ${names.map((sum, term) => `${sum}[c] = sums[${term}];`).join(" ")}
}`,
    groups: [Math.ceil(channels / 64)],
  });
  webgpu().disposeData(parts.dataId);
  return sums;
}
