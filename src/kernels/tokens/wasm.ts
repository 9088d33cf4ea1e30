/** On WASM in JavaScript: a thousandth of a step. */
import type * as tf from "@tensorflow/tfjs-core";
import { allocate, floatsOf } from "../../backend/wasm.ts";
import { registerOn, type Tensors } from "../register.ts";
import { FIRST, FIRST_GRAD, type FirstAttrs, PLACE, PLACE_GRAD, type PlaceAttrs } from "./index.ts";

function place(
  x: tf.TensorInfo,
  token: tf.TensorInfo | undefined,
  positions: tf.TensorInfo | undefined,
): tf.TensorInfo {
  const [n, count, c] = x.shape as [number, number, number];
  const first = token ? 1 : 0;
  const y = allocate([n, count + first, c]);
  const [from, to] = [floatsOf(x), floatsOf(y)];
  const [head, added] = [token && floatsOf(token), positions && floatsOf(positions)];
  const size = (count + first) * c;
  for (let image = 0; image < n; image++) {
    const own = to.subarray(image * size, (image + 1) * size);
    if (head) own.set(head);
    own.set(from.subarray(image * count * c, (image + 1) * count * c), first * c);
    if (added) for (let i = 0; i < size; i++) own[i] = (own[i] as number) + (added[i] as number);
  }
  return y;
}

/** By x, the class token (of zeros where there is none) and the positions. */
function placeGradient(dy: tf.TensorInfo, token: boolean): tf.TensorInfo[] {
  const [n, count, c] = dy.shape as [number, number, number];
  const first = token ? 1 : 0;
  const [dx, dtoken, dpositions] = [allocate([n, count - first, c]), allocate([1, 1, c]), allocate([1, count, c])];
  const [from, to] = [floatsOf(dy), floatsOf(dx)];
  const sums = floatsOf(dpositions).fill(0);
  const size = count * c;
  for (let image = 0; image < n; image++) {
    const own = from.subarray(image * size, (image + 1) * size);
    to.set(own.subarray(first * c), image * (count - first) * c);
    for (let i = 0; i < size; i++) sums[i] = (sums[i] as number) + (own[i] as number);
  }
  if (token) floatsOf(dtoken).set(sums.subarray(0, c));
  else floatsOf(dtoken).fill(0);
  return [dx, dtoken, dpositions];
}

function first(x: tf.TensorInfo): tf.TensorInfo {
  const [n, count, c] = x.shape as [number, number, number];
  const y = allocate([n, c]);
  const [from, to] = [floatsOf(x), floatsOf(y)];
  for (let image = 0; image < n; image++) to.set(from.subarray(image * count * c, (image * count + 1) * c), image * c);
  return y;
}

function firstGradient(dy: tf.TensorInfo, tokens: number): tf.TensorInfo {
  const [n, c] = dy.shape as [number, number];
  const dx = allocate([n, tokens, c]);
  const [from, to] = [floatsOf(dy), floatsOf(dx).fill(0)];
  for (let image = 0; image < n; image++) to.set(from.subarray(image * c, (image + 1) * c), image * tokens * c);
  return dx;
}

export function registerTokensWasm(): void {
  const register = registerOn("wasm");
  type Placed = Tensors<"x"> & Partial<Tensors<"token" | "positions">>;
  register(PLACE, ({ x, token, positions }: Placed) => place(x, token, positions));
  register(PLACE_GRAD, ({ dy }: Tensors<"dy">, attrs: PlaceAttrs) => placeGradient(dy, attrs.token));
  register(FIRST, ({ x }: Tensors<"x">) => first(x));
  register(FIRST_GRAD, ({ dy }: Tensors<"dy">, attrs: FirstAttrs) => firstGradient(dy, attrs.tokens));
}
