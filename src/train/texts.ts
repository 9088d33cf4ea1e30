/** The texts of a session's images: as tokens, and as features. */
import type { Images } from "../data/types.ts";
import { methodsWith, type TrainSpec } from "../schema/pretrain.ts";
import type { TextEncoderSpec } from "../schema/text_encoder.ts";
import { type TokenTable, textOf, tokenTable } from "../text/table.ts";
import { openTokenizer, type Tokenizer, type TokenizerFile, trainTokenizer } from "../text/tokenizer.ts";
import { FileError, UserError } from "../util/errors.ts";
import { Numbering } from "../util/numbering.ts";
import type { Batches } from "./batches.ts";
import type { Session, SessionTexts } from "./session.ts";

/** The text tower of a method that has one. */
export const textEncoderOf = (spec: TrainSpec): TextEncoderSpec | undefined => ("text" in spec ? spec.text : undefined);

/** @throws UserError where the method has none. */
export function expectTextEncoder(spec: TrainSpec): TextEncoderSpec {
  const found = textEncoderOf(spec);
  if (found) return found;
  const allowed = methodsWith("text").join(", ");
  throw new UserError(`spec.from: got a run of ${spec.method}, allowed: methods with a text tower: ${allowed}`);
}

/** Tokens of some texts by themselves. @throws UserError where the method has no text tower. */
export const tableOf = (texts: readonly string[], tokenizer: Tokenizer, spec: TrainSpec): TokenTable =>
  tokenTable(
    texts.map((text) => [text]),
    tokenizer,
    expectTextEncoder(spec).context,
  );

/** @throws FileError where the images have no texts. */
export function textsOf(name: string, { texts }: Images): readonly (readonly string[])[] {
  if (texts) return texts;
  throw new FileError(name, "texts are needed here, and these images have none: give spec.dataset.texts");
}

/**
 * The texts of the training images of a method that has texts; by the tokenizer of a checkpoint, or a new one for what it trains on.
 * @throws FileError where there are none.
 */
export function openTexts(session: Session, file: TokenizerFile | undefined): SessionTexts | undefined {
  const { spec, dataset, parts } = session;
  const encoder = textEncoderOf(spec);
  if (!encoder) return undefined;
  const texts = textsOf(dataset.name, dataset.train);
  // Held-out images are measured on: their texts have no part in it.
  const tokenizer = file ? openTokenizer(file) : trainTokenizer(encoder.tokens, textsAt(texts, parts.train));
  const different = Int32Array.from(texts.flat(), new Numbering<string>().of);
  return { tokenizer, table: tokenTable(texts, tokenizer, encoder.context), different };
}

/**
 * Share of the negatives of an epoch's batches that are false: the other pairs of a batch that have the very text of a pair. A function
 * of the seed and the epoch alone, so nothing of it is saved.
 */
export function falseNegatives(
  { stepsPerEpoch, indices }: Pick<Batches, "stepsPerEpoch" | "indices">,
  { table, different }: SessionTexts,
  { seed, batchSize }: TrainSpec,
  epoch: number,
): number {
  let same = 0;
  for (let step = epoch * stepsPerEpoch; step < (epoch + 1) * stepsPerEpoch; step++) {
    const counts = new Map<number, number>();
    for (const image of indices(step)) {
      const text = different[textOf(table, image, { seed, epoch })] as number;
      const before = counts.get(text) ?? 0;
      same += 2 * before;
      counts.set(text, before + 1);
    }
  }
  return same / (stepsPerEpoch * batchSize * (batchSize - 1));
}

/** What a result says of the texts of the training images. */
export interface TextsUsed {
  readonly count: number;
  /** Those that are longer than the context, of which only the beginning counts. */
  readonly cut: number;
  /** Most tokens of a text, start and end among them. */
  readonly context: number;
}

export const textsUsed = ({ table: { lengths, cut, length } }: SessionTexts): TextsUsed => ({
  count: lengths.length,
  cut,
  context: length,
});

/** What a person should hear of them. */
export function textsWarnings(texts: SessionTexts | undefined): string[] {
  const { count, cut, context } = texts ? textsUsed(texts) : { count: 0, cut: 0, context: 0 };
  if (cut === 0) return [];
  return [`text.context: ${cut} of ${count} texts have more than ${context} tokens and are cut`];
}

function* textsAt(texts: readonly (readonly string[])[], indices: Int32Array): Generator<string> {
  for (const index of indices) yield* texts[index] as readonly string[];
}

/** How an embedding of texts continues, and what it calls between tasks. */
export interface EmbedTextsOptions {
  /** f32[M, dim] of which the first `rows` are known: a multiple of `TEXTS`, or all. */
  readonly begun?: { features: Float32Array; rows: number };
  /** Awaited after every task with the rows that are known; may throw to stop. */
  readonly turn?: (rows: number) => Promise<void>;
}

/** Features f32[M, dim] of the texts of a table, not normalised, by the trained text tower as it is now. */
export async function embedTexts(
  { engine, model, alive }: Pick<Session, "engine" | "model" | "alive">,
  table: TokenTable,
  { begun, turn }: EmbedTextsOptions = {},
): Promise<Float32Array> {
  const count = table.lengths.length;
  const context = table.tokens.length / Math.max(1, count);
  const { dim } = model.trained;
  const all = begun?.features ?? new Float32Array(count * dim);
  for (let from = begun?.rows ?? 0; from < count; from += TEXTS) {
    const size = Math.min(TEXTS, count - from);
    const out = new Float32Array(new SharedArrayBuffer(size * dim * 4));
    const tokens = new Int32Array(new SharedArrayBuffer(size * context * 4));
    tokens.set(table.tokens.subarray(from * context, (from + size) * context));
    await engine.embedTexts({ kind: "embed texts", tokens, lengths: table.lengths.slice(from, from + size), out });
    all.set(out, from * dim);
    alive();
    await turn?.(from + size);
  }
  return all;
}

/** Texts of one task. */
export const TEXTS = 8192;
