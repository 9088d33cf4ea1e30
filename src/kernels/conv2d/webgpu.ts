/**
 * Conv2D and its two gradients on WebGPU: implicit matrix products (kernels/webgpu/product.ts), for any sizes; before a
 * batch norm of training fused with its sums. x f32[N,H,W,Ci], filter f32[KH,KW,Ci,Co], y f32[N,OH,OW,Co]. Dilation 1, equal strides.
 */
import * as tf from "@tensorflow/tfjs-core";
import { webgpu, writes } from "../../backend/webgpu.ts";
import { access, join, widthOf } from "../webgpu/access.ts";
import { halfWanted } from "../webgpu/precision.ts";
import { type Operand, SLAB } from "../webgpu/product.ts";
import { slicesOf, sumSlices } from "../webgpu/slices.ts";
import { statisticsFor } from "../webgpu/statistics.ts";
import { launchProduct, statisticsRows } from "../webgpu/tuned.ts";
import { type ConvAttrs, describe, type Info } from "./geometry.ts";

/** The sizes, as WGSL finds them. */
const numbersOf = (i: Info) => ({
  N: i.batchSize,
  H: i.inHeight,
  W: i.inWidth,
  CI: i.inChannels,
  OH: i.outHeight,
  OW: i.outWidth,
  CO: i.outChannels,
  KH: i.filterHeight,
  KW: i.filterWidth,
  S: i.strideHeight,
  PT: i.padInfo.top,
  PL: i.padInfo.left,
});

/**
 * An operand of which `element` (WGSL, an expression of o and k) is the address of one value where `inside` holds. With
 * four channels at a time the four are neighbours; else they are looked up one by one, along k.
 */
function operand(
  p: "a" | "b",
  from: string,
  width: 1 | 4,
  along: Operand["along"],
  code: { outer: string; locate: string; inside: string; element: string },
): Operand {
  const outer = `fn ${p}_outer(outer: u32) -> vec4i { let u = i32(outer); ${code.outer} }`;
  const body = (value: string) => `let q = i32(k); ${code.locate} if (!(${code.inside})) { return ${value}; }`;
  if (width === 4) {
    return {
      along,
      inFours: true,
      code: `${outer}
fn ${p}_load(o: vec4i, k: u32) -> vec4f { ${body("vec4f()")} return ${from}_at(u32(${code.element}) / 4u); }
fn ${p}_load_halves(o: vec4i, k: u32) -> vec2u { ${body("vec2u()")} return ${from}_halves(u32(${code.element}) / 4u); }`,
    };
  }
  return {
    along: "k",
    inFours: false,
    code: `${outer}
fn ${p}_load(o: vec4i, k: u32) -> f32 { ${body("0.0")} return ${from}_at(u32(${code.element})); }`,
  };
}

/** `store` of rows of `columns` values: `base` (WGSL, of row) is where a row's first one is, `inside` whether it is there. */
const storing = (to: string, width: 1 | 4, columns: string, inside: string, base: string): string => {
  const four = `${to}_set((at + column) / 4u, v);`;
  const each = `for (var i = 0u; i < min(4u, u32(${columns}) - column); i++) { ${to}_set(at + column + i, v[i]); }`;
  return `
fn store(row: u32, column: u32, v: vec4f) {
  let r = i32(row);
  if (!(${inside}) || column >= u32(${columns})) { return; }
  let at = u32(${base});
  ${width === 4 ? four : each}
}`;
};

