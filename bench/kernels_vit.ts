/** The kernels of a Vision Transformer, as bench/kernels.ts measures them: ViT-tiny at 32x32, patch 4, and ViT-small/16 at 224. */
import * as tf from "@tensorflow/tfjs-core";
import { ATTENTION, ATTENTION_GRAD, attention } from "../src/kernels/attention/index.ts";
import { LAYER_NORM, LAYER_NORM_GRAD, layerNorm } from "../src/kernels/layer_norm/index.ts";
import { BIAS_GRAD, LINEAR, linear } from "../src/kernels/linear/index.ts";
import { PATCHES, patches } from "../src/kernels/patches/index.ts";
import type { Case } from "./kernels.ts";

const random = (shape: number[]) => tf.randomNormal(shape, 0, 1, "float32", 1);
const EPSILON = 1e-6;

interface Size {
  readonly n: number;
  readonly tokens: number;
  readonly width: number;
  readonly heads: number;
}

export function vitCases(): Case[] {
  const tiny = { n: 32, tokens: 65, width: 192, heads: 3 };
  const small = { n: 8, tokens: 197, width: 384, heads: 12 };
  return [...[tiny, small].flatMap(block), cut(32, 32, 4), cut(8, 224, 16)];
}

/** Of one block: attention, the norms before it and the MLP, the MLP's first layer; each with its gradient. */
function block({ n, tokens, width, heads }: Size): Case[] {
  const at = `${tokens} tokens of ${width}, batch ${n}`;
  const run =
    (kernel: string, inputs: object, attrs: object = {}) =>
    () =>
      tf.dispose(tf.engine().runKernel(kernel, inputs as tf.NamedTensorMap, attrs as never));
  const outputsOf = (kernel: string, inputs: object, attrs: object) =>
    tf.engine().runKernel(kernel, inputs as tf.NamedTensorMap, attrs as never) as tf.Tensor[];
  const peer = (kernel: string) => ({ kernel, n, tokens, width, heads });

  const qkv = random([n, tokens, 3 * width]);
  const [out, stats] = outputsOf(ATTENTION, { qkv }, { heads }) as [tf.Tensor, tf.Tensor];
  const dout = random([n, tokens, width]);
  /** Of one product of tokens by tokens, all heads. */
  const product = 2 * n * tokens * tokens * width;

  const x = random([n, tokens, width]);
  const [gamma, beta] = [tf.ones([width]), tf.zeros([width])];
  const [, moments] = outputsOf(LAYER_NORM, { x, gamma, beta }, { epsilon: EPSILON }) as [tf.Tensor, tf.Tensor];

  const wide = 4 * width;
  const [w, bias] = [random([width, wide]), random([wide])];
  const [, z] = outputsOf(LINEAR, { x, w, bias }, { gelu: true }) as [tf.Tensor, tf.Tensor];
  const dy = random([n, tokens, wide]);
  const layer = 2 * n * tokens * width * wide;
  const values = n * tokens * wide;
  return [
    {
      work: `attention, ${heads} heads, ${at}`,
      kernel: ATTENTION,
      flop: 2 * product,
      bytes: 4 * (qkv.size + out.size),
      peer: peer("attention"),
      run: () => tf.dispose(attention(qkv, heads)),
    },
    {
      // The definition's; ours computes the scores once more.
      work: `attention gradient, ${heads} heads, ${at}`,
      kernel: ATTENTION_GRAD,
      flop: 4 * product,
      bytes: 4 * (2 * qkv.size + 2 * out.size),
      peer: peer("attention gradient"),
      run: run(ATTENTION_GRAD, { qkv, out, stats, dout }, { heads }),
    },
    {
      work: `layer norm, ${at}`,
      kernel: LAYER_NORM,
      flop: 8 * x.size,
      bytes: 8 * x.size,
      peer: peer("layer norm"),
      run: () => tf.dispose(layerNorm(x, gamma, beta, EPSILON)),
    },
    {
      work: `layer norm gradient, ${at}`,
      kernel: LAYER_NORM_GRAD,
      flop: 13 * x.size,
      bytes: 12 * x.size,
      peer: peer("layer norm gradient"),
      run: run(LAYER_NORM_GRAD, { x, gamma, stats: moments, dy: dout }),
    },
    {
      work: `linear to ${wide} and GELU, ${at}`,
      kernel: LINEAR,
      flop: layer,
      bytes: 4 * (x.size + w.size + 2 * values),
      peer: peer("linear and GELU"),
      run: () => tf.dispose(linear(x, w, bias, true)),
    },
    {
      // exp, a polynomial of the error function, and the products with dy and z.
      work: `GELU and bias gradient of ${wide}, ${at}`,
      kernel: BIAS_GRAD,
      flop: 24 * values,
      bytes: 12 * values,
      peer: peer("GELU gradient"),
      run: run(BIAS_GRAD, { dy, z }),
    },
  ];
}

/** The copy of patches into rows, before one product. */
function cut(n: number, side: number, patch: number): Case {
  const x = random([n, side, side, 3]);
  return {
    work: `patches of ${patch} at ${side}, batch ${n}`,
    kernel: PATCHES,
    flop: 0,
    bytes: 8 * x.size,
    run: () => tf.dispose(patches(x, patch)),
  };
}
