/** A network: an encoder and its heads over one flat layout of parameters and one of running statistics. */
import * as tf from "@tensorflow/tfjs-core";
import { attention } from "../kernels/attention/index.ts";
import { batchNormEval, batchNormTrain, type NormInputs, type NormMeeting } from "../kernels/batch_norm/index.ts";
import { embedTokens } from "../kernels/embedding/index.ts";
import { layerNorm } from "../kernels/layer_norm/index.ts";
import { linear } from "../kernels/linear/index.ts";
import { maxPool } from "../kernels/max_pool/index.ts";
import { meanPlaces } from "../kernels/mean_places/index.ts";
import { patches } from "../kernels/patches/index.ts";
import { scaleRows } from "../kernels/scale_rows/index.ts";
import { firstToken, place } from "../kernels/tokens/index.ts";
import type { EncoderSpec } from "../schema/pretrain.ts";
import type { TextEncoderSpec } from "../schema/text_encoder.ts";
import { encode, featuresOf } from "./encoders/index.ts";
import { textTransformer } from "./encoders/text.ts";
import { sincosPositions } from "./encoders/vit.ts";
import { applyHead, dimensionOfHead, type HeadSpec } from "./heads.ts";
import { Layout, OWN, TEXT } from "./layout.ts";
import { LAYER_NORM_EPSILON, type Ops } from "./ops.ts";

/** What a forward pass reads and writes besides its input. */
export interface Pass {
  param(name: string): tf.Tensor;
  /**
   * Train: normalise by the batch, or by each of `groups` equal parts of it, and hand the statistics over, with the number
   * of rows that they are of. `meeting`: the rows are a part of a batch whose other parts other threads have. Eval: by the
   * running statistics.
   */
  readonly norm:
    | {
        mode: "train";
        groups: number;
        meeting?: NormMeeting | undefined;
        record: (name: string, mean: tf.Tensor, variance: tf.Tensor, rows: number) => void;
      }
    | { mode: "eval"; stat: (name: string) => tf.Tensor };
  /** f32[N]: factor of each image's residual branch; unset: they are all taken as they are. */
  readonly branch?: ((index: number) => tf.Tensor) | undefined;
}

/** Texts of about one length: their tokens, i32[N,L], and how many of each count, i32[N]; the others are padding. */
export interface TextGroup {
  readonly tokens: tf.Tensor;
  readonly lengths: tf.Tensor;
}
/** N texts, in groups that follow one another: padding costs as much as a text has. */
export type Texts = readonly TextGroup[];

/** A tower for texts beside the image encoder. `dim`: of its projection. */
export interface TextTower {
  readonly encoder: TextEncoderSpec;
  readonly dim: number;
}

export interface Network {
  readonly params: Layout;
  /** running_mean and running_var of every batch norm. */
  readonly stats: Layout;
  /** Of the images, whose views have this side in pixels. */
  readonly channels: number;
  readonly side: number;
  /** Dimension of the backbone's features. */
  readonly features: number;
  /** Dimension of the first head's output: of a projection. The features' own where there is no head. */
  readonly dim: number;
  /** f32[N,HW,HW,C] -> f32[N,features]; of a ViT's last `blocks` blocks f32[N,features * blocks], see `vit`. Unset: 1. */
  backbone(pass: Pass, images: tf.Tensor, blocks?: number): tf.Tensor;
  /** One of the heads. Throws where there is none of that name. */
  head(name: string, pass: Pass, x: tf.Tensor): tf.Tensor;
  /** The first head: f32[N,features] -> f32[N,dim], not normalised. */
  project(pass: Pass, features: tf.Tensor): tf.Tensor;
  /** f32[N,dim] of its text tower, not normalised. @throws where it has none. */
  text(pass: Pass, texts: Texts): tf.Tensor;
}

/** Heads in the order in which their parameters follow the encoder's. */
export type Heads = Readonly<Record<string, HeadSpec>>;

/** A parameter that neither encoder nor heads have: a learned temperature. It is trained like the others. */
export interface ParameterSpec {
  readonly shape: readonly number[];
  /** First value of every element. */
  readonly init: number;
  /** Whether it is decayed; unset: no. */
  readonly decay?: boolean;
  /** Bounds that it is clamped to after every update. */
  readonly range?: readonly [low: number, high: number];
}

