/**
 * Augmentation on WebGPU, all views of a batch at once: crop and resize, colours, blur across, then blur down with solarise,
 * flip and normalisation. What a row means: `data/view.ts`; the formulas: `kernels/wasm/assembly/augment.ts`.
 */
import * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, reads, webgpu, writes } from "../../backend/webgpu.ts";
import { ROW, rowFloats } from "../../data/view.ts";
import { isBands } from "../../schema/colours.ts";
import { AUGMENT, type AugmentAttrs, type AugmentInputs } from "./names.ts";

const helpers = ({ size, channels }: AugmentAttrs) => `
const SIZE = ${size}; const C = ${channels}; const PIXELS = ${size * size};
fn mirrored(i: i32) -> i32 { let q = abs(i); return select(q, 2 * (SIZE - 1) - q, q >= SIZE); }
fn clamp01(v: f32) -> f32 { return clamp(v, 0.0, 1.0); }`;

/** Channels that a thread of the crop computes: those of a pixel, in fours. */
const quadsOf = (channels: number): number => Math.ceil(channels / 4);

/** Bilinear with antialiasing: a triangle as wide as the scale, over the source pixels that there are. */
const crop = (attrs: AugmentAttrs, views: number) => `${helpers(attrs)}
fn value(at: u32) -> f32 { return f32(${attrs.valueBytes === 2 ? "(u32(pixels[at / 2u]) >> (at % 2u * 16u)) & 65535u" : "(u32(pixels[at / 4u]) >> (at % 4u * 8u)) & 255u"}); }
fn pixel(at: u32) -> vec4f {
  return vec4f(${[0, 1, 2, 3].map((c) => (c < attrs.channels ? `value(at + ${c}u)` : "0.0")).join(", ")});
}
struct Taps { first: i32, last: i32, centre: f32, support: f32 }
fn taps(out: i32, side: f32) -> Taps {
  let scale = side / ${attrs.size}.0;
  let support = max(1.0, scale);
  let centre = (f32(out) + 0.5) * scale;
  return Taps(max(0, i32(centre - support + 0.5)), min(i32(side), i32(centre + support + 0.5)), centre, support);
}
fn weight(i: i32, t: Taps) -> f32 { return max(0.0, 1.0 - abs((f32(i) - t.centre + 0.5) / t.support)); }
${lineKernel(
  views * attrs.size * attrs.size * quadsOf(attrs.channels),
  64,
  `let place_ = i / ${quadsOf(attrs.channels)}u;
  let quad = i % ${quadsOf(attrs.channels)}u * 4u;
  let view = place_ / u32(PIXELS);
  let row = u32(picks[view]) * ${rowFloats(attrs.channels)}u;
  let place = u32(picks[view]) * 3u;
  let width = u32(places[place + 2u]);
  let down = taps(i32(place_) / SIZE % SIZE, rows[row + 2u]);
  let across = taps(i32(place_) % SIZE, rows[row + 3u]);
  var sum = vec4f();
  var all = 0.0;
  for (var y = down.first; y < down.last; y++) {
    let at = u32(places[place]) / ${attrs.valueBytes}u + quad + ((u32(rows[row]) + u32(y)) * width + u32(rows[row + 1u])) * u32(C);
    var line = vec4f();
    var lineAll = 0.0;
    for (var x = across.first; x < across.last; x++) {
      let w = weight(x, across);
      lineAll += w;
      line += w * pixel(at + u32(x * C));
    }
    let w = weight(y, down);
    all += w;
    sum += w * (line / lineAll);
  }
  for (var c = 0u; c < min(4u, u32(C) - quad); c++) {
    out[place_ * u32(C) + quad + c] = clamp01(sum[c] / all / ${256 ** attrs.valueBytes - 1}.0);
  }`,
)}`;