function conv2d(x: tf.TensorInfo, filter: tf.TensorInfo, attrs: ConvAttrs): tf.TensorInfo {
  const info = describe(x.shape, filter.shape, attrs);
  const { inChannels: ci, outChannels: co } = info;
  const [from, to] = [widthOf(ci), widthOf(co)];
  const y = webgpu().allocate(info.outShape, "float32", halfWanted(info.outShape));
  const accesses = { x: access(from, "x", x), f: access(to, "f", filter), y: access(to, "y", y, true) };
  const { bind, code } = join(accesses);
  const rows = info.batchSize * info.outHeight * info.outWidth;
  const inner = info.filterHeight * info.filterWidth * ci;
  const a = operand("a", "x", from, "k", {
    outer: `let n = u / (OH * OW); let r = u % (OH * OW);
      return vec4i(n * H * W, (r / OW) * S - PT, (r % OW) * S - PL, select(0, 1, n < N));`,
    locate: `let tap = q / CI; let h = o.y + tap / KW; let w = o.z + tap % KW;`,
    inside: `o.w == 1 && q < INNER && h >= 0 && h < H && w >= 0 && w < W`,
    element: `(o.x + h * W + w) * CI + q % CI`,
  });
  const b = operand("b", "f", to, "outer", {
    outer: "return vec4i(u, 0, 0, 0);",
    locate: "",
    inside: `o.x < CO && q < INNER`,
    element: "q * CO + o.x",
  });
  const block = statisticsRows();
  const statistics = block === undefined ? undefined : statisticsFor(y, block);
  const keep = `
fn keep(block: u32, column: u32, first: vec4f, sum: vec4f, square: vec4f) {
  if (column >= u32(CO)) { return; }
  let at = (block * 3u * u32(CO) + column) / 4u;
  parts[at] = first;
  parts[at + u32(CO) / 4u] = sum;
  parts[at + 2u * u32(CO) / 4u] = square;
}`;
  launchProduct({
    name: "conv2d",
    bind: { ...bind, ...(statistics && { parts: writes(statistics.parts, "vec4f") }) },
    numbers: { ...numbersOf(info), ROWS: rows, INNER: inner },
    head: code,
    rows,
    columns: co,
    inner,
    slices: 1,
    product: {
      a,
      b,
      store: storing("y", to, "CO", "r < ROWS", "r * CO"),
      ...(statistics && { keep }),
      range: `fn range(z: u32) -> vec2u { return vec2u(0u, u32(INNER)); }`,
    },
  });
  return y;
}

/** With stride S the pixels of x fall into S x S phases, each of which sees its own taps of the filter and no others. */
function inputGrad(dy: tf.TensorInfo, filter: tf.TensorInfo, attrs: ConvAttrs): tf.TensorInfo {
  const info = describe(attrs.inputShape as number[], filter.shape, attrs);
  const { inChannels: ci, outChannels: co, strideHeight: s } = info;
  const [from, to] = [widthOf(co), widthOf(ci)];
  const dx = webgpu().allocate(info.inShape, "float32", halfWanted(info.inShape));
  const { bind, code } = join({
    dy: access(from, "dy", dy),
    f: access(from, "f", filter),
    dx: access(to, "dx", dx, true),
  });
  const [h, w] = [Math.ceil(info.inHeight / s), Math.ceil(info.inWidth / s)];
  const rows = info.batchSize * h * w;
  const a = operand("a", "dy", from, "k", {
    outer: `let n = u / (PH * PW); let r = u % (PH * PW);
      return vec4i(n * OH * OW, r / PW + begin.y, r % PW + begin.x, select(0, 1, n < N));`,
    locate: "let tap = q / CO; let h = o.y - tap / taps.x; let w = o.z - tap % taps.x;",
    inside: "o.w == 1 && q < taps.y * taps.x * CO && h >= 0 && h < OH && w >= 0 && w < OW",
    element: "(o.x + h * OW + w) * CO + q % CO",
  });
  const b = operand("b", "f", from, "k", {
    outer: "return vec4i(u, 0, 0, 0);",
    locate: "let tap = q / CO; let h = first.y + S * (tap / taps.x); let w = first.x + S * (tap % taps.x);",
    inside: "o.x < CI && q < taps.y * taps.x * CO",
    element: "((h * KW + w) * CI + o.x) * CO + q % CO",
  });
  launchProduct({
    name: "conv2d input gradient",
    bind,
    numbers: { ...numbersOf(info), PH: h, PW: w },
    head: `${code}
/** This phase: its place in x, its first tap, how many there are, and where in dy the first tap of its first pixel falls. */
var<private> phase: vec2i;
var<private> first: vec2i;
var<private> taps: vec2i;
var<private> begin: vec2i;
fn firstTap(phase: vec2i) -> vec2i { return (phase + vec2i(PL, PT)) % S; }
fn tapsOf(phase: vec2i) -> vec2i { return max(vec2i(), (vec2i(KW, KH) - firstTap(phase) + S - 1) / S); }`,
    rows,
    columns: ci,
    inner: (info.filterHeight * info.filterWidth * co) / (s * s),
    slices: s * s,
    product: {
      a,
      b,
      store: storing(
        "dx",
        to,
        "CI",
        "r < N * PH * PW && placeY(r) < H && placeX(r) < W",
        "((r / (PH * PW) * H + placeY(r)) * W + placeX(r)) * CI",
      ).replace(
        "fn store",
        `fn placeY(r: i32) -> i32 { return phase.y + S * (r % (PH * PW) / PW); }
fn placeX(r: i32) -> i32 { return phase.x + S * (r % PW); }
fn store`,
      ),
      prepare: `phase = vec2i(i32(slice) % S, i32(slice) / S); first = firstTap(phase); taps = tapsOf(phase);
  begin = (phase + vec2i(PL, PT) - first) / S;`,
      range: `fn range(z: u32) -> vec2u {
  let all = tapsOf(vec2i(i32(z) % S, i32(z) / S));
  return vec2u(0u, u32(all.x * all.y * CO));
}`,
    },
  });
  return dx;
}

