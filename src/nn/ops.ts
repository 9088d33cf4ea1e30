/**
 * What an encoder is written in. A topology is one function over these operations, and what it means depends on who
 * interprets it: `network.ts` declares its parameters and runs it on tensors, `onnx.ts` writes it as a graph.
 */

export interface Ops<T> {
  /** Convolution without bias, padded by (size - 1) / 2. [N,H,W,from] -> [N,H/stride,W/stride,to] */
  conv(name: string, x: T, sizes: { size: number; from: number; to: number; stride: number }): T;
  /**
   * Batch norm over the last axis of `channels`, then the residual is added, then the ReLU is taken. The residual is a
   * function, so that its own parameters are declared after those of this norm, as torchvision does.
   */
  norm(name: string, x: T, of: { channels: number; relu?: boolean; affine?: boolean; residual?: () => T }): T;
  /** [N,from] -> [N,to] */
  linear(name: string, x: T, of: { from: number; to: number; bias: boolean }): T;
  relu(name: string, x: T): T;
  /** 3x3, stride 2, padding 1. */
  maxPool(x: T): T;
  /** Global average pooling. [N,H,W,C] -> [N,C] */
  meanPlaces(x: T): T;
  /** The first layers: what they compute besides their result is freed after them. `x` stays the caller's. */
  stem(x: T, layers: (x: T) => T): T;
  /** One block of a deep network, like `stem`, but `x` is freed as well. */
  block(x: T, layers: (x: T) => T): T;
}
