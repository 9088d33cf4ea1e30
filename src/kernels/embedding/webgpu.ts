/**
 * Token embedding on WebGPU: a thread has one vector of the output or of the table's gradient. Frequent tokens (the first and
 * the last of every text, padding) would make some of those sums thousands of times as long as others, so places sorted by
 * token are cut into blocks: where a block begins amid a token's places, their sum in it is taken beforehand.
 */
import * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, reads, webgpu } from "../../backend/webgpu.ts";
import { registerOn, type Tensors } from "../register.ts";
import { type Access, access, join, vectorOf, widthOf } from "../webgpu/access.ts";
import { halfWanted } from "../webgpu/precision.ts";
import { EMBED_TOKENS, EMBED_TOKENS_GRAD, type EmbedTokensAttrs } from "./index.ts";
import { type Places, placesByToken } from "./places.ts";

const THREADS = 256;
/** Places of a block. */
const BLOCK = 64;

function forward({ table, tokens }: Tensors<"table" | "tokens">): tf.TensorInfo {
  const [vocabulary, channels] = table.shape as [number, number];
  const shape = [...tokens.shape, channels];
  const y = webgpu().allocate(shape, "float32", halfWanted(shape));
  const width = widthOf(channels);
  const size = tf.util.sizeFromShape(shape);
  const { bind, code } = join({ table: access(width, "table", table), y: access(width, "y", y, true) });
  launch({
    name: "token embedding",
    numbers: { ALL: size / width, VECTORS: channels / width, VOCABULARY: vocabulary },
    bind: {
      table: { ...(bind.table as Access["bound"]), bytes: 4 * size },
      y: bind.y as Access["bound"],
      tokens: reads(tokens, "i32"),
    },
    code:
      code +
      lineKernel(
        "u32(ALL)",
        THREADS,
        `let token = u32(tokens[i / u32(VECTORS)]);
  var v = ${vectorOf(width)}();
  if (token < u32(VOCABULARY)) { v = table_at(token * u32(VECTORS) + i % u32(VECTORS)); }
  y_set(i, v);`,
      ),
    groups: folded(size / width, THREADS),
  });
  return y;
}

/** WGSL: adds to `sum` the vectors `c` of dy at the places from `from` to `to` of the order. */
const addPlaces = (from: string, to: string): string =>
  `for (var at = ${from}; at < ${to}; at++) { sum += dy_at(order[at] * u32(VECTORS) + c); }`;

/** f32[blocks, C]: where a block begins amid a token's places, the sum over those that are in it; else nothing. */
function sumsOfBlocks(dy: tf.TensorInfo, { order, sorted, starts }: Places, vocabulary: number): tf.TensorInfo {
  const channels = dy.shape.at(-1) as number;
  const width = widthOf(channels);
  const blocks = Math.ceil((order.shape[0] as number) / BLOCK);
  const parts = webgpu().allocate([blocks, channels]);
  const { bind, code } = join({ dy: access(width, "dy", dy), parts: access(width, "parts", parts, true) });
  const all = (blocks * channels) / width;
  launch({
    name: "token embedding gradient: blocks",
    numbers: { ALL: all, VECTORS: channels / width, VOCABULARY: vocabulary },
    bind: { ...bind, order: reads(order, "u32"), sorted: reads(sorted, "u32"), starts: reads(starts, "u32") },
    code:
      code +
      lineKernel(
        "u32(ALL)",
        THREADS,
        `let c = i % u32(VECTORS);
  let first = i / u32(VECTORS) * ${BLOCK}u;
  let token = sorted[first];
  if (token >= u32(VOCABULARY) || starts[token] == first) { return; }
  var sum = ${vectorOf(width)}();
  ${addPlaces("first", `min(first + ${BLOCK}u, starts[token + 1u])`)}
  parts_set(i, sum);`,
      ),
    groups: folded(all, THREADS),
  });
  return parts;
}

function gradient({ tokens, dy }: Tensors<"tokens" | "dy">, { vocabulary }: EmbedTokensAttrs): tf.TensorInfo {
  const channels = dy.shape.at(-1) as number;
  const width = widthOf(channels);
  const places = placesByToken(tokens, vocabulary);
  const parts = sumsOfBlocks(dy, places, vocabulary);
  const dtable = webgpu().allocate([vocabulary, channels]);
  const { bind, code } = join({
    dy: access(width, "dy", dy),
    parts: access(width, "parts", parts),
    dtable: access(width, "dtable", dtable, true),
  });
  const all = (vocabulary * channels) / width;
  launch({
    name: "token embedding gradient",
    numbers: { ALL: all, VECTORS: channels / width },
    bind: { ...bind, order: reads(places.order, "u32"), starts: reads(places.starts, "u32") },
    code:
      code +
      lineKernel(
        "u32(ALL)",
        THREADS,
        `let c = i % u32(VECTORS);
  let token = i / u32(VECTORS);
  let first = starts[token];
  let last = starts[token + 1u];
  let edge = min(last, (first / ${BLOCK}u + 1u) * ${BLOCK}u);
  var sum = ${vectorOf(width)}();
  ${addPlaces("first", "edge")}
  for (var at = edge; at < last; at += ${BLOCK}u) { sum += parts_at(at / ${BLOCK}u * u32(VECTORS) + c); }
  dtable_set(i, sum);`,
      ),
    groups: folded(all, THREADS),
  });
  for (const { dataId } of [...Object.values(places), parts]) webgpu().disposeData(dataId);
  return dtable;
}

export function registerEmbeddingWebgpu(): void {
  const register = registerOn("webgpu");
  register(EMBED_TOKENS, forward);
  register(EMBED_TOKENS_GRAD, gradient);
}
