/**
 * A tokenizer as the file that Hugging Face's `tokenizers` reads (`Tokenizer.from_file`). What it encodes is a row of a token table: start,
 * the text's tokens, end, padding. The names of the special tokens are the one thing that the library finds in a text and we do not.
 */
import type { TokenizerFile } from "./tokenizer_file.ts";
import { END, PADDING, START } from "./tokens.ts";
import { WORD } from "./words.ts";

const PAD_NAME = "<|padding|>";
/** CLIP's. */
const [START_NAME, END_NAME] = ["<|startoftext|>", "<|endoftext|>"];

/** What JavaScript's \s is: the library's has U+0085 and lacks U+FEFF. */
const SPACES = "[\\t-\\r \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff]+".replace(
  /\\u([0-9a-f]{4})/g,
  (_, digits) => String.fromCharCode(Number.parseInt(digits, 16)),
);

/** GPT-2's character of each byte: printable ones their own, the others from U+0100 on. */
const byteNames: readonly string[] = (() => {
  let next = 0x100;
  const isPrintable = (byte: number) =>
    (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad) /* soft hyphen */;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
})();

const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false };
const special = (id: number, content: string) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});
const inTemplate = (id: string) => ({ SpecialToken: { id, type_id: 0 } });

/**
 * @param context - Tokens of a row: longer texts are cut, shorter ones padded.
 * @returns JSON; undefined where two tokens are of the same bytes, which the format cannot tell apart.
 */
export function huggingFaceFile(file: TokenizerFile, context: number): object | undefined {
  const pairs = file.kind === "bpe" ? file.pairs : [];
  const names = [PAD_NAME, START_NAME, END_NAME, ...byteNames];
  for (const [first, second] of pairs) names.push(`${names[first]}${names[second]}`);
  const vocab = Object.fromEntries(names.map((name, token) => [name, token]));
  if (Object.keys(vocab).length < names.length) return undefined;
  const split = { type: "Split", pattern: { Regex: WORD.source }, behavior: "Isolated", invert: false };
  const words = file.kind === "bpe";
  return {
    version: "1.0",
    truncation: { direction: "Right", max_length: context, strategy: "LongestFirst", stride: 0 },
    padding: {
      strategy: { Fixed: context },
      direction: "Right",
      pad_to_multiple_of: null,
      pad_id: PADDING,
      pad_type_id: 0,
      pad_token: PAD_NAME,
    },
    added_tokens: [special(PADDING, PAD_NAME), special(START, START_NAME), special(END, END_NAME)],
    // As `prepared`.
    normalizer: {
      type: "Sequence",
      normalizers: [
        // It lowers letter by letter, so a sigma that ends a word has to be lowered first.
        { type: "Replace", pattern: { Regex: "(?<=\\p{L})Σ(?!\\p{L})" }, content: "ς" },
        { type: "Lowercase" },
        { type: "NFC" },
        { type: "Replace", pattern: { Regex: SPACES }, content: " " },
        { type: "Strip", strip_left: true, strip_right: true },
        ...(words ? [{ type: "Prepend", prepend: " " }] : []),
      ],
    },
    pre_tokenizer: words ? { type: "Sequence", pretokenizers: [split, byteLevel] } : byteLevel,
    post_processor: {
      type: "TemplateProcessing",
      single: [inTemplate(START_NAME), { Sequence: { id: "A", type_id: 0 } }, inTemplate(END_NAME)],
      pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
      special_tokens: Object.fromEntries(
        [START_NAME, END_NAME].map((name) => [name, { id: name, ids: [vocab[name]], tokens: [name] }]),
      ),
    },
    decoder: words
      ? { type: "Sequence", decoders: [byteLevel, { type: "Strip", content: " ", start: 1, stop: 0 }] }
      : byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges: pairs.map(([first, second]) => `${names[first]} ${names[second]}`),
    },
  };
}
