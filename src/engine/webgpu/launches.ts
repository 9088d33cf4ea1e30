/** Small kernels of a step around those of tfjs: rows from place to place, gradients into one buffer, the log. */
import type * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, reads, writes } from "../../backend/webgpu.ts";
import { FIRST, LAST } from "../gradient.ts";

/** Tensors of one launch of `launchGather`: what is bound at once is limited. */
const GATHERED = 6;

/**
 * Copies tensors to their places, in floats, in a flat buffer, times `factor`; several to a launch. `more`: adds them to what
 * is there.
 */
export function launchGather(
  parts: readonly { tensor: tf.Tensor; offset: number }[],
  to: tf.Tensor,
  factor = 1,
  more = false,
): void {
  for (let first = 0; first < parts.length; first += GATHERED) {
    const some = parts.slice(first, first + GATHERED);
    const sizes = some.map(({ tensor }) => tensor.size);
    const ends = sizes.map((_, i) => sizes.slice(0, i + 1).reduce((a, b) => a + b));
    const numbers = Object.fromEntries(
      some.flatMap(({ offset }, i) => [
        [`end${i}`, ends[i] as number],
        [`offset${i}`, offset],
      ]),
    );
    const branches = some.map((_, i) => {
      const begin = i === 0 ? "0u" : `its.end${i - 1}`;
      const value = `part${i}[i - ${begin}] * its.factorF`;
      return `if (i < its.end${i}) { whole[its.offset${i} + i - ${begin}] ${more ? "+=" : "="} ${value}; return; }`;
    });
    launch({
      name: "gather",
      numbers: { ...numbers, factorF: factor },
      bind: {
        ...Object.fromEntries(some.map(({ tensor }, i) => [`part${i}`, reads(tensor)])),
        whole: writes(to),
      },
      code: lineKernel(`its.end${some.length - 1}`, 256, branches.join("\n  ")),
      groups: folded(ends.at(-1) as number, 256),
    });
  }
}

/** Rows of f32[R, C] to or from places: to[places[i] % rows(to)] = from[i] (`scatter`), or to[i] = from[places[i]]. */
export function launchRows(kind: "scatter" | "gather", from: tf.Tensor, places: tf.Tensor, to: tf.Tensor): void {
  const c = from.shape[1] as number;
  const rows = places.size;
  const line =
    kind === "scatter"
      ? "after[place * its.c + i % its.c] = before[i];"
      : "after[i] = before[place * its.c + i % its.c];";
  launch({
    name: `${kind} rows`,
    numbers: { c, rows },
    bind: { before: reads(from), places: reads(places, "i32"), after: writes(to) },
    code: lineKernel("its.rows * its.c", 64, `let place = u32(places[i / its.c]); ${line}`),
    groups: folded(rows * c, 64),
  });
}

/**
 * Keeps a step's loss, times `factor`, and its metrics f32[M], times `share`, first in row counters[0] of a log f32[.., figures].
 * `more`: adds them to what is there.
 */
export function launchLog(
  { loss, metrics }: { loss: tf.Tensor; metrics: tf.Tensor },
  into: tf.Tensor,
  counters: tf.Tensor,
  { factor, share, more }: { factor: number; share: number; more: boolean },
): void {
  const width = 1 + metrics.size;
  launch({
    name: "log",
    numbers: { factorF: factor, shareF: share, width, stride: into.shape[1] as number },
    bind: { loss: reads(loss), metrics: reads(metrics), counters: reads(counters, "i32"), into: writes(into) },
    code: lineKernel(
      "its.width",
      16,
      `var v = loss[0] * its.factorF;
  if (i > 0u) { v = metrics[i - 1u] * its.shareF; }
  into[u32(counters[0]) * its.stride + i] ${more ? "+=" : "="} v;`,
    ),
    groups: folded(width, 16),
  });
}

/** Keeps norms of a gradient, see `watchedNorms`, last in row counters[0] of a log. squares f32[T], layers i32[T] */
export function launchGradientLog(squares: tf.Tensor, layers: tf.Tensor, into: tf.Tensor, counters: tf.Tensor): void {
  const stride = into.shape[1] as number;
  launch({
    name: "log of the gradient",
    numbers: { count: squares.size, stride },
    bind: {
      squares: reads(squares),
      layers: reads(layers, "i32"),
      counters: reads(counters, "i32"),
      into: writes(into),
    },
    code: lineKernel(
      "3u",
      16,
      `let layer = array<i32, 3>(0, ${FIRST}, ${LAST})[i];
  var sum = 0.0;
  for (var t = 0u; t < its.count; t++) { if ((layers[t] & layer) == layer) { sum += squares[t]; } }
  into[u32(counters[0]) * its.stride + its.stride - 3u + i] = sqrt(sum);`,
    ),
    groups: [1],
  });
}