/** Jitter and grey in place: a workgroup has one view, of which a thread has always the same pixels. */
const colour = (attrs: AugmentAttrs) => `${helpers(attrs)}
const THREADS = 128;
var<workgroup> sums: array<f32, 128>;
fn luma(p: vec3f) -> f32 { return dot(p, vec3f(0.2989, 0.587, 0.114)); }
fn pixel(at: i32) -> vec3f { return ${attrs.channels === 3 ? "vec3f(view[at], view[at + 1], view[at + 2])" : "vec3f(view[at])"}; }
fn set_pixel(at: i32, v: vec3f) { ${attrs.channels === 3 ? "view[at] = v.x; view[at + 1] = v.y; view[at + 2] = v.z;" : "view[at] = v.x;"} }
fn towards(p: vec3f, factor: f32, end: f32) -> vec3f { return clamp(p * factor + (1.0 - factor) * end, vec3f(), vec3f(1.0)); }
fn shifted(p: vec3f, shift: f32) -> vec3f {
  let v = max(p.x, max(p.y, p.z));
  let d = v - min(p.x, min(p.y, p.z));
  if (d == 0.0) { return p; }
  var h = f32();
  if (v == p.x) { h = (p.y - p.z) / d; } else if (v == p.y) { h = 2.0 + (p.z - p.x) / d; } else { h = 4.0 + (p.x - p.y) / d; }
  h = h / 6.0 + shift;
  h = (h - floor(h)) * 6.0;
  let f = h - floor(h);
  let lo = v - d; let q = v - d * f; let t = lo + d * f;
  switch (i32(floor(h)) % 6) {
    case 0: { return vec3f(v, t, lo); }
    case 1: { return vec3f(q, v, lo); }
    case 2: { return vec3f(lo, v, t); }
    case 3: { return vec3f(lo, q, v); }
    case 4: { return vec3f(t, lo, v); }
    default: { return vec3f(v, lo, q); }
  }
}
@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let view_ = group.y * 32768u + group.x;
  let row = u32(picks[view_]) * ${ROW}u;
  let base = i32(view_) * PIXELS * C;
  let jitter = rows[row + 5u] != 0.0;
  for (var step = 0u; step < 6u; step++) {
    var op = -1;
    if (step > 0u && step < 5u && jitter) { op = i32(rows[row + 9u + step]); }
    let grey = rows[row + 14u];
    if (C == 3 && ((step == 0u && grey == 2.0) || (step == 5u && grey == 1.0))) { op = 4; }
    var mean = 0.0;
    if (op == 1) {
      for (var p = i32(local); p < PIXELS; p += THREADS) {
        let v = pixel(base + p * C);
        mean += select(v.x, luma(v), C == 3);
      }
    }
    // Every thread of the view comes by here, whatever its operation.
    sums[local] = mean;
    for (var half = 64u; half > 0u; half /= 2u) {
      workgroupBarrier();
      if (local < half) { sums[local] += sums[local + half]; }
    }
    workgroupBarrier();
    mean = sums[0] / f32(PIXELS);
    workgroupBarrier();
    if (op < 0 || (C != 3 && op > 1)) { continue; }
    for (var p = i32(local); p < PIXELS; p += THREADS) {
      let at = base + p * C;
      let v = pixel(at);
      var changed = v;
      if (op == 0) { changed = towards(v, rows[row + 6u], 0.0); }
      else if (op == 1) { changed = towards(v, rows[row + 7u], mean); }
      else if (op == 2) { changed = towards(v, rows[row + 8u], luma(v)); }
      else if (op == 3) { changed = shifted(v, rows[row + 9u]); }
      else { changed = towards(v, 0.0, luma(v)); }
      set_pixel(at, changed);
    }
  }
}`;

/** Brightness and contrast of each band by factors of its own, in place; a workgroup has one view, as above. */
const bands = (attrs: AugmentAttrs) => `${helpers(attrs)}
const THREADS = 128;
var<workgroup> sums: array<f32, 128>;
@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let view_ = group.y * 32768u + group.x;
  let row = u32(picks[view_]) * ${rowFloats(attrs.channels)}u;
  let base = i32(view_) * PIXELS * C;
  let jitter = rows[row + 5u] != 0.0;
  for (var step = 0u; step < 4u; step++) {
    let op = select(-1, i32(rows[row + 10u + step]), jitter);
    for (var c = 0; c < C; c++) {
      var sum = 0.0;
      if (op == 1) { for (var p = i32(local); p < PIXELS; p += THREADS) { sum += view[base + p * C + c]; } }
      sums[local] = sum;
      for (var half = 64u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) { sums[local] += sums[local + half]; }
      }
      workgroupBarrier();
      let mean = sums[0] / f32(PIXELS);
      workgroupBarrier();
      if (op != 0 && op != 1) { continue; }
      let factor = rows[row + ${ROW}u + u32(op * C + c)];
      let offset = (1.0 - factor) * mean;
      for (var p = i32(local); p < PIXELS; p += THREADS) {
        let at = base + p * C + c;
        view[at] = clamp01(view[at] * factor + offset);
      }
    }
  }
}`;

