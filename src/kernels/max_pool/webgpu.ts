import * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, reads, webgpu, writes } from "../../backend/webgpu.ts";
import { access, join, vectorOf, widthOf } from "../webgpu/access.ts";
import { halfWanted } from "../webgpu/precision.ts";
import { MAX_POOL, MAX_POOL_GRAD, type PoolAttrs } from "./index.ts";

/** Sizes in WGSL; channels in vectors of `width`. */
function sizesOf([n, h, w, c]: [number, number, number, number], { size, stride, pad }: PoolAttrs) {
  const width = widthOf(c);
  const [oh, ow] = [h, w].map((side) => Math.floor((side + 2 * pad - size) / stride) + 1) as [number, number];
  const constants = Object.entries({ H: h, W: w, C: c / width, OH: oh, OW: ow, SIZE: size, STRIDE: stride, PAD: pad })
    .map(([name, value]) => `const ${name} = ${value};`)
    .join(" ");
  return { n, h, w, c, oh, ow, width, constants, vector: vectorOf(width), places: width === 4 ? "vec4i" : "i32" };
}

/** The place of the maximum is kept: its index among the pixels of its image. */
function maxPool(x: tf.TensorInfo, attrs: PoolAttrs): tf.TensorInfo[] {
  const s = sizesOf(x.shape as [number, number, number, number], attrs);
  const shape = [s.n, s.oh, s.ow, s.c];
  const [y, argmax] = [webgpu().allocate(shape, "float32", halfWanted(shape)), webgpu().allocate(shape, "int32")];
  const { bind, code } = join({ x: access(s.width, "x", x), y: access(s.width, "y", y, true) });
  const all = (s.n * s.oh * s.ow * s.c) / s.width;
  launch({
    name: "max pool",
    bind: { ...bind, argmax: writes(argmax, s.places as "i32") },
    code: `${s.constants}\n${code}${lineKernel(
      all,
      64,
      `let c = i32(i) % C; let ow = i32(i) / C % OW; let oh = i32(i) / C / OW % OH; let n = i32(i) / C / OW / OH;
  var best = ${s.vector}();
  var place = ${s.places}(-1);
  for (var a = 0; a < SIZE; a++) {
    for (var b = 0; b < SIZE; b++) {
      let h = oh * STRIDE + a - PAD;
      let w = ow * STRIDE + b - PAD;
      if (h < 0 || h >= H || w < 0 || w >= W) { continue; }
      let v = x_at(u32(((n * H + h) * W + w) * C + c));
      let better = (place < ${s.places}()) | (v > best);
      best = select(best, v, better);
      place = select(place, ${s.places}(h * W + w), better);
    }
  }
  y_set(i, best);
  argmax[i] = place;`,
    )}`,
    groups: folded(all, 64),
  });
  return [y, argmax];
}

/** Each pixel asks the windows it lies in whether it was their maximum: no two write one place. */
function gradient(dy: tf.TensorInfo, argmax: tf.TensorInfo, attrs: PoolAttrs): tf.TensorInfo {
  const shape = attrs.inputShape as [number, number, number, number];
  const s = sizesOf(shape, attrs);
  const dx = webgpu().allocate(shape, "float32", halfWanted(shape));
  const { bind, code } = join({ dy: access(s.width, "dy", dy), dx: access(s.width, "dx", dx, true) });
  const all = (s.n * s.h * s.w * s.c) / s.width;
  launch({
    name: "max pool gradient",
    bind: { ...bind, argmax: reads(argmax, s.places as "i32") },
    code: `${s.constants}\n${code}${lineKernel(
      all,
      64,
      `let c = i32(i) % C; let w = i32(i) / C % W; let h = i32(i) / C / W % H; let n = i32(i) / C / W / H;
  var sum = ${s.vector}();
  for (var oh = max(0, (h + PAD - SIZE + STRIDE) / STRIDE); oh <= min(OH - 1, (h + PAD) / STRIDE); oh++) {
    for (var ow = max(0, (w + PAD - SIZE + STRIDE) / STRIDE); ow <= min(OW - 1, (w + PAD) / STRIDE); ow++) {
      let at = u32(((n * OH + oh) * OW + ow) * C + c);
      sum += select(${s.vector}(), dy_at(at), argmax[at] == ${s.places}(h * W + w));
    }
  }
  dx_set(i, sum);`,
    )}`,
    groups: folded(all, 64),
  });
  return dx;
}

export function registerMaxPoolWebgpu(): void {
  tf.registerKernel({
    kernelName: MAX_POOL,
    backendName: "webgpu",
    kernelFunc: ({ inputs, attrs }) => maxPool(inputs.x as tf.TensorInfo, attrs as unknown as PoolAttrs),
  });
  tf.registerKernel({
    kernelName: MAX_POOL_GRAD,
    backendName: "webgpu",
    kernelFunc: ({ inputs, attrs }) =>
      gradient(inputs.dy as tf.TensorInfo, inputs.argmax as tf.TensorInfo, attrs as unknown as PoolAttrs),
  });
}
