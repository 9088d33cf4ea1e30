/** Heads: the small multi-layer perceptrons after an encoder, as PyTorch's nn.Sequential names them. */
import type { Ops } from "./ops.ts";

export type HeadLayer =
  | { readonly kind: "linear"; readonly to: number; readonly bias: boolean }
  /** Batch norm. */
  | { readonly kind: "norm"; readonly affine: boolean }
  | { readonly kind: "relu" };
/** The layers in their order. One linear layer alone is named as nn.Linear, several as nn.Sequential. */
export type HeadSpec = readonly HeadLayer[];

export const relu: HeadLayer = { kind: "relu" };
export const linear = (to: number, bias = true): HeadLayer => ({ kind: "linear", to, bias });
export const norm = (affine = true): HeadLayer => ({ kind: "norm", affine });

/** Linear without bias, batch norm, ReLU: one hidden layer of the heads of SimCLR, BYOL, SimSiam and Barlow Twins. */
export const hidden = (to: number): HeadLayer[] => [linear(to, false), norm(), relu];

/** Dimension of what the head gives. */
export const dimensionOfHead = (head: HeadSpec, input: number): number =>
  head.reduce((dim, layer) => (layer.kind === "linear" ? layer.to : dim), input);

/** x [N,input] -> [N,dimensionOfHead(head, input)] */
export function applyHead<T>(ops: Ops<T>, name: string, head: HeadSpec, input: number, x: T): T {
  let [dim, value] = [input, x];
  head.forEach((layer, index) => {
    const own = head.length === 1 ? name : `${name}.${index}`;
    const next = head[index + 1];
    if (layer.kind === "linear") {
      value = ops.linear(own, value, { from: dim, to: layer.to, bias: layer.bias });
      dim = layer.to;
    } else if (layer.kind === "norm") {
      value = ops.norm(own, value, { channels: dim, affine: layer.affine, relu: next?.kind === "relu" });
    } else if (head[index - 1]?.kind !== "norm") {
      value = ops.relu(own, value); // a norm has the ReLU after it in its own kernel
    }
  });
  return value;
}
