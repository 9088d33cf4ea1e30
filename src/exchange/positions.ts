/**
 * Positions of a ViT on another grid, as timm resizes them (resample_abs_pos_embed): bicubic with antialiasing. Fixed ones are resized
 * too, so that a place in the image keeps its position, and are learned ones from then on.
 */
import type { StoredTensor } from "../store/safetensors.ts";
import type { Tensors } from "../train/checkpoint.ts";

const POSITIONS = "pos_embed";
/** By how much a convolutional stem divides a side: its convolutions are `proj.0`, `proj.3`, …, and the last one is 1x1. */
export function stemStride(shapeOf: (name: string) => readonly number[] | undefined): number {
  let halvings = 0;
  while (shapeOf(`patch_embed.proj.${3 * halvings}.weight`)?.[2] === 3) halvings++;
  return 2 ** halvings;
}

/** The tensors with every network's positions resized for images of this side. A class token's position stays as it is. */
export function positionsFor(side: number, tensors: Tensors): Tensors {
  return new Map([...tensors].map(([name, tensor]) => [name, name.endsWith(POSITIONS) ? resized(name) : tensor]));

  function resized(name: string) {
    const tensor = tensors.get(name) as StoredTensor;
    const prefix = name.slice(0, -POSITIONS.length);
    const patch =
      tensors.get(`${prefix}patch_embed.proj.weight`)?.shape[2] ??
      stemStride((name) => tensors.get(prefix + name)?.shape);
    const first = tensors.has(`${prefix}cls_token`) ? 1 : 0;
    const [, count, width] = tensor.shape as [number, number, number];
    const [from, to] = [Math.sqrt(count - first), side / patch];
    // What fits no grid is left for the reader to name.
    if (from === to || !Number.isInteger(from) || !Number.isInteger(to) || !(tensor.data instanceof Float32Array)) {
      return tensor;
    }
    const grid = resizeGrid(tensor.data.subarray(first * width), from, to);
    const data = new Float32Array(first * width + grid.length);
    data.set(tensor.data.subarray(0, first * width));
    data.set(grid, first * width);
    return { shape: [1, first + to * to, width], data };
  }
}

/** Keys' cubic convolution with a = -1/2, which PIL and PyTorch's antialiased resize use. */
function cubic(x: number): number {
  const d = Math.abs(x);
  if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
  return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
}

interface Window {
  readonly first: number;
  readonly weights: readonly number[];
}

/** Of each place of a line of `to`, the places of a line of `from` that it is a mean of. */
function windows(from: number, to: number): Window[] {
  const scale = from / to;
  const stretch = Math.max(1, scale);
  return Array.from({ length: to }, (_, i) => {
    const centre = scale * (i + 0.5);
    const first = Math.max(0, Math.trunc(centre - 2 * stretch + 0.5));
    const end = Math.min(from, Math.trunc(centre + 2 * stretch + 0.5));
    const weights = Array.from({ length: end - first }, (_, j) => cubic((first + j - centre + 0.5) / stretch));
    const total = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((w) => w / total) };
  });
}

/** Resizes the middle axis. [outer,from,inner] -> [outer,to,inner] */
function resizeAxis(values: ArrayLike<number>, outer: number, from: number, to: number): Float64Array {
  const inner = values.length / (outer * from);
  const of = windows(from, to);
  const out = new Float64Array(outer * to * inner);
  for (let row = 0; row < outer; row++) {
    of.forEach(({ first, weights }, place) => {
      const target = (row * to + place) * inner;
      weights.forEach((weight, j) => {
        const source = (row * from + first + j) * inner;
        for (let i = 0; i < inner; i++) {
          out[target + i] = (out[target + i] as number) + weight * (values[source + i] as number);
        }
      });
    });
  }
  return out;
}

/** f32[from*from,C] -> f32[to*to,C] */
export function resizeGrid(values: ArrayLike<number>, from: number, to: number): Float32Array {
  const columns = resizeAxis(values, from, from, to); // [from,from,C] -> [from,to,C]
  return Float32Array.from(resizeAxis(columns, 1, from, to)); // [1,from,to*C] -> [to,to,C]
}
