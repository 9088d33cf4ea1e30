/** The kernels of a text Transformer, as bench/kernels.ts measures them: attention masked and not, and token embedding. */
import * as tf from "@tensorflow/tfjs-core";
import { ATTENTION, ATTENTION_GRAD, ATTENTION_OF_LENGTHS } from "../src/kernels/attention/index.ts";
import { EMBED_TOKENS, EMBED_TOKENS_GRAD } from "../src/kernels/embedding/index.ts";
import type { Case } from "./kernels.ts";

const random = (shape: number[]) => tf.randomNormal(shape, 0, 1, "float32", 1);

interface Size {
  readonly n: number;
  readonly tokens: number;
  readonly width: number;
  readonly heads: number;
}

export function textCases(): Case[] {
  const small = { n: 64, tokens: 32, width: 128, heads: 4 };
  const large = { n: 256, tokens: 64, width: 256, heads: 8 };
  return [small, large].flatMap((size) => [...attentions(size), ...embeddings(size, 8192)]);
}

/** Lengths of texts that fill 0.1 to 0.6 of the tokens. */
const lengthsOf = ({ n, tokens }: Size): number[] =>
  Array.from({ length: n }, (_, i) => Math.max(1, Math.round(tokens * (0.1 + (0.5 * ((7 * i) % n)) / n))));

/** Without a mask, causal, and causal with lengths; arithmetic is that of the pairs of a query and a key that it sees. */
function attentions(size: Size): Case[] {
  const { n, tokens, width, heads } = size;
  const qkv = random([n, tokens, 3 * width]);
  const dout = random([n, tokens, width]);
  const texts = lengthsOf(size);
  const lengths = tf.tensor1d(texts, "int32");
  const triangle = (t: number) => (t * (t + 1)) / 2;
  const masks = [
    { name: "no mask", causal: false, inputs: { qkv }, pairs: n * tokens ** 2 },
    { name: "causal", causal: true, inputs: { qkv }, pairs: n * triangle(tokens) },
    {
      name: "causal, lengths",
      causal: true,
      inputs: { qkv, lengths },
      pairs: texts.reduce((sum, t) => sum + triangle(t), 0),
    },
  ];
  return masks.flatMap(({ name, causal, inputs, pairs }): Case[] => {
    const forward = "lengths" in inputs ? ATTENTION_OF_LENGTHS : ATTENTION;
    const run = (kernel: string, given: object) =>
      tf.engine().runKernel(kernel, given as tf.NamedTensorMap, { heads, causal } as never);
    const [out, stats] = run(forward, inputs) as tf.Tensor[];
    const at = `${name}, ${heads} heads, texts of ${tokens} by ${width}, batch ${n}`;
    return [
      {
        work: `attention, ${at}`,
        kernel: forward,
        flop: 4 * width * pairs,
        bytes: 4 * (qkv.size + dout.size),
        run: () => tf.dispose(run(forward, inputs)),
      },
      {
        work: `attention gradient, ${at}`,
        kernel: ATTENTION_GRAD,
        flop: 8 * width * pairs,
        bytes: 4 * (2 * qkv.size + 2 * dout.size),
        run: () => tf.dispose(run(ATTENTION_GRAD, { ...inputs, out, stats, dout })),
      },
    ];
  });
}

function embeddings({ n, tokens: t, width }: Size, vocabulary: number): Case[] {
  const table = random([vocabulary, width]);
  const tokens = tf.randomUniform([n, t], 0, vocabulary, "int32", 1);
  const dy = random([n, t, width]);
  const run = (kernel: string, inputs: object) => () =>
    tf.dispose(tf.engine().runKernel(kernel, inputs as tf.NamedTensorMap, { vocabulary } as never));
  const at = `${n * t} of ${vocabulary} tokens, rows of ${width}`;
  return [
    {
      work: `token embedding, ${at}`,
      kernel: EMBED_TOKENS,
      flop: 0,
      bytes: 8 * dy.size,
      run: run(EMBED_TOKENS, { table, tokens }),
    },
    {
      work: `token embedding gradient, ${at}`,
      kernel: EMBED_TOKENS_GRAD,
      flop: dy.size,
      bytes: 4 * (table.size + 3 * dy.size),
      run: run(EMBED_TOKENS_GRAD, { tokens, dy }),
    },
  ];
}
