/** The specs that bench/methods.ts and bench/search.ts compare: preset `small`, an equal number of encoded images. */
import { directionsOf } from "../src/engine/units.ts";
import { methodOf } from "../src/methods/index.ts";
import { parseSpec } from "../src/schema/job.ts";
import type { PretrainSpec } from "../src/schema/pretrain.ts";

export interface Comparison {
  /** `fashion-mnist`, or a tar of training images. */
  readonly dataset: string;
  /** A tar of test images. */
  readonly test?: string | undefined;
  readonly images: number;
  /** Encoded images for each image of the dataset: MoCo encodes two a step, BYOL four. */
  readonly budget: number;
}

/** @param fields take the place of the preset's. */
export function comparedSpec(of: Comparison, method: string, seed: number, fields: object = {}): PretrainSpec {
  const isFashion = of.dataset === "fashion-mnist";
  const spec = parseSpec("pretrain", {
    method,
    preset: "small",
    dataset: isFashion
      ? { kind: "fashion-mnist", images: of.images }
      : { kind: "tar", path: of.dataset, test: of.test, images: of.images },
    augmentation: { size: isFashion ? 28 : 32, ...(isFashion ? { flip: 0, cropScale: [0.4, 1], blur: 0.5 } : {}) },
    ...(isFashion && !method.startsWith("moco") ? { secondView: { blur: 0.5, solarise: 0 } } : {}),
    monitor: { everyEpochs: 0 },
    seed,
    ...fields,
  });
  const encoded = directionsOf(spec) * (methodOf(spec).targets ? 2 : 1);
  return { ...spec, epochs: Math.max(1, Math.round(of.budget / encoded)) };
}
