/**
 * ImageNet (ILSVRC 2012) as it is unpacked and as Kaggle packs it: the validation images lie in one folder, and a list says their
 * classes. Classes are WordNet's ids (n01443537) in train and in val alike, with a readable name behind them where a list has it.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isWithin } from "../roots.ts";
import { firstImageOf, type Group } from "./groups.ts";
import { type ImageFile, Listed } from "./listed.ts";
import { synsetsOfMat } from "./mat.ts";
import { isImage } from "./names.ts";
import type { Entry } from "./types.ts";

const KAGGLE = "ILSVRC/Data/CLS-LOC/";
const SYNSET = /^n\d{8}$/;
const VALIDATION = /(?:^|\/)(ILSVRC2012_val_\d{8})\.jpe?g$/i;
const EVIDENCE = /(^|\/)(ILSVRC2012_val_\d{8}\.jpe?g$|n\d{8}\/)/i;

/** Lists by their names, and where the devkit has them. */
const LISTS = {
  solution: "LOC_val_solution.csv",
  caffe: "val.txt",
  truth: "ILSVRC2012_validation_ground_truth.txt",
  meta: "meta.mat",
  mapping: "LOC_synset_mapping.txt",
  words: "synset_words.txt",
} as const;
const FOLDERS = ["", "data/", "ILSVRC2012_devkit_t12/data/"];

type List = keyof typeof LISTS;
type Read = () => Promise<Buffer>;

/** Where Kaggle's tree begins in these names; undefined where it is not there. */
export function kaggleRoot(entries: readonly { readonly name: string }[]): string | undefined {
  const name = entries.find(({ name }) => name.includes(KAGGLE) && isImage(name))?.name;
  return name?.slice(0, name.indexOf(KAGGLE) + KAGGLE.length);
}

interface Validation {
  /** The class of an image. Undefined for one that no list has. */
  readonly of: (name: string) => string | undefined;
  readonly notes: readonly string[];
}
const NONE: Validation = { of: () => undefined, notes: [] };

const linesOf = (bytes: Buffer): string[] =>
  bytes
    .toString("utf8")
    .split(/\r?\n/)
    .filter((line) => line.trim() !== "");

export class ImageNet {
  private constructor(
    private readonly lists: ReadonlyMap<List, readonly Read[]>,
    /** Lists among the files themselves. */
    readonly used: ReadonlySet<Entry>,
    private readonly words: ReadonlyMap<string, string>,
  ) {}

  /** The lists among some files and beside their folder, where they look like ImageNet's. */
  static async beside(
    path: string,
    entries: readonly Entry[],
    roots: readonly string[] | undefined,
  ): Promise<ImageNet> {
    const lists = new Map<List, Read[]>();
    const used = new Set<Entry>();
    if (!entries.some(({ name }) => EVIDENCE.test(name))) return new ImageNet(lists, used, new Map());
    const add = (list: List, read: Read) => lists.set(list, [...(lists.get(list) ?? []), read]);
    const kinds = Object.entries(LISTS) as [List, string][];
    for (const entry of entries) {
      const kind = isImage(entry.name) ? undefined : kinds.find(([, file]) => `/${entry.name}`.endsWith(`/${file}`));
      if (!kind) continue;
      used.add(entry);
      add(kind[0], () => entry.read());
    }
    // Of a bucket only what lies below its prefix is looked at.
    const above = path.replace(/\/+$/, "");
    const kaggle = `${above}/`.includes(`/${KAGGLE}`) ? [above.slice(0, `${above}/`.indexOf(`/${KAGGLE}`))] : [];
    for (const folder of path.startsWith("s3://")
      ? []
      : [dirname(above), ...kaggle].filter((folder) => isWithin(folder, roots))) {
      for (const [list, file] of kinds) {
        const found = FOLDERS.map((below) => join(folder, below, file)).find((place) => existsSync(place));
        if (found) add(list, () => readFile(found));
      }
    }
    const read = lists.get("mapping")?.[0] ?? lists.get("words")?.[0];
    return new ImageNet(lists, used, read ? wordsOf(linesOf(await read())) : new Map());
  }

