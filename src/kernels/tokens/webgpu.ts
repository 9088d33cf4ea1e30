import type * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, webgpu } from "../../backend/webgpu.ts";
import { registerOn, type Tensors } from "../register.ts";
import { access, join, vectorOf, widthOf } from "../webgpu/access.ts";
import { halfWanted } from "../webgpu/precision.ts";
import { FIRST, FIRST_GRAD, type FirstAttrs, PLACE, PLACE_GRAD, type PlaceAttrs } from "./index.ts";

function make(shape: number[]): tf.TensorInfo {
  return webgpu().allocate(shape, "float32", halfWanted(shape));
}

/** One thread for each vector of the result; WGSL finds its `token`, `image` and place `c` in the width. */
function overTokens(
  name: string,
  [n, tokens, c]: readonly [number, number, number],
  accesses: Parameters<typeof join>[0],
  numbers: Record<string, number>,
  body: string,
): void {
  const vectors = c / widthOf(c);
  const all = n * tokens * vectors;
  const { bind, code } = join(accesses);
  launch({
    name,
    bind,
    numbers: { ALL: all, VECTORS: vectors, TOKENS: tokens, ...numbers },
    code:
      code +
      lineKernel(
        "u32(ALL)",
        256,
        `let c = i % u32(VECTORS);
  let token = i / u32(VECTORS) % u32(TOKENS);
  let image = i / u32(VECTORS) / u32(TOKENS);
  ${body}`,
      ),
    groups: folded(all, 256),
  });
}

function place(
  x: tf.TensorInfo,
  token: tf.TensorInfo | undefined,
  positions: tf.TensorInfo | undefined,
): tf.TensorInfo {
  const [n, count, c] = x.shape as [number, number, number];
  const first = token ? 1 : 0;
  const width = widthOf(c);
  const y = make([n, count + first, c]);
  overTokens(
    "place tokens",
    [n, count + first, c],
    {
      x: access(width, "x", x),
      ...(token && { head: access(width, "head", token) }),
      ...(positions && { positions: access(width, "positions", positions) }),
      y: access(width, "y", y, true),
    },
    { FIRST: first },
    `var v = ${vectorOf(width)}();
  if (token >= u32(FIRST)) { v = x_at((image * u32(TOKENS - FIRST) + token - u32(FIRST)) * u32(VECTORS) + c); }
  ${token ? "else { v = head_at(c); }" : ""}
  ${positions ? "v += positions_at(token * u32(VECTORS) + c);" : ""}
  y_set(i, v);`,
  );
  return y;
}

function placeGradient(dy: tf.TensorInfo, token: boolean): tf.TensorInfo[] {
  const [n, count, c] = dy.shape as [number, number, number];
  const first = token ? 1 : 0;
  const width = widthOf(c);
  const dx = make([n, count - first, c]);
  overTokens(
    "place tokens gradient",
    [n, count - first, c],
    { dy: access(width, "dy", dy), dx: access(width, "dx", dx, true) },
    { FIRST: first },
    "dx_set(i, dy_at((image * u32(TOKENS + FIRST) + token + u32(FIRST)) * u32(VECTORS) + c));",
  );
  const sum = (name: string, tokens: number): tf.TensorInfo => {
    const to = webgpu().allocate([1, tokens, c]);
    overTokens(
      name,
      [1, tokens, c],
      { dy: access(width, "dy", dy), sums: access(width, "sums", to, true) },
      { IMAGES: n, ALLTOKENS: count },
      `var sum = ${vectorOf(width)}();
  for (var n = 0u; n < u32(IMAGES); n++) { sum += dy_at((n * u32(ALLTOKENS) + token) * u32(VECTORS) + c); }
  sums_set(i, sum);`,
    );
    return to;
  };
  return [dx, sum("class token gradient", 1), sum("positions gradient", count)];
}

function firstToken(x: tf.TensorInfo): tf.TensorInfo {
  const [n, count, c] = x.shape as [number, number, number];
  const width = widthOf(c);
  const y = webgpu().allocate([n, c]);
  overTokens(
    "first token",
    [n, 1, c],
    { x: access(width, "x", x), y: access(width, "y", y, true) },
    { ALLTOKENS: count },
    "y_set(i, x_at(image * u32(ALLTOKENS) * u32(VECTORS) + c));",
  );
  return y;
}

function firstGradient(dy: tf.TensorInfo, tokens: number): tf.TensorInfo {
  const [n, c] = dy.shape as [number, number];
  const width = widthOf(c);
  const dx = make([n, tokens, c]);
  overTokens(
    "first token gradient",
    [n, tokens, c],
    { dy: access(width, "dy", dy), dx: access(width, "dx", dx, true) },
    {},
    `var v = ${vectorOf(width)}();
  if (token == 0u) { v = dy_at(image * u32(VECTORS) + c); }
  dx_set(i, v);`,
  );
  return dx;
}

export function registerTokensWebgpu(): void {
  const register = registerOn("webgpu");
  type Placed = Tensors<"x"> & Partial<Tensors<"token" | "positions">>;
  register(PLACE, ({ x, token, positions }: Placed) => place(x, token, positions));
  register(PLACE_GRAD, ({ dy }: Tensors<"dy">, attrs: PlaceAttrs) => placeGradient(dy, attrs.token));
  register(FIRST, ({ x }: Tensors<"x">) => firstToken(x));
  register(FIRST_GRAD, ({ dy }: Tensors<"dy">, attrs: FirstAttrs) => firstGradient(dy, attrs.tokens));
}
