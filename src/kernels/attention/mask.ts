/**
 * WGSL of a mask. A workgroup goes only through tiles that one of its threads needs, and through none where all its tokens are
 * padding. Bounds of those loops hold for the whole workgroup, which waits at barriers inside; a thread's own are in `range`.
 */
import type * as tf from "@tensorflow/tfjs-core";
import { type Bound, reads } from "../../backend/webgpu.ts";

/** Threads of a workgroup, each with a token of its own. */
export const THREADS = 64;

export interface GpuMask {
  readonly causal: boolean;
  /** i32[N] */
  readonly lengths: tf.TensorInfo | undefined;
}

/** Expressions of WGSL: which tokens a workgroup goes through, and which of a tile a thread does. */
export interface Range {
  readonly begin: string;
  readonly end: string;
  /** Whether the thread needs any of the tile. */
  readonly ready: string;
  readonly from: string;
  readonly to: string;
}

const whole: Range = {
  begin: "0u",
  end: "u32(TOKENS)",
  ready: "there",
  from: "0u",
  to: "min(TILE, u32(TOKENS) - first)",
};

export const bindMask = (mask: GpuMask | undefined): Record<string, Bound> =>
  mask?.lengths ? { lengths: reads(mask.lengths, "i32") } : {};

/**
 * WGSL at the beginning of a kernel: `count` tokens of the image count, `live` is whether the thread's is one of them; the
 * workgroup's tokens are those from `low` to `high`.
 */
export const limits = ({ lengths }: GpuMask): string => `
  let count = ${lengths ? "u32(clamp(lengths[image], 1, i32(TOKENS)))" : "u32(TOKENS)"};
  let live = own < count;
  let low = group.x * ${THREADS}u;
  let high = select(0u, min(low + ${THREADS}u, count), low < count);`;

/** The keys that queries see. */
export function keysSeen(mask: GpuMask | undefined): Range {
  if (!mask) return whole;
  const limit = mask.causal ? "own + 1u" : "count";
  return {
    begin: "0u",
    end: mask.causal ? "high" : "select(0u, count, high > 0u)",
    ready: `live && first < ${limit}`,
    from: "0u",
    to: `min(TILE, ${limit} - first)`,
  };
}

/** The queries that see keys. */
export function queriesSeeing(mask: GpuMask | undefined): Range {
  if (!mask) return whole;
  return {
    begin: mask.causal ? "low" : "0u",
    end: "select(0u, count, high > 0u)",
    ready: "live",
    from: mask.causal ? "max(own, first) - first" : "0u",
    to: "min(TILE, count - first)",
  };
}
