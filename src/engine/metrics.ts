/** What a step measures, and where a run stands. */
import type { MethodSchema } from "../schema/methods/method.ts";
import { supervisedSchema } from "../schema/methods/supervised.ts";
import { type AnyMethodSchema, schemaOf, type TrainSpec } from "../schema/pretrain.ts";

/** The schema of what is trained, supervised training included. */
export const schemaOfTraining = ({
  method,
}: TrainSpec): Pick<MethodSchema<never>, "metrics" | "watchesGradient"> | AnyMethodSchema =>
  method === "supervised" ? supervisedSchema : schemaOf(method);

/** Norm of the whole gradient, of the backbone's first trained layer, and of its last block, see `gradient.ts`. */
const gradientFigures = ["gradientNorm", "gradientFirst", "gradientLast"] as const;

/** Names of what a loss gives: `loss`, then the method's metrics in their order. */
export const lossFiguresOf = (spec: TrainSpec): readonly string[] => ["loss", ...schemaOfTraining(spec).metrics];

/** Names of what is measured of every step: those of its loss, then, where the method watches them, norms of the gradient. */
export const figuresOf = (spec: TrainSpec): readonly string[] => [
  ...lossFiguresOf(spec),
  ...(schemaOfTraining(spec).watchesGradient ? gradientFigures : []),
];

/** By the names of `figuresOf`. */
export type StepMetrics = Readonly<Record<string, number>>;

/** Where a run stands. Saved beside the state. Means over an epoch are sums over its steps so far, so that a resumed epoch reports the same. */
export interface Position {
  /** Steps done. */
  step: number;
  /** Of each ring: the place of its oldest row. */
  pointers: Record<string, number>;
  sums: Record<string, number>;
  /** kNN accuracy of the encoder before the first step; null where it was not measured. */
  untrainedKnn: number | null;
  /** Figures of each step of the epoch so far, in the order of `figuresOf`. */
  series: number[][];
  /** See `Engine`. */
  passes?: number;
  /** Best kNN so far, where the method looks for its dips. */
  bestKnn?: number;
}

export const startPosition = (spec: TrainSpec, rings: readonly string[]): Position => ({
  step: 0,
  pointers: Object.fromEntries(rings.map((ring) => [ring, 0])),
  sums: noSums(spec),
  untrainedKnn: null,
  series: [],
});

const noSums = (spec: TrainSpec): Record<string, number> =>
  Object.fromEntries(figuresOf(spec).map((name) => [name, 0]));

export function startEpoch(position: Position, spec: TrainSpec): void {
  position.sums = noSums(spec);
  position.series = [];
}
