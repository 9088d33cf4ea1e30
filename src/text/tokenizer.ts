/** Tokenizers by their spec and by their file. */
import type { TokensSpec } from "../schema/text.ts";
import { UserError } from "../util/errors.ts";
import { BytePairs } from "./byte_pairs.ts";
import { bytesTokenizer } from "./bytes.ts";
import { trainPairs } from "./pairs.ts";
import { type Tokenizer, type TokenizerFile, tokenizerFile } from "./tokenizer_file.ts";
import { FIRST_PAIR, prepared } from "./tokens.ts";
import { countWords } from "./words.ts";

export type { Tokenizer, TokenizerFile };

function* preparedOf(texts: Iterable<string>): Iterable<string> {
  for (const text of texts) yield prepared(text);
}

/** The same one for the same texts, in whatever order they are. */
export function trainTokenizer(spec: TokensSpec, texts: Iterable<string>): Tokenizer {
  if (spec.kind === "bytes") return bytesTokenizer;
  return new BytePairs(trainPairs(countWords(preparedOf(texts)), spec.vocabulary - FIRST_PAIR));
}

/**
 * @param from - Where the file is from, for errors.
 * @throws UserError that names the first bad field.
 */
export function openTokenizer(file: unknown, from = "tokenizer"): Tokenizer {
  const parsed = tokenizerFile.safeParse(file);
  const issue = parsed.error?.issues[0];
  if (issue) throw new UserError(`${[from, ...issue.path].join(".")}: allowed: ${issue.message}`);
  const { kind, ...rest } = parsed.data as TokenizerFile;
  return "pairs" in rest ? new BytePairs(rest.pairs) : bytesTokenizer;
}
