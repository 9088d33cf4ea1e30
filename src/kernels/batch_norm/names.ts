export const TRAIN = "MocodBatchNormTrain";
export const NORMALISE = "MocodBatchNormEval";
export const GRAD = "MocodBatchNormGrad";

/** Threads that hold the parts of one batch, which is normalised as a whole (WASM alone). */
export interface NormMeeting {
  /** Parts of the batch, equally large. */
  readonly parts: number;
  /** Waits for all parts. f64[n] of this one -> f64[parts, n] of all, in their order. */
  gather(own: Float64Array): Float64Array;
}

export interface NormAttrs {
  readonly epsilon: number;
  /** Fuse max(0, .) behind the addition. */
  readonly relu: boolean;
  /** Whether a residual is added before the ReLU. */
  readonly residual: boolean;
  /** Groups of rows, in order and equally many, each of which is normalised by itself. */
  readonly groups: number;
  /** Whether gamma and beta are parameters; else they are 1 and 0, and have no gradient. */
  readonly affine: boolean;
  /** Unset: the rows are the whole batch, or all of each group. With it there is one group. */
  readonly meeting?: NormMeeting | undefined;
}

/** Of mean and variance. */
export const statsShape = (groups: number, channels: number): number[] =>
  groups === 1 ? [channels] : [groups, channels];
