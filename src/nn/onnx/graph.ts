/** The operations of `ops.ts` as nodes (NCHW), batch norm by running statistics. */
import { LAYER_NORM_EPSILON, type Ops } from "../ops.ts";
import { float, int, ints } from "./format.ts";
import type { Nodes } from "./nodes.ts";
import type { Texts } from "./text.ts";

/** Layers of a Transformer's blocks, whose values have an axis of tokens: [N,T,C]. */
const isOfTokens = (name: string): boolean => /^(blocks|transformer\.resblocks)\./.test(name);

/** `texts`: of a text tower. */
export function graph(nodes: Nodes, texts?: Texts): Ops<string> {
  const textsOf = (): Texts => texts ?? fail("ONNX: a layer for texts has got images");
  const add: Nodes["add"] = (...node) => nodes.add(...node);
  /** x * Phi(x) */
  const gelu = (name: string, x: string): string => {
    const below = add("Erf", `${name}:erf`, [add("Mul", `${name}:scaled`, [x, nodes.scalar(Math.SQRT1_2)])]);
    const above = add("Add", `${name}:above`, [below, nodes.scalar(1)]);
    const share = add("Mul", `${name}:share`, [above, nodes.scalar(0.5)]);
    return add("Mul", `${name}:gelu`, [x, share]);
  };
  return {
    conv(name, x, { size, stride }) {
      const pad = (size - 1) / 2;
      const shape = [
        ints("kernel_shape", size, size),
        ints("strides", stride, stride),
        ints("pads", pad, pad, pad, pad),
      ];
      return add("Conv", `${name}:out`, [x, `${name}.weight`], shape);
    },
    norm(name, x, { relu = false, affine = true, residual }) {
      if (!affine) throw new Error(`ONNX: ${name} has no gain and bias to write`); // of heads, which are not exported
      const inputs = ["weight", "bias", "running_mean", "running_var"].map((part) => `${name}.${part}`);
      // ONNX has channels second, and so has all that this encoder norms but the tokens of ViT-BN.
      const turn = (of: string, as: string) =>
        isOfTokens(name) ? add("Transpose", as, [of], [ints("perm", 0, 2, 1)]) : of;
      const normal = add(
        "BatchNormalization",
        `${name}:out`,
        [turn(x, `${name}:turned`), ...inputs],
        [float("epsilon", 1e-5)],
      );
      let y = turn(normal, `${name}:back`);
      if (residual) y = add("Add", `${name}:sum`, [y, residual()]);
      return relu ? add("Relu", `${name}:relu`, [y]) : y;
    },
    linear(name, x, { bias, gelu: wanted = false }) {
      if (!bias || !isOfTokens(name)) {
        const weights = [`${name}.weight`, ...(bias ? [`${name}.bias`] : [])];
        return add("Gemm", `${name}:out`, [x, ...weights], [int("transB", 1)]);
      }
      // Of tokens, which have three axes.
      const weight = add("Transpose", `${name}:weight`, [`${name}.weight`], [ints("perm", 1, 0)]);
      const y = add("Add", `${name}:out`, [add("MatMul", `${name}:product`, [x, weight]), `${name}.bias`]);
      return wanted ? gelu(name, y) : y;
    },
    relu: (name, x) => add("Relu", `${name}:relu`, [x]),
    patches(name, x, { size, to }) {
      const shape = [ints("kernel_shape", size, size), ints("strides", size, size)];
      const places = add("Conv", `${name}:out`, [x, `${name}.weight`, `${name}.bias`], shape); // [N,to,H,W]
      const rows = add("Reshape", `${name}:rows`, [places, nodes.integers(0, to, -1)]); // [N,to,T]
      return add("Transpose", `${name}:tokens`, [rows], [ints("perm", 0, 2, 1)]);
    },
    place(x, { position, token }) {
      let y = x;
      if (token) {
        const count = add("Slice", "images:count", [
          add("Shape", "images:shape", [x]),
          nodes.integers(0),
          nodes.integers(1),
          nodes.integers(0),
        ]);
        const shape = add("Concat", "cls_token:shape", [count, nodes.integers(1, 1)], [int("axis", 0)]);
        const first = add("Expand", "cls_token:all", ["cls_token", shape]); // [N,1,C]
        y = add("Concat", "tokens", [first, x], [int("axis", 1)]);
      }
      return position === "none" ? y : add("Add", "tokens:placed", [y, "pos_embed"]);
    },
    layerNorm: (name, x, _, epsilon = LAYER_NORM_EPSILON) =>
      add(
        "LayerNormalization",
        `${name}:out`,
        [x, `${name}.weight`, `${name}.bias`],
        [int("axis", -1), float("epsilon", epsilon)],
      ),
    attention(qkv, { heads, width, text }) {
      const name = (part: string) => `${qkv}:${part}`;
      const parts = add("Reshape", name("heads"), [qkv, nodes.integers(0, 0, 3, heads, width / heads)]); // [N,T,3,H,D]
      const turned = add("Transpose", name("turned"), [parts], [ints("perm", 2, 0, 3, 1, 4)]); // [3,N,H,T,D]
      const [q, k, v] = ["q", "k", "v"].map((part, i) =>
        add("Gather", name(part), [turned, nodes.index(i)], [int("axis", 0)]),
      );
      const keys = add("Transpose", name("keys"), [k as string], [ints("perm", 0, 1, 3, 2)]);
      const product = add("MatMul", name("product"), [q as string, keys]); // [N,H,T,T]
      const scores = add("Mul", name("scores"), [product, nodes.scalar(1 / Math.sqrt(width / heads))]);
      const seen = text ? textsOf().hide(name("seen"), scores, text.causal) : scores;
      const shares = add("Softmax", name("shares"), [seen], [int("axis", -1)]);
      const out = add("MatMul", name("out"), [shares, v as string]); // [N,H,T,D]
      const tokens = add("Transpose", name("tokens"), [out], [ints("perm", 0, 2, 1, 3)]);
      return add("Reshape", name("attended"), [tokens, nodes.integers(0, 0, width)]);
    },
    embedTokens: () => textsOf().embed(),
    poolTokens: (x, { causal }) => textsOf().pool(x, causal),
    add: (name, x, y) => add("Add", name, [x, y]),
    firstToken: (x) => add("Gather", "token", [x, nodes.index(0)], [int("axis", 1)]),
    concat: (xs) => add("Concat", "pooled", [...xs], [int("axis", 1)]),
    meanTokens: (x) => add("ReduceMean", "pooled", [x], [ints("axes", 1), int("keepdims", 0)]),
    maxPool: (x) =>
      add("MaxPool", "maxpool:out", [x], [ints("kernel_shape", 3, 3), ints("strides", 2, 2), ints("pads", 1, 1, 1, 1)]),
    meanPlaces: (x) => add("ReduceMean", "pooled", [x], [ints("axes", 2, 3), int("keepdims", 0)]),
    stem: (x, layers) => layers(x),
    block: (x, layers) => layers(x),
  };
}

function fail(message: string): never {
  throw new Error(message);
}
