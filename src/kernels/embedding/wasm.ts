/** Token embedding on WASM; the meaning and the gradient are in `index.ts`. */
import * as tf from "@tensorflow/tfjs-core";
import { allocate, integersOf, pointer, wasmDevice } from "../../backend/wasm.ts";
import { registerOn, type Tensors } from "../register.ts";
import { EMBED_TOKENS, EMBED_TOKENS_GRAD, type EmbedTokensAttrs } from "./index.ts";

/** Fails where a token is no row of the table: the kernels would read or write anywhere. */
function expectRows(tokens: tf.TensorInfo, vocabulary: number): void {
  for (const [place, token] of integersOf(tokens).entries()) {
    if (token >= 0 && token < vocabulary) continue;
    throw new Error(`token embedding: got token ${token} at place ${place}, allowed: 0 to ${vocabulary - 1}`);
  }
}

export function registerEmbeddingWasm(): void {
  const register = registerOn("wasm");
  register(EMBED_TOKENS, ({ table, tokens }: Tensors<"table" | "tokens">) => {
    const [vocabulary, channels] = table.shape as [number, number];
    expectRows(tokens, vocabulary);
    const y = allocate([...tokens.shape, channels]);
    const places = tf.util.sizeFromShape(tokens.shape);
    wasmDevice().kernels.embedTokens(pointer(table), pointer(tokens), pointer(y), places, channels);
    return y;
  });
  register(EMBED_TOKENS_GRAD, ({ tokens, dy }: Tensors<"tokens" | "dy">, { vocabulary }: EmbedTokensAttrs) => {
    const channels = dy.shape.at(-1) as number;
    const dtable = allocate([vocabulary, channels]);
    const places = tf.util.sizeFromShape(tokens.shape);
    const at = [tokens, dy, dtable].map(pointer) as [number, number, number];
    wasmDevice().kernels.embedTokensGrad(...at, places, vocabulary, channels);
    return dtable;
  });
}
