/** Texts of images in files beside them: `name.txt`, a text a line, or named fields of `name.json`. */
import type { TextsSetting } from "../../schema/dataset.ts";
import { filesBeside, type Group } from "./groups.ts";
import type { TextSource } from "./listed.ts";
import { keyOf, stemOf } from "./names.ts";
import type { Entry } from "./types.ts";

/** The extension of a row's texts where Parquet is unpacked: JSON, but none that is looked at for a class. */
export const ROW_TEXTS = ".texts";

const FILES = { beside: /\.txt$/i, named: /\.(json|texts)$/i } as const;

/** The texts of a field or a cell: of a list each element, of what is neither text nor number none. */
export function textsOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(textsOf);
  return typeof value === "string" ? [value] : ["number", "bigint"].includes(typeof value) ? [String(value)] : [];
}

class TextFile implements TextSource {
  constructor(
    private readonly entry: Entry,
    private readonly setting: TextsSetting,
  ) {}

  async read(): Promise<readonly string[]> {
    const text = utf8Of(await this.entry.read());
    return this.setting === "beside" ? text.split("\n") : fieldsOf(text, this.setting);
  }
}

function utf8Of(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error("its texts are not UTF-8");
  }
}

function fieldsOf(text: string, names: readonly string[]): string[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error("its .json is no JSON");
  }
  return names.flatMap((name) => textsOf((value as Record<string, unknown> | null)?.[name]));
}

export interface TextsBeside {
  /** Undefined for an image that has no such file. */
  of(image: string): TextSource | undefined;
  /** The files of the images that were asked for. */
  readonly used: ReadonlySet<Entry>;
}

/**
 * Finds the file of an image: the one with its name up to the last dot, else up to the first, which is WebDataset's key. Nothing is
 * read yet: a million small files take minutes.
 */
export function textsBeside(groups: readonly Group[], setting: TextsSetting | undefined): TextsBeside | undefined {
  if (setting === undefined) return undefined;
  const is = setting === "beside" ? FILES.beside : FILES.named;
  const files = new Map(filesBeside(groups, (name) => is.test(name)).map(({ name, entry }) => [stemOf(name), entry]));
  const used = new Set<Entry>();
  return {
    used,
    of(image) {
      const entry = files.get(stemOf(image)) ?? files.get(keyOf(image));
      if (!entry) return undefined;
      used.add(entry);
      return new TextFile(entry, setting);
    },
  };
}
