/**
 * CLIP's text Transformer (Radford et al. 2021, section 2.4) with OpenCLIP's names and initialisation (model.py,
 * transformer.py). N texts, L tokens of a text, C width; tokens i32[N,L] -> [N,dim].
 */
import { type TextEncoderSpec, vocabularyOf } from "../../schema/text_encoder.ts";
import type { Init } from "../layout.ts";
import type { Ops } from "../ops.ts";

/** Hidden width of a block's MLP over C. */
const MLP = 4;

/** nn.LayerNorm's. */
const EPSILON = 1e-5;

const ZERO: Init = { kind: "constant", value: 0 };
const normal = (std: number): Init => ({ kind: "normal", std });

export function textTransformer<T>(ops: Ops<T>, spec: TextEncoderSpec, dim: number, tokens: T): T {
  const { width, depth, heads, context, causal } = spec;
  const of = { width, context };
  // Radford et al. 2019: the layers that write to the residual stream begin smaller as there are more of them.
  const [read, write] = [normal(width ** -0.5), normal(width ** -0.5 * (2 * depth) ** -0.5)];
  const block = (index: number, x: T): T => {
    const name = `transformer.resblocks.${index}`;
    const qkv = ops.linear(`${name}.attn.in_proj`, ops.layerNorm(`${name}.ln_1`, x, width, EPSILON), {
      from: width,
      to: 3 * width,
      bias: true,
      init: read,
      biasInit: ZERO,
    }); // [N,L,3C]
    const attended = ops.linear(`${name}.attn.out_proj`, ops.attention(qkv, { heads, width, text: { causal } }), {
      from: width,
      to: width,
      bias: true,
      init: write,
      biasInit: ZERO,
    }); // [N,L,C]
    const y = ops.add(`${name}.attended`, x, attended);
    const hidden = ops.linear(`${name}.mlp.c_fc`, ops.layerNorm(`${name}.ln_2`, y, width, EPSILON), {
      from: width,
      to: MLP * width,
      bias: true,
      gelu: true,
      init: normal((2 * width) ** -0.5),
    }); // [N,L,4C]
    const out = ops.linear(`${name}.mlp.c_proj`, hidden, { from: MLP * width, to: width, bias: true, init: write });
    return ops.add(`${name}.out`, y, out);
  };

  let x = ops.stem(tokens, (input) => ops.embedTokens(input, { ...of, vocabulary: vocabularyOf(spec.tokens) })); // [N,L,C]
  for (let i = 0; i < depth; i++) x = ops.block(x, (inner) => block(i, inner));
  const features = ops.poolTokens(ops.layerNorm("ln_final", x, width, EPSILON), { causal }); // [N,L,C] -> [N,C]
  return ops.linear("text_projection", features, { from: width, to: dim, bias: false, init: read }); // [N,dim]
}

/** Floats of activations and their gradients for a text of the longest kind, more than there are at once. */
export const mostTextActivations = ({ width, depth, context }: TextEncoderSpec): number => 40 * width * depth * context;