  /** @param trained - Classes of the training images: their order is what a list counts by, where no other one is there. */
  async labelsOf(groups: readonly Group[], trained: ReadonlySet<string | undefined> | undefined): Promise<Validation> {
    const first = firstImageOf(groups);
    if (first === undefined || !VALIDATION.test(first)) return NONE;
    const solution = await this.solution();
    const labels = solution ?? (await this.counted(trained)) ?? (await this.devkit());
    if (!labels) return { of: () => undefined, notes: this.missing() };
    const of = (name: string) => labels.of(VALIDATION.exec(name)?.[1] ?? "");
    return { of, notes: [`classes of ILSVRC2012_val images are read from ${labels.from}`] };
  }

  /** The same images, whose classes have readable names where there is a list of them. */
  named<F extends readonly ImageFile[] | undefined>(files: F): F {
    if (!files || this.words.size === 0) return files;
    return files.map((file) => {
      const words = file.className === undefined ? undefined : this.words.get(file.className);
      return words === undefined ? file : new Listed(file.name, words, file, file.texts);
    }) as unknown as F;
  }

  /** Kaggle's: the image's name, then a class and a box for each object; all of an image are of one class. */
  private async solution() {
    const read = this.lists.get("solution")?.[0];
    if (!read) return undefined;
    const rows = linesOf(await read()).map((line) => line.split(/[,\s]/) as [string, string]);
    const classes = new Map(rows.filter(([, id]) => SYNSET.test(id)));
    return { of: (image: string) => classes.get(image), from: LISTS.solution };
  }

  /** Caffe's `name.JPEG 65`; Kaggle has another `val.txt` of names without extensions, which counts the images. */
  private async counted(trained: ReadonlySet<string | undefined> | undefined) {
    for (const read of this.lists.get("caffe") ?? []) {
      const rows = linesOf(await read()).map((line) => line.trim().split(/\s+/) as [string, string]);
      if (!rows.every(([name, index]) => VALIDATION.test(name) && /^\d+$/.test(index ?? ""))) continue;
      const order = this.words.size > 0 ? [...this.words.keys()].sort() : [...(trained ?? [])].sort();
      const highest = rows.reduce((most, [, index]) => Math.max(most, Number(index)), 0);
      const classOf = (index: string) => (highest < order.length ? order[Number(index)] : index.padStart(3, "0"));
      const classes = new Map(rows.map(([name, index]) => [VALIDATION.exec(name)?.[1] ?? "", classOf(index)]));
      return { of: (image: string) => classes.get(image), from: LISTS.caffe };
    }
    return undefined;
  }

  /** The devkit's: a number for each image in order, which its meta.mat gives to a class. */
  private async devkit() {
    const [truth, meta] = [this.lists.get("truth")?.[0], this.lists.get("meta")?.[0]];
    if (!truth || !meta) return undefined;
    const synsets = synsetsOfMat(await meta());
    const classes = linesOf(await truth()).map((line) => synsets.get(Number(line)));
    return { of: (image: string) => classes[Number(image.slice(-8)) - 1], from: LISTS.truth };
  }

  private missing(): string[] {
    const without = this.lists.has("truth")
      ? `${LISTS.truth} counts classes by the devkit's ${LISTS.meta}, which is not beside it`
      : `none of ${LISTS.solution}, ${LISTS.caffe} and ${LISTS.truth} is beside them`;
    return [`ILSVRC2012_val images have no classes: ${without}`];
  }
}

/** `n01443537 goldfish, Carassius auratus`: the first of its names. */
const wordsOf = (lines: readonly string[]): Map<string, string> =>
  new Map(
    lines.flatMap((line): [string, string][] => {
      const [, id, words] = /^(n\d{8})\s+([^,]+)/.exec(line) ?? [];
      return id && words ? [[id, `${id} ${words.trim()}`]] : [];
    }),
  );
