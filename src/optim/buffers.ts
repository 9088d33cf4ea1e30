/** What every optimiser works on: ranges of flat buffers, so that threads share the parameters without copies. */

/** Flat f32 buffers of equal length; `second` is empty where the optimiser has no second moment. */
export interface Buffers {
  readonly params: Float32Array;
  readonly first: Float32Array;
  readonly second: Float32Array;
  readonly gradient: Float32Array;
}

export interface Range {
  readonly from: number;
  readonly to: number;
}

export interface Hyper {
  readonly lr: number;
  readonly momentum: number;
  readonly beta2: number;
  readonly weightDecay: number;
  /** Factor of the gradient, see `clip/`. */
  readonly clip: number;
  /** Updates done before this one, for AdamW's bias correction. */
  readonly step: number;
}
