/** Sums over rows, channel by channel and group by group: what batch norm is made of. In two launches, in a fixed order. */
import type * as tf from "@tensorflow/tfjs-core";
import { launch, webgpu, writes } from "../../backend/webgpu.ts";
import { type Access, join, vectorOf } from "./access.ts";

export interface ColumnSums {
  readonly name: string;
  readonly accesses: Readonly<Record<string, Access>>;
  readonly groups: number;
  /** Rows of one group. */
  readonly rows: number;
  readonly channels: number;
  readonly width: 1 | 4;
  /** How many sums. */
  readonly terms: number;
  /** WGSL, once for a channel of a group: may use `group`, `c`, `at`, its first element, and VECTORS, all in vectors. */
  readonly prepare: string;
  /** WGSL: adds to `sums[0]`, `sums[1]`, … what the element at `at` contributes. */
  readonly add: string;
}

const THREADS = 256;
/** Workgroups that fill a GPU; more chunks than that only make the second launch longer, which adds them up one by one. */
const WORKGROUPS = 512;
/** Rows of a thread at the least. */
const SHORTEST = 4;

export interface PartialSums {
  /** f32[groups, chunks, terms, C] */
  readonly parts: tf.TensorInfo;
  readonly chunks: number;
}

/** The first of the launches; the second adds up the chunks, with whatever is to be done with the sums. */
export function columnSums({
  name,
  accesses,
  groups,
  rows,
  channels,
  width,
  terms,
  prepare,
  add,
}: ColumnSums): PartialSums {
  const vectors = channels / width;
  let across = 1;
  while (across < 64 && across < vectors) across *= 2;
  const down = THREADS / across;
  const wanted = Math.ceil(WORKGROUPS / (groups * Math.ceil(vectors / across)));
  const chunks = Math.max(1, Math.min(wanted, Math.ceil(rows / (down * SHORTEST))));
  const length = Math.ceil(rows / chunks);
  const parts = webgpu().allocate([groups, chunks, terms, channels]);
  const { bind, code } = join(accesses);
  const vector = vectorOf(width);
  const each = (line: (term: number) => string) => Array.from({ length: terms }, (_, term) => line(term)).join(" ");
  launch({
    name,
    numbers: { VECTORS: vectors, ACROSS: across, DOWN: down, ROWS: rows, LENGTH: length, CHUNKS: chunks },
    bind: { ...bind, parts: writes(parts, vector as "f32") },
    code: `
${code}
var<workgroup> shared_: array<${vector}, ${THREADS * terms}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
  let across = u32(ACROSS);
  let c = id.x * across + local % across;
  let group = id.z;
  var sums = array<${vector}, ${terms}>();
  if (c < u32(VECTORS)) {
    var at = group * u32(ROWS) * u32(VECTORS) + c;
    ${prepare}
    for (var row = id.y * u32(LENGTH) + local / across; row < min(u32(ROWS), (id.y + 1u) * u32(LENGTH)); row += u32(DOWN)) {
      at = (group * u32(ROWS) + row) * u32(VECTORS) + c;
      ${add}
    }
  }
  ${each((term) => `shared_[${term * THREADS}u + local] = sums[${term}];`)}
  for (var half = u32(DOWN) / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half * across) {
      ${each((term) => `shared_[${term * THREADS}u + local] += shared_[${term * THREADS}u + local + half * across];`)}
    }
  }
  if (local < across && c < u32(VECTORS)) {
    ${each((term) => `parts[((group * u32(CHUNKS) + id.y) * ${terms}u + ${term}u) * u32(VECTORS) + c] = shared_[${term * THREADS}u + local];`)}
  }
}`,
    groups: [Math.ceil(vectors / across), chunks, groups],
  });
  return { parts, chunks };
}
