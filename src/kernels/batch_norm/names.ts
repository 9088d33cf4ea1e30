export const TRAIN = "MocodBatchNormTrain";
export const NORMALISE = "MocodBatchNormEval";
export const GRAD = "MocodBatchNormGrad";

export interface NormAttrs {
  readonly epsilon: number;
  /** Fuse max(0, .) behind the addition. */
  readonly relu: boolean;
  /** Whether a residual is added before the ReLU. */
  readonly residual: boolean;
  /** Groups of rows, in order and equally many, each of which is normalised by itself. */
  readonly groups: number;
}

/** Of mean and variance. */
export const statsShape = (groups: number, channels: number): number[] =>
  groups === 1 ? [channels] : [groups, channels];
