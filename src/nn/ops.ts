/**
 * What an encoder is written in. A topology is one function over these operations, and what it means depends on who
 * interprets it: `network.ts` declares its parameters and runs it on tensors, `onnx/` writes it as a graph.
 */
import type { Init } from "./layout.ts";

export interface NormLayer<T> {
  readonly channels: number;
  readonly relu?: boolean | undefined;
  readonly affine?: boolean | undefined;
  readonly residual?: (() => T) | undefined;
  /** Its gain starts at 0 in place of 1. */
  readonly zeroInit?: boolean | undefined;
}

export interface LinearLayer {
  readonly from: number;
  readonly to: number;
  readonly bias: boolean;
  /** Whether the GELU is taken. */
  readonly gelu?: boolean;
  /** Unset: PyTorch's. */
  readonly init?: Init;
  readonly biasInit?: Init;
}

export interface PatchesLayer {
  /** Side of a patch. */
  readonly size: number;
  readonly from: number;
  readonly to: number;
  readonly init: Init;
  readonly biasInit: Init;
  /** Weight and bias stay as they are. */
  readonly frozen: boolean;
}

export interface Placing {
  readonly width: number;
  /** Tokens in a row of the image. */
  readonly grid: number;
  readonly position: "sincos" | "learned" | "none";
  /** Whether there is a class token. */
  readonly token: boolean;
  /** Of the class token. */
  readonly init: Init;
}

/** timm's, and MoCo v3's. */
export const LAYER_NORM_EPSILON = 1e-6;

export interface Ops<T> {
  /** Convolution without bias, padded by (size - 1) / 2. [N,H,W,from] -> [N,H/stride,W/stride,to] */
  conv(name: string, x: T, of: { size: number; from: number; to: number; stride: number; init?: Init }): T;
  /**
   * Batch norm over the last axis of `channels`, then the residual is added, then the ReLU is taken. The residual is a
   * function, so that its own parameters are declared after those of this norm, as torchvision does.
   */
  norm(name: string, x: T, of: NormLayer<T>): T;
  /** [...,from] -> [...,to] */
  linear(name: string, x: T, of: LinearLayer): T;
  relu(name: string, x: T): T;
  /** 3x3, stride 2, padding 1. */
  maxPool(x: T): T;
  /** Square patches of images, each projected. [N,S,S,from] -> [N,(S/size)^2,to] */
  patches(name: string, x: T, of: PatchesLayer): T;
  /** A class token first, where one is wanted, then positions are added. [N,grid^2,width] -> [N,T,width] */
  place(x: T, of: Placing): T;
  /** Over the last axis. `epsilon` unset: that of `LAYER_NORM_EPSILON`. */
  layerNorm(name: string, x: T, channels: number, epsilon?: number): T;
  /**
   * Self-attention of queries, keys and values that lie side by side. Tokens of a text do not see its padding, nor, where it is
   * causal, those after them. [N,T,3C] -> [N,T,C]
   */
  attention(qkv: T, of: { heads: number; width: number; text?: { causal: boolean } }): T;
  /**
   * The sum of `x` and branch number `branch` of the residual ones, which some images may skip in training; unset: none does.
   * `name` is the result's.
   */
  add(name: string, x: T, y: T, branch?: number): T;
  /** Embeddings of tokens and of their places. [N,L] -> [N,L,width] */
  embedTokens(tokens: T, of: { vocabulary: number; context: number; width: number }): T;
  /** Of a text's tokens the last one, or the mean of all, without padding. [N,L,C] -> [N,C] */
  poolTokens(x: T, of: { causal: boolean }): T;
  /** [N,T,C] -> [N,C] */
  firstToken(x: T): T;
  /** [N,T,C] -> [N,C] */
  meanTokens(x: T): T;
  /** Features side by side. [N,C] each -> [N,C * xs.length] */
  concat(xs: readonly T[]): T;
  /** Global average pooling. [N,H,W,C] -> [N,C] */
  meanPlaces(x: T): T;
  /** The first layers: what they compute besides their result is freed after them. `x` stays the caller's. */
  stem(x: T, layers: (x: T) => T): T;
  /** One block of a deep network, like `stem`, but `x` is freed as well. */
  block(x: T, layers: (x: T) => T): T;
}
