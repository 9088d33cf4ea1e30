/** Texts of images: those that have none are left out, counted and named. */
import type { TextsReport, TextsSetting } from "../schema/dataset.ts";
import { FileError, messageOf, UnreachableError } from "../util/errors.ts";
import { inParallel } from "../util/parallel.ts";
import type { ImageFile, Listing } from "./listing/index.ts";

/** Images without a text that a message names, and a report. */
const NAMED = 3;
const REPORTED = 100;
/** Files that are read to find a text, before anything is trained on them. */
const LOOKED_AT = 1000;

/** A dataset's place and where its texts are. */
interface Texted {
  readonly path: string;
  readonly texts?: TextsSetting | undefined;
}

/** Images without a text. */
export interface Without {
  readonly count: number;
  /** The first of them, and what is wrong with the file of one that has such a file. */
  readonly names: readonly string[];
}

const NONE: Without = { count: 0, names: [] };

const withoutOf = (names: readonly string[]): Without => ({ count: names.length, names: names.slice(0, REPORTED) });

const firstOf = ({ names }: Without): string => names.slice(0, NAMED).join(", ");

/** What a user is told of a part. */
function notesOf(part: string, without: Without, count: number): string[] {
  if (without.count === 0) return [];
  return [`${without.count} of ${count} ${part} images have no text and are left out (first: ${firstOf(without)})`];
}

/** No training image has a text. */
function noTexts(path: string, setting: TextsSetting, without: Without): FileError {
  const where = setting === "beside" ? "a .txt beside it" : setting.map((name) => `"${name}"`).join(" or ");
  return new FileError(
    path,
    `texts: none of its ${without.count} images has a text in ${where} (first: ${firstOf(without)})`,
  );
}

export interface TextedListing extends Listing {
  /** Those that are left out. */
  readonly without: { readonly train: Without; readonly test: Without };
}

function withPlace(files: readonly ImageFile[]): { files: readonly ImageFile[]; without: Without } {
  const lacking = files.filter(({ texts }) => !texts).map(({ name }) => name);
  return { files: files.filter(({ texts }) => texts), without: withoutOf(lacking) };
}

/**
 * The images that have a place where texts are, where texts are asked for. Nothing is read, so that a million images are listed in
 * seconds: that place may turn out to be empty.
 *
 * @throws FileError where no training image has one.
 */
export function withPlaces({ path, texts }: Texted, listing: Listing): TextedListing {
  if (!texts) return { ...listing, without: { train: NONE, test: NONE } };
  const train = withPlace(listing.train);
  if (train.files.length === 0) throw noTexts(path, texts, train.without);
  const test = listing.test && withPlace(listing.test);
  const notes = [
    ...listing.notes,
    ...notesOf("training", train.without, listing.train.length),
    ...notesOf("test", test?.without ?? NONE, listing.test?.length ?? 0),
  ];
  return {
    ...listing,
    train: train.files,
    test: test && test.files.length > 0 ? test.files : undefined,
    without: { train: train.without, test: test?.without ?? NONE },
    notes,
  };
}

/** In NFC, without white space around it: a text that is written in two ways is one. */
const normalised = (texts: readonly string[]): string[] =>
  texts.map((text) => text.normalize("NFC").trim()).filter((text) => text !== "");

/** One part of a dataset as it is decoded. */
export interface Part {
  /** Those that have a text, where texts are asked for. */
  readonly files: readonly ImageFile[];
  /** By file. Unset where texts are not asked for. */
  readonly texts?: readonly (readonly string[])[] | undefined;
  /** Those whose texts are empty or cannot be read. */
  readonly without: Without;
  readonly notes: readonly string[];
}

async function readTexts(files: readonly ImageFile[], alive?: () => void): Promise<Omit<Required<Part>, "notes">> {
  const found: (readonly string[])[] = new Array(files.length).fill([]);
  const wrong = new Map<number, string>();
  await inParallel(files.length, async (i) => {
    alive?.();
    const { texts, name } = files[i] as ImageFile;
    try {
      found[i] = normalised((await texts?.read()) ?? []);
    } catch (error) {
      if (error instanceof UnreachableError) throw error;
      wrong.set(i, `${name}: ${messageOf(error)}`);
    }
  });
  const has = (_: unknown, i: number) => (found[i] as readonly string[]).length > 0;
  const lacking = files.flatMap((file, i) => (has(file, i) ? [] : [wrong.get(i) ?? file.name]));
  return { files: files.filter(has), texts: found.filter(has), without: withoutOf(lacking) };
}

/**
 * A part with its texts, eight files at a time.
 *
 * @throws FileError where no training image has a text, UnreachableError where a bucket cannot be reached.
 */
export async function readPart(
  { path, texts }: Texted,
  name: "training" | "test",
  files: readonly ImageFile[],
  alive?: () => void,
): Promise<Part> {
  if (!texts) return { files, without: NONE, notes: [] };
  const read = await readTexts(files, alive);
  if (name === "training" && read.files.length === 0) throw noTexts(path, texts, read.without);
  return { ...read, notes: notesOf(name, read.without, files.length) };
}

/** Throws FileError where few enough images to be read at once have no text; of more it is known when they are loaded. */
export async function expectTexts({ path, texts }: Texted, files: readonly ImageFile[]): Promise<void> {
  if (!texts) return;
  for (let i = 0; i < Math.min(files.length, LOOKED_AT); i++) {
    if ((await readTexts(files.slice(i, i + 1))).files.length > 0) return;
  }
  if (files.length <= LOOKED_AT) throw noTexts(path, texts, (await readTexts(files)).without);
}

/**
 * What the texts of a part are; undefined where none were asked for.
 *
 * @param before - Images that were left out before any text was read.
 */
export function textsReport({ texts, without }: Part, before: Without): TextsReport | undefined {
  if (!texts) return undefined;
  const lengths = texts.flat().map((text) => [...text].length);
  return {
    images: texts.length,
    texts: lengths.length,
    meanCharacters: lengths.reduce((sum, length) => sum + length, 0) / Math.max(1, lengths.length),
    mostCharacters: lengths.reduce((most, length) => Math.max(most, length), 0),
    withoutCount: before.count + without.count,
    without: [...before.names, ...without.names].slice(0, REPORTED),
  };
}