/** Gaussian of radius ceil(3 sigma) but below the size, mirrored at the border. `at(place)`: the value there. */
const blurred = (channels: number, at: string) => `
  let row = u32(picks[view]) * ${rowFloats(channels)}u;
  let sigma = rows[row + 15u];
  var v = ${at.replaceAll("PLACE", "u")};
  if (sigma > 0.0) {
    let radius = min(SIZE - 1, i32(ceil(3.0 * sigma)));
    var all = 1.0;
    for (var d = 1; d <= radius; d++) {
      let w = exp(-0.5 * f32(d * d) / (sigma * sigma));
      all += 2.0 * w;
      v += w * (${at.replaceAll("PLACE", "mirrored(u - d)")} + ${at.replaceAll("PLACE", "mirrored(u + d)")});
    }
    v /= all;
  }`;

const across = (attrs: AugmentAttrs, all: number) =>
  `${helpers(attrs)}${lineKernel(
    all,
    64,
    `let c = i32(i) % C;
  let u = i32(i) / C % SIZE;
  let line = i32(i) / C / SIZE;
  let view = u32(line / SIZE);
  ${blurred(attrs.channels, "before[(line * SIZE + PLACE) * C + c]")}
  after[i] = v;`,
  )}`;

const downAndFinish = (attrs: AugmentAttrs, all: number) => `${helpers(attrs)}
const MEAN = array<f32, ${attrs.channels}>(${attrs.mean.map((v) => `f32(${v})`).join(", ")});
const STD = array<f32, ${attrs.channels}>(${attrs.std.map((v) => `f32(${v})`).join(", ")});
${lineKernel(
  all,
  64,
  `let c = i32(i) % C;
  let x = i32(i) / C % SIZE;
  let u = i32(i) / C / SIZE % SIZE;
  let view = i / u32(PIXELS * C);
  let base = i32(view) * PIXELS;
  ${blurred(attrs.channels, "before[(base + PLACE * SIZE + x) * C + c]")}
  if (rows[row + 16u] != 0.0 && v >= 0.5) { v = 1.0 - v; }
  let goal = select(x, SIZE - 1 - x, rows[row + 4u] != 0.0);
  after[(base + u * SIZE + goal) * C + c] = (v - MEAN[c]) / STD[c];`,
)}`;

function augment(i: AugmentInputs, attrs: AugmentAttrs): tf.TensorInfo {
  const { size, channels } = attrs;
  const views = i.picks.shape[0] as number;
  const shape = [views, size, size, channels];
  const all = tf.util.sizeFromShape(shape);
  const [first, second] = [webgpu().allocate(shape), webgpu().allocate(shape)];
  const rows = { rows: reads(i.rows), picks: reads(i.picks, "i32") };
  const images = { places: reads(i.places, "i32"), pixels: reads(i.pixels, "i32") };
  launch({
    name: "views: crop",
    bind: { ...images, ...rows, out: writes(first) },
    code: crop(attrs, views),
    groups: folded((all / channels) * quadsOf(channels), 64),
  });
  launch({
    name: "views: colours",
    bind: { ...rows, view: writes(first) },
    code: isBands(channels) ? bands(attrs) : colour(attrs),
    groups: folded(views, 1),
  });
  launch({
    name: "views: blur",
    bind: { ...rows, before: reads(first), after: writes(second) },
    code: across(attrs, all),
    groups: folded(all, 64),
  });
  // What was cropped is not needed any more: its room takes the result.
  launch({
    name: "views: finish",
    bind: { ...rows, before: reads(second), after: writes(first) },
    code: downAndFinish(attrs, all),
    groups: folded(all, 64),
  });
  webgpu().disposeData(second.dataId);
  return first;
}

export function registerAugmentWebgpu(): void {
  tf.registerKernel({
    kernelName: AUGMENT,
    backendName: "webgpu",
    kernelFunc: ({ inputs, attrs }) => augment(inputs as unknown as AugmentInputs, attrs as unknown as AugmentAttrs),
  });
}
