/** Convolution as its definition says, in float64: the oracle of the conformance tests. */
export interface Geometry {
  n: number;
  h: number;
  w: number;
  ci: number;
  co: number;
  kh: number;
  kw: number;
  stride: number;
  pad: number;
}

export const outSize = (g: Geometry) => ({
  oh: Math.floor((g.h + 2 * g.pad - g.kh) / g.stride) + 1,
  ow: Math.floor((g.w + 2 * g.pad - g.kw) / g.stride) + 1,
});

/** Visits every product of the convolution: indices into x, filter and y. */
function visit(g: Geometry, each: (x: number, f: number, y: number) => void): void {
  const { oh, ow } = outSize(g);
  for (let n = 0; n < g.n; n++) {
    for (let oy = 0; oy < oh; oy++) {
      for (let ox = 0; ox < ow; ox++) {
        for (let a = 0; a < g.kh; a++) {
          for (let b = 0; b < g.kw; b++) {
            const y = oy * g.stride + a - g.pad;
            const x = ox * g.stride + b - g.pad;
            if (y < 0 || y >= g.h || x < 0 || x >= g.w) continue;
            for (let i = 0; i < g.ci; i++) {
              for (let o = 0; o < g.co; o++) {
                each(
                  ((n * g.h + y) * g.w + x) * g.ci + i,
                  ((a * g.kw + b) * g.ci + i) * g.co + o,
                  ((n * oh + oy) * ow + ox) * g.co + o,
                );
              }
            }
          }
        }
      }
    }
  }
}

type Values = ArrayLike<number>;
const add = (to: Float64Array, index: number, value: number) => {
  to[index] = (to[index] as number) + value;
};

/** y f64[N,OH,OW,Co] */
export function conv2dReference(g: Geometry, x: Values, filter: Values): Float64Array {
  const { oh, ow } = outSize(g);
  const y = new Float64Array(g.n * oh * ow * g.co);
  visit(g, (i, f, o) => add(y, o, (x[i] as number) * (filter[f] as number)));
  return y;
}

/** dx f64[N,H,W,Ci] and dfilter f64[KH,KW,Ci,Co] of sum(y * dy). */
export function conv2dGradReference(g: Geometry, x: Values, filter: Values, dy: Values) {
  const dx = new Float64Array(g.n * g.h * g.w * g.ci);
  const dfilter = new Float64Array(g.kh * g.kw * g.ci * g.co);
  visit(g, (i, f, o) => {
    add(dx, i, (filter[f] as number) * (dy[o] as number));
    add(dfilter, f, (x[i] as number) * (dy[o] as number));
  });
  return { dx, dfilter };
}
