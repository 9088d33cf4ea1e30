/** How WGSL gets at a tensor's values, whatever they are stored as: float32, or float16 two in a word. */
import type * as tf from "@tensorflow/tfjs-core";
import { type Bound, webgpu } from "../../backend/webgpu.ts";

export interface Access {
  readonly bound: Bound;
  /** Functions of WGSL by the tensor's name. */
  readonly code: string;
}

/**
 * Four values at a time: `NAME_at(i) -> vec4f` or, as float16, `NAME_halves(i) -> vec2u`, and where it is written
 * `NAME_set(i, v)`; i counts fours. The size of the tensor is a multiple of four.
 */
export function quads(name: string, tensor: tf.TensorInfo, written = false): Access {
  if (!webgpu().isHalf(tensor)) {
    const set = written ? `fn ${name}_set(i: u32, v: vec4f) { ${name}[i] = v; }` : "";
    return {
      bound: { tensor, type: "vec4f", written },
      code: `fn ${name}_at(i: u32) -> vec4f { return ${name}[i]; }
fn ${name}_halves(i: u32) -> vec2u { let v = ${name}[i]; return vec2u(pack2x16float(v.xy), pack2x16float(v.zw)); }
${set}`,
    };
  }
  const set = `fn ${name}_set(i: u32, v: vec4f) { ${name}[i] = vec2u(pack2x16float(v.xy), pack2x16float(v.zw)); }`;
  return {
    bound: { tensor, type: "vec2u", written },
    code: `fn ${name}_at(i: u32) -> vec4f { let w = ${name}[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }
fn ${name}_halves(i: u32) -> vec2u { return ${name}[i]; }
${written ? set : ""}`,
  };
}

/** One value at a time: `NAME_at(i) -> f32`, and where it is written `NAME_set(i, v)`. Halves can only be read so. */
export function singles(name: string, tensor: tf.TensorInfo, written = false): Access {
  if (webgpu().isHalf(tensor)) {
    if (written) throw new Error(`${name}: float16 is written in fours`);
    return {
      bound: { tensor, type: "u32", written },
      code: `fn ${name}_at(i: u32) -> f32 { return unpack2x16float(${name}[i >> 1u])[i & 1u]; }`,
    };
  }
  const set = written ? `fn ${name}_set(i: u32, v: f32) { ${name}[i] = v; }` : "";
  return {
    bound: { tensor, type: "f32", written },
    code: `fn ${name}_at(i: u32) -> f32 { return ${name}[i]; }\n${set}`,
  };
}

/** Values that can be read at a time where a row has so many: fours have to divide it. */
export const widthOf = (row: number): 1 | 4 => (row % 4 === 0 ? 4 : 1);

/** What holds a vector of `width` values in WGSL, and the access by so many. */
export const vectorOf = (width: 1 | 4): string => (width === 4 ? "vec4f" : "f32");
export const access = (width: 1 | 4, name: string, tensor: tf.TensorInfo, written = false): Access =>
  width === 4 ? quads(name, tensor, written) : singles(name, tensor, written);

/** Joins accesses to what a launch binds, and their code. */
export function join(accesses: Readonly<Record<string, Access>>): { bind: Record<string, Bound>; code: string } {
  return {
    bind: Object.fromEntries(Object.entries(accesses).map(([name, { bound }]) => [name, bound])),
    code: Object.values(accesses)
      .map(({ code }) => code)
      .join("\n"),
  };
}
