/**
 * Makes a dataset of pairs: emoji drawn in seven styles, with names and keywords in eight languages.
 *
 *     bun examples/emoji.ts --out <folder> [--side 64] [--unseen openmoji] [--languages en,de] [--json]
 *
 * Drawings and names are packages of npm with pinned versions and hashes, kept in <folder>/packages. What it writes:
 *
 *     images/<style>/<code points>.png
 *     emoji.jsonl           trained on: 9 of 10 emoji in all styles but one; test: the other emoji in all styles
 *     unseen_style.jsonl    the same training part; test: its emoji in the style that is not in it
 *     LICENCES.md           whose the drawings are
 */
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { UserError } from "../src/util/errors.ts";
import { languages, names, styles } from "./emoji/sources.ts";
import { licences, writeEmoji } from "./emoji/write.ts";

const { values } = parseArgs({
  options: {
    out: { type: "string" },
    side: { type: "string", default: "64" },
    unseen: { type: "string", default: "openmoji" },
    languages: { type: "string", default: languages.join(",") },
    json: { type: "boolean", default: false },
  },
});

async function main(): Promise<void> {
  if (values.out === undefined) throw new UserError("--out: got nothing, allowed: a folder");
  const side = z.coerce.number().int().min(8).max(512).safeParse(values.side);
  if (!side.success) throw new UserError(`--side: got ${values.side}, allowed: 8 to 512`);
  const out = resolve(values.out);
  const wish = { out, side: side.data, styles, names, unseen: values.unseen, languages: values.languages.split(",") };
  const written = await writeEmoji(wish, (message) => console.error(message));
  if (values.json) {
    console.log(JSON.stringify(written));
    return;
  }
  const { emoji, images, parts, bytes, failed } = written;
  const count = Object.values(images).reduce((sum, of) => sum + of, 0);
  const megabytes = (of: number) => `${(of / 1e6).toFixed(1)} MB`;
  const path = join(out, "emoji.jsonl");
  console.log(
    [
      `${count} images of ${emoji} emoji, ${megabytes(bytes.images)}, and tables of ${megabytes(bytes.tables)}`,
      `trained on: ${parts.train}; test: ${parts.emoji} of unseen emoji, ${parts.style} of the unseen style`,
      ...failed.map((line) => `could not be drawn: ${line}`),
      "",
      licences(styles, names),
      `npm run mocod -- data check '${JSON.stringify({ kind: "table", path, size: side.data, texts: ["en"] })}'`,
    ].join("\n"),
  );
}

main().catch((error: unknown) => {
  if (!(error instanceof UserError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
});
