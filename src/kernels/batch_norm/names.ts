export const TRAIN = "MocodBatchNormTrain";
export const NORMALISE = "MocodBatchNormEval";
export const GRAD = "MocodBatchNormGrad";

export interface NormAttrs {
  readonly epsilon: number;
  /** Fuse max(0, .) behind the addition. */
  readonly relu: boolean;
  /** Whether a residual is added before the ReLU. */
  readonly residual: boolean;
}