function filterGrad(x: tf.TensorInfo, dy: tf.TensorInfo, attrs: ConvAttrs): tf.TensorInfo {
  const info = describe(x.shape, attrs.filterShape as number[], attrs);
  const { inChannels: ci, outChannels: co } = info;
  const [from, to] = [widthOf(ci), widthOf(co)];
  const rows = info.filterHeight * info.filterWidth * ci;
  const pixels = info.batchSize * info.outHeight * info.outWidth;
  const slices = slicesOf(rows, co, pixels);
  const length = Math.ceil(pixels / slices / SLAB) * SLAB;
  const dw = webgpu().allocate(slices === 1 ? info.filterShape : [slices, ...info.filterShape]);
  const { bind, code } = join({ x: access(from, "x", x), dy: access(to, "dy", dy), dw: access(to, "dw", dw, true) });
  const a = operand("a", "x", from, "outer", {
    outer: `let tap = u / CI; return vec4i(tap / KW - PT, tap % KW - PL, u % CI, select(0, 1, u < ROWS));`,
    locate: "let n = q / (OH * OW); let r = q % (OH * OW); let h = (r / OW) * S + o.x; let w = (r % OW) * S + o.y;",
    inside: `o.w == 1 && q < PIXELS && h >= 0 && h < H && w >= 0 && w < W`,
    element: "((n * H + h) * W + w) * CI + o.z",
  });
  const b = operand("b", "dy", to, "outer", {
    outer: "return vec4i(u, 0, 0, 0);",
    locate: "",
    inside: `o.x < CO && q < PIXELS`,
    element: "q * CO + o.x",
  });
  launchProduct({
    name: "conv2d filter gradient",
    bind,
    numbers: { ...numbersOf(info), ROWS: rows, PIXELS: pixels, LENGTH: length },
    head: code,
    rows,
    columns: co,
    inner: pixels / slices,
    slices,
    product: {
      a,
      b,
      store: storing("dw", to, "CO", `r < ROWS`, `(i32(slice) * ROWS + r) * CO`),
      range: `fn range(z: u32) -> vec2u { return vec2u(z * u32(LENGTH), min(u32(PIXELS), (z + 1u) * u32(LENGTH))); }`,
    },
  });
  if (slices === 1) return dw;
  const sum = sumSlices(dw, info.filterShape);
  webgpu().disposeData(dw.dataId);
  return sum;
}

type Inputs = Record<"x" | "dy" | "filter", tf.TensorInfo>;

export function registerConv2dWebgpu(): void {
  const register = (kernelName: string, run: (inputs: Inputs, attrs: ConvAttrs) => tf.TensorInfo) => {
    if (tf.getKernel(kernelName, "webgpu")) tf.unregisterKernel(kernelName, "webgpu");
    tf.registerKernel({
      kernelName,
      backendName: "webgpu",
      kernelFunc: ({ inputs, attrs }) => run(inputs as Inputs, attrs as unknown as ConvAttrs),
    });
  };
  register("Conv2D", ({ x, filter }, attrs) => conv2d(x, filter, attrs));
  register("Conv2DBackpropInput", ({ dy, filter }, attrs) => inputGrad(dy, filter, attrs));
  register("Conv2DBackpropFilter", ({ x, dy }, attrs) => filterGrad(x, dy, attrs));
}
