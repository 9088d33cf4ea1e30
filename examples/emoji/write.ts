/** Writes the dataset: images, two tables of them, and whose they are. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../src/util/errors.ts";
import { inParallel } from "../../src/util/parallel.ts";
import { type DrawingSet, drawn, keyOfEmoji, openStyle, type SharedNames, sharedNames, svgOf } from "./drawings.ts";
import { type Emoji, familyOf, readEmoji, unseenEmoji } from "./emoji.ts";
import { fetched, type Package } from "./packages.ts";
import type { Style } from "./sources.ts";

export interface Wish {
  readonly out: string;
  /** Of an image in pixels. */
  readonly side: number;
  readonly styles: readonly Style[];
  /** The style that is in no training part. */
  readonly unseen: string;
  readonly names: Package;
  readonly languages: readonly string[];
}

export interface Written {
  readonly emoji: number;
  readonly images: Readonly<Record<string, number>>;
  /** Rows that are trained on, and of the test parts of the two tables. */
  readonly parts: { readonly train: number; readonly emoji: number; readonly style: number };
  /** Of all images and of both tables. */
  readonly bytes: { readonly images: number; readonly tables: number };
  /** Drawings that could not be drawn, with the error. */
  readonly failed: readonly string[];
}

interface Row extends Record<string, unknown> {
  readonly file: string;
  readonly label: string;
  readonly part: "train" | "test";
  readonly style: string;
  readonly hexcode: string;
}

const rowOf = ({ hexcode, group, texts }: Emoji, style: string, part: Row["part"]): Row => ({
  file: `images/${style}/${hexcode}.png`,
  label: group,
  part,
  style,
  hexcode,
  ...texts,
});

type Failed = (name: string, error: Error) => void;

/** PNGs of a set's drawings, by emoji; undefined where it has none. */
async function drawAll(set: DrawingSet, emoji: readonly Emoji[], shared: SharedNames, side: number, failed: Failed) {
  const svgs = emoji.map(({ hexcode }) => svgOf(set, keyOfEmoji(hexcode), shared, side));
  const families = new Map<string | undefined, Set<string>>();
  for (const [i, svg] of svgs.entries()) {
    families.set(svg, (families.get(svg) ?? new Set()).add(familyOf((emoji[i] as Emoji).hexcode)));
  }
  const pngs: (Buffer | undefined)[] = new Array(emoji.length);
  await inParallel(emoji.length, async (i) => {
    const svg = svgs[i];
    // By its name alone a drawing that two emoji find ("cricket", the insect and the game) may be either's.
    const isAmbiguous = set.own.size === 0 && (families.get(svg)?.size ?? 0) > 1;
    if (svg === undefined || isAmbiguous) return;
    const name = `${set.style} ${(emoji[i] as Emoji).hexcode}`;
    pngs[i] = await drawn(svg).catch((error: Error) => void failed(name, error));
  });
  return pngs;
}

/** Writes lines of JSON, and says how many bytes they are. */
function writeTable(file: string, rows: readonly Row[]): number {
  const text = rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  writeFileSync(file, text);
  return Buffer.byteLength(text);
}

/**
 * The same bytes every time. A style that has no drawing of an emoji leaves it out.
 *
 * @throws UserError for a style that there is not, and what fetching and opening the packages throws.
 */
export async function writeEmoji(wish: Wish, log: (message: string) => void): Promise<Written> {
  const { out, side, styles, unseen, names, languages } = wish;
  const known = styles.map(({ style }) => style);
  if (!known.includes(unseen)) throw new UserError(`unseen: got ${unseen}, allowed: ${known.join(", ")}`);
  const packages = join(out, "packages");
  const emoji = await readEmoji(fetched(names, packages, log), languages);
  const sets: DrawingSet[] = [];
  for (const style of styles) sets.push(await openStyle(style, fetched(style.source, packages, log)));
  const shared = sharedNames(sets);
  const held = unseenEmoji(emoji);
  const parts: Record<"train" | "emoji" | "style", Row[]> = { train: [], emoji: [], style: [] };
  const images: Record<string, number> = {};
  const failed: string[] = [];
  let bytes = 0;
  for (const set of sets) {
    const { style } = set;
    mkdirSync(join(out, "images", style), { recursive: true });
    const pngs = await drawAll(set, emoji, shared, side, (name, { message }) => failed.push(`${name}: ${message}`));
    for (const [i, of] of emoji.entries()) {
      const png = pngs[i];
      if (!png) continue;
      const part = held.has(of) ? "emoji" : style === unseen ? "style" : "train";
      const row = rowOf(of, style, part === "train" ? "train" : "test");
      parts[part].push(row);
      writeFileSync(join(out, row.file), png);
      bytes += png.length;
    }
    images[style] = pngs.filter(Boolean).length;
    log(`${style}: ${images[style]} of ${emoji.length} emoji`);
  }
  writeFileSync(join(out, "LICENCES.md"), licences(styles, names));
  const tables =
    writeTable(join(out, "emoji.jsonl"), [...parts.train, ...parts.emoji]) +
    writeTable(join(out, "unseen_style.jsonl"), [...parts.train, ...parts.style]);
  return {
    emoji: emoji.length,
    images,
    parts: { train: parts.train.length, emoji: parts.emoji.length, style: parts.style.length },
    bytes: { images: bytes, tables },
    failed: failed.sort(),
  };
}

export function licences(styles: readonly Style[], names: Package): string {
  const rows = styles.map(
    ({ style, source, licence, by }) => `| ${style} | ${by} | ${licence} | ${source.name}@${source.version} |`,
  );
  return [
    "Drawings, rasterised on white and otherwise unchanged, and names with keywords.",
    "",
    "| what | whose | licence | from |",
    "|---|---|---|---|",
    ...rows,
    `| names | Unicode's CLDR, by Emojibase | MIT | ${names.name}@${names.version} |`,
    "",
  ].join("\n");
}