export function buildNetwork(
  spec: EncoderSpec,
  channels: number,
  side: number,
  heads: Heads = {},
  own: Readonly<Record<string, ParameterSpec>> = {},
  text?: TextTower,
): Network {
  const [params, stats] = [new Layout(), new Layout()];
  const features = featuresOf(spec);
  encode(declaring(params, stats, "backbone"), spec, channels, side, undefined);
  const inputs = new Map<string, number>();
  let dim = features;
  for (const [name, head] of Object.entries(heads)) {
    inputs.set(name, dim);
    applyHead(declaring(params, stats, name), name, head, dim, undefined);
    dim = dimensionOfHead(head, dim);
  }
  if (text) textTransformer(declaring(params, stats, TEXT), text.encoder, text.dim, undefined);
  for (const [name, { shape, init: value, decay = false, range }] of Object.entries(own)) {
    params.add(name, shape, { kind: "constant", value }, { part: OWN, axes: "plain", decay, range });
  }
  const head: Network["head"] = (name, pass, x) => {
    const input = inputs.get(name);
    if (input === undefined) throw new Error(`the network has no head ${name}, only ${[...inputs.keys()]}`);
    return applyHead(computing(pass), name, heads[name] as HeadSpec, input, x);
  };
  const [first] = Object.keys(heads);
  return {
    params,
    stats,
    channels,
    side,
    features,
    dim: first === undefined ? features : dimensionOfHead(heads[first] as HeadSpec, features),
    backbone: (pass, images, blocks) => encode(computing(pass), spec, channels, side, images, blocks),
    head,
    project: (pass, x) => (first === undefined ? x : head(first, pass, x)),
    text(pass, texts) {
      if (!text) throw new Error("the network has no text tower");
      const rows = texts.map(({ tokens, lengths }) =>
        textTransformer(computing(pass, lengths), text.encoder, text.dim, tokens),
      );
      return rows.length === 1 ? (rows[0] as tf.Tensor) : tf.concat(rows, 0); // [N,dim]
    },
  };
}

/** Adds every parameter to the layouts in the order of construction, and computes nothing. */
function declaring(params: Layout, stats: Layout, part: string): Ops<undefined> {
  const one = { kind: "constant", value: 1 } as const;
  const zero = { kind: "constant", value: 0 } as const;
  const plain = { part, axes: "plain", decay: false } as const;
  return {
    conv(name, _, { size, from, to, init = { kind: "kaiming-fan-out" } }) {
      params.add(`${name}.weight`, [size, size, from, to], init, { part, axes: "conv" });
      return undefined;
    },
    norm(name, _, { channels, affine = true, residual, zeroInit }) {
      if (affine) {
        params.add(`${name}.weight`, [channels], zeroInit ? zero : one, plain);
        params.add(`${name}.bias`, [channels], zero, plain);
      }
      stats.add(`${name}.running_mean`, [channels], zero, plain);
      stats.add(`${name}.running_var`, [channels], one, plain);
      residual?.();
      return undefined;
    },
    linear(name, _, { from, to, bias, init, biasInit }) {
      const torch = { kind: "uniform", bound: 1 / Math.sqrt(from) } as const;
      params.add(`${name}.weight`, [from, to], init ?? torch, { part, axes: "linear" });
      if (bias) params.add(`${name}.bias`, [to], biasInit ?? torch, plain);
      return undefined;
    },
    patches(name, _, { size, from, to, init, biasInit, frozen }) {
      params.add(`${name}.weight`, [size, size, from, to], init, { part, axes: "conv", frozen });
      params.add(`${name}.bias`, [to], biasInit, { ...plain, frozen });
      return undefined;
    },
    place(_, { width, grid, position, token, init }) {
      const count = grid * grid + (token ? 1 : 0);
      // MoCo v3 decays them: its optimiser has one group.
      const of = { ...plain, decay: true };
      if (token) params.add("cls_token", [1, 1, width], init, of);
      const shape = [1, count, width];
      if (position === "learned") params.add("pos_embed", shape, { kind: "normal", std: 0.02 }, of);
      if (position === "sincos") {
        const values = () => sincosPositions(width, grid, token);
        params.add("pos_embed", shape, { kind: "table", values }, { ...plain, frozen: true });
      }
      return undefined;
    },
    layerNorm(name, _, channels) {
      params.add(`${name}.weight`, [channels], one, plain);
      params.add(`${name}.bias`, [channels], zero, plain);
      return undefined;
    },
    attention: () => undefined,
    add: () => undefined,
    embedTokens(_, { vocabulary, context, width }) {
      const of = { ...plain, decay: true };
      params.add("token_embedding.weight", [vocabulary, width], { kind: "normal", std: 0.02 }, of);
      params.add("positional_embedding", [1, context, width], { kind: "normal", std: 0.01 }, of);
      return undefined;
    },
    poolTokens: () => undefined,
    firstToken: () => undefined,
    meanTokens: () => undefined,
    concat: () => undefined,
    relu: () => undefined,
    maxPool: () => undefined,
    meanPlaces: () => undefined,
    stem: (_, layers) => layers(undefined),
    block: (_, layers) => layers(undefined),
  };
}

