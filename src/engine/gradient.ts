/** Norms of a step's gradient by layer: the first and the last ones are where instability shows (MoCo v3, section 4.1). */
import { depthOf } from "../nn/encoders/index.ts";
import type { Layout } from "../nn/layout.ts";
import type { TrainSpec } from "../schema/pretrain.ts";
import { schemaOfTraining } from "./metrics.ts";

/** Whether a step needs the sum of squares of each tensor's gradient. */
export const needsSquares = (spec: TrainSpec): boolean =>
  spec.optimizer.clip !== undefined || schemaOfTraining(spec).watchesGradient === true;

/** Of a tensor: it is of the backbone's first trained layer, of its last block. */
export const [FIRST, LAST] = [1, 2];

/**
 * By tensor of the layout: FIRST, LAST, both or neither. The first layer is the stem or, where that is frozen, the first block; the
 * last one is the last block or stage.
 */
export function watchedLayers({ encoder }: TrainSpec, { entries }: Layout): Int32Array {
  const depths = entries.map(({ name, part, axes, frozen }) => {
    // A class token and positions are no layer's.
    if (part !== "backbone" || frozen || !name.includes(".")) return undefined;
    return { depth: depthOf(encoder, name).depth, weight: axes !== "plain" };
  });
  const withWeights = depths.flatMap((of) => (of?.weight ? [of.depth] : []));
  const [first, last] = [Math.min(...withWeights), Math.max(...withWeights)];
  return Int32Array.from(depths, (of) => (of?.depth === first ? FIRST : 0) | (of?.depth === last ? LAST : 0));
}

/** In the order of `gradientFigures`. `squares`: of each tensor. */
export function watchedNorms(squares: Float64Array, layers: Int32Array): number[] {
  const norm = (of: number) => {
    let sum = 0;
    squares.forEach((square, i) => {
      if (((layers[i] as number) & of) === of) sum += square;
    });
    return Math.sqrt(sum);
  };
  return [norm(0), norm(FIRST), norm(LAST)];
}
