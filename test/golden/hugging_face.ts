/**
 * Writes texts, and tokenizers as Hugging Face's files, to test/golden/hugging_face.json; then hugging_face.py adds what the library makes
 * of them: bun test/golden/hugging_face.ts && python3 test/golden/hugging_face.py
 */
import { join } from "node:path";
import { huggingFaceFile } from "../../src/text/hugging_face.ts";
import { trainTokenizer } from "../../src/text/tokenizer.ts";
import trained from "./byte_pairs.json";

const context = 24;
const odd = [
  "",
  "  ",
  "A  B\tc\u0085d\ufeffe ",
  "ΟΔΟΣ, ΣΊΣΥΦΟΣ Σ",
  "İstanbul",
  "e\u0301COLE",
  "x".repeat(200),
  "👩‍👩‍👧‍👦 family",
];
const more = ["don't stop", "in 2024, 3½", "ﬁ <b>!</b>", "naïve café — “quotes”", "日本語のテキスト"];
const files = Object.fromEntries(
  [{ kind: "bytes" } as const, { kind: "bpe", vocabulary: 500 } as const].map((spec) => [
    spec.kind,
    huggingFaceFile(trainTokenizer(spec, trained.texts).toJSON(), context),
  ]),
);
const texts = [...odd, ...more, ...trained.texts.filter((_, i) => i % 40 === 0)];
await Bun.write(join(import.meta.dir, "hugging_face.json"), JSON.stringify({ context, texts, files, rows: {} }));
