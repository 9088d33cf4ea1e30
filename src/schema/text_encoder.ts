/** The text tower of a method on pairs of images and texts. */
import { z } from "zod";
import { type TokensSpec, tokensSpec } from "./text.ts";

export const textEncoderSpec = z.strictObject({
  tokens: tokensSpec.describe("how texts become tokens"),
  context: z.int().min(4).max(512).describe("most tokens of a text, start and end among them; longer ones are cut"),
  width: z.int().min(4).max(4096).describe("dimension of a token, a multiple of heads"),
  depth: z.int().min(1).max(64).describe("blocks"),
  heads: z.int().min(1).max(64),
  causal: z
    .boolean()
    .describe(
      "true: a token sees those before it, and the features are the last one's, as CLIP's; false: all see all, and their mean",
    ),
});
export type TextEncoderSpec = z.infer<typeof textEncoderSpec>;

/** Tokens that every tokenizer has: the bytes, and padding, start and end of a text. */
export const LEAST_VOCABULARY = 256 + 3;

/** Tokens that a tokenizer of this spec has at the most, known before there are texts: rows of the table of token embeddings. */
export const vocabularyOf = (tokens: TokensSpec): number =>
  tokens.kind === "bytes" ? LEAST_VOCABULARY : tokens.vocabulary;