/** Runs on tensors, recorded on the tape where there is one. `lengths`: of texts, i32[N]. */
function computing(pass: Pass, lengths?: tf.Tensor): Ops<tf.Tensor> {
  const lengthsOf = () => lengths ?? fail("a layer for texts has got images");
  return {
    conv: (name, x, { size, stride }) =>
      tf.conv2d(x as tf.Tensor4D, pass.param(`${name}.weight`) as tf.Tensor4D, stride, (size - 1) / 2),
    norm(name, x, { channels, relu = false, affine = true, residual }) {
      const inputs: NormInputs = { x, affine: undefined };
      if (affine) inputs.affine = { gamma: pass.param(`${name}.weight`), beta: pass.param(`${name}.bias`) };
      if (residual) inputs.residual = residual();
      if (pass.norm.mode === "eval") {
        const { stat } = pass.norm;
        return batchNormEval(inputs, stat(`${name}.running_mean`), stat(`${name}.running_var`), relu);
      }
      const { groups, meeting, record } = pass.norm;
      const [y, mean, variance] = batchNormTrain(inputs, relu, { groups, meeting });
      record(name, mean, variance, (x.size / channels / groups) * (meeting?.parts ?? 1));
      return y;
    },
    linear(name, x, { bias, gelu = false }) {
      if (x.rank > 2) return linear(x, pass.param(`${name}.weight`), pass.param(`${name}.bias`), gelu);
      const product = tf.matMul(x as tf.Tensor2D, pass.param(`${name}.weight`) as tf.Tensor2D); // [N,from] -> [N,to]
      return bias ? tf.add(product, pass.param(`${name}.bias`)) : product;
    },
    patches(name, x, { size, from, to }) {
      const weight = tf.reshape(pass.param(`${name}.weight`), [size * size * from, to]);
      const [n, h, w] = x.shape as [number, number, number];
      const rows = size === 1 ? tf.reshape(x, [n, h * w, from]) : patches(x, size); // [N,S,S,from] -> [N,T,size*size*from]
      return linear(rows, weight, pass.param(`${name}.bias`)); // [N,T,to]
    },
    place: (x, { position, token }) =>
      place(x, {
        token: token ? pass.param("cls_token") : undefined,
        positions: position === "none" ? undefined : pass.param("pos_embed"),
      }),
    layerNorm: (name, x, _, epsilon = LAYER_NORM_EPSILON) =>
      layerNorm(x, pass.param(`${name}.weight`), pass.param(`${name}.bias`), epsilon),
    attention: (qkv, { heads, text }) =>
      text ? attention(qkv, heads, { causal: text.causal, lengths: lengthsOf() }) : attention(qkv, heads),
    add(_, x, y, branch) {
      const factors = branch === undefined ? undefined : pass.branch?.(branch);
      return tf.add(x, factors ? scaleRows(y, factors) : y);
    },
    embedTokens(tokens) {
      const [, length] = tokens.shape as [number, number];
      const all = pass.param("positional_embedding"); // [1,context,C]
      const [, context, width] = all.shape as [number, number, number];
      const positions = length === context ? all : tf.slice(all, [0, 0, 0], [1, length, width]);
      const embedded = embedTokens(pass.param("token_embedding.weight"), tokens); // [N,L] -> [N,L,C]
      return place(embedded, { token: undefined, positions });
    },
    poolTokens(x, { causal }) {
      const [n, l, c] = x.shape as [number, number, number];
      const weights = tf.mul(causal ? lastOf(lengthsOf(), l) : meanOf(lengthsOf(), l), l); // [N,L]
      const weighted = scaleRows(tf.reshape(x, [n * l, c]), tf.reshape(weights, [n * l]));
      return meanPlaces(tf.reshape(weighted, [n, l, 1, c])); // [N,L,C] -> [N,C]
    },
    firstToken,
    meanTokens(x) {
      const [n, t, c] = x.shape as [number, number, number];
      return meanPlaces(tf.reshape(x, [n, t, 1, c])); // [N,T,C] -> [N,C]
    },
    concat: (xs) => tf.concat([...xs] as tf.Tensor2D[], 1),
    relu: (_, x) => tf.relu(x),
    maxPool: (x) => maxPool(x, 3, 2, 1),
    meanPlaces,
    // What a gradient needs of the tensors of a block, the tape keeps.
    stem: (x, layers) => tf.tidy(() => layers(x)),
    block(x, layers) {
      const y = tf.tidy(() => layers(x));
      x.dispose();
      return y;
    },
  };
}

/** 1 at the last token of each text. i32[N] -> f32[N,L] */
const lastOf = (lengths: tf.Tensor, l: number): tf.Tensor =>
  tf.cast(tf.oneHot(tf.sub(lengths, tf.scalar(1, "int32")) as tf.Tensor1D, l), "float32");

/** 1 / length at each token of a text. i32[N] -> f32[N,L] */
function meanOf(lengths: tf.Tensor, l: number): tf.Tensor {
  const counts = tf.expandDims(lengths, 1); // [N,1]
  const inside = tf.less(tf.range(0, l, 1, "int32"), counts); // [N,L]
  return tf.div(tf.cast(inside, "float32"), tf.cast(counts, "float32"));
}

function fail(message: string): never {
  throw new Error(message);
}
