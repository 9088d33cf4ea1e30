/** A table of images: CSV or lines of JSON, each row a file, its class, and the part that it is in. */
import { existsSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join, normalize, sep } from "node:path";
import { parse } from "csv-parse/sync";
import { FileError, messageOf } from "../../util/errors.ts";
import type { Listing } from "./index.ts";
import type { ImageFile } from "./listed.ts";
import { TESTS, TRAIN } from "./names.ts";
import { textsOf } from "./text_files.ts";
import { versionOf } from "./types.ts";

export interface Table {
  readonly path: string;
  /** Folder of the files; unset: the table's. */
  readonly root?: string | undefined;
  /** Names of the columns; `label` and `part` are used where there are such columns. */
  readonly columns: { readonly file: string; readonly label: string; readonly part: string };
  /** Columns of texts; unset: texts are not read. */
  readonly texts?: readonly string[] | undefined;
}

type Row = Readonly<Record<string, unknown>>;

function rowsOf(path: string): Row[] {
  const text = readFileSync(path, "utf8");
  try {
    if (!text.trimStart().startsWith("{")) {
      return parse(text, { columns: true, skip_empty_lines: true, trim: true, bom: true }) as Row[];
    }
    return text
      .split("\n")
      .filter((line) => line.trim() !== "")
      .map((line) => JSON.parse(line) as Row);
  } catch (error) {
    throw new FileError(path, `is neither CSV nor lines of JSON: ${messageOf(error)}`);
  }
}

/** In the rows' order. Throws FileError that names the row for a file that is not below the root, or a part that is none. */
export function listTable({ path, root = dirname(path), columns, texts = [] }: Table): Listing {
  if (!existsSync(path)) throw new FileError(path, "is not there");
  const rows = rowsOf(path);
  const has = Object.keys(rows[0] ?? {});
  if (!has.includes(columns.file)) {
    throw new FileError(
      path,
      `has the columns ${has.join(", ") || "none"}; none of them is columns.file, "${columns.file}"`,
    );
  }
  // Lines of JSON may leave out what they do not have.
  const unknown = texts.find((name) => !rows.some((row) => name in row));
  if (unknown !== undefined) {
    throw new FileError(path, `has the columns ${has.join(", ")}; none of them is "${unknown}", which texts names`);
  }
  const parts: { train: ImageFile[]; test: ImageFile[] } = { train: [], test: [] };
  for (const [i, row] of rows.entries()) {
    const at = `row ${i + 1}`;
    const name = normalize(String(row[columns.file] ?? "").trim());
    if (name === "." || name.startsWith("..") || name.startsWith(sep)) {
      throw new FileError(
        path,
        `${at}: got the file ${JSON.stringify(row[columns.file])}, allowed: a path below ${root}`,
      );
    }
    const part = String(row[columns.part] ?? TRAIN[0]).toLowerCase();
    if (!TRAIN.includes(part) && !TESTS.includes(part)) {
      throw new FileError(path, `${at}: got the part "${part}", allowed: ${[...TRAIN, ...TESTS].join(", ")}`);
    }
    const label = row[columns.label];
    const own = texts.flatMap((column) => textsOf(row[column])).filter((text) => text.trim() !== "");
    parts[TRAIN.includes(part) ? "train" : "test"].push({
      name,
      read: () => readFile(join(root, name)),
      version: () => versionOf(join(root, name)),
      className: label === undefined || label === null || label === "" ? undefined : String(label),
      texts: own.length > 0 ? { read: async () => own } : undefined,
    });
  }
  if (parts.train.length === 0) throw new FileError(path, "lists no training images");
  return { train: parts.train, test: parts.test.length > 0 ? parts.test : undefined, leftOut: {}, notes: [] };
}
