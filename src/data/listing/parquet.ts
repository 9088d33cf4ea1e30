/**
 * Parquet with a column of images, as Hugging Face's datasets have it: of bytes, or of structures of `bytes` and `path`. Read by
 * hyparquet a row group at a time.
 */
import type { Readable } from "node:stream";
import { gunzipSync } from "node:zlib";
import {
  asyncBufferFromFile,
  type Compressors,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
} from "hyparquet";
import tar from "tar-stream";
import { isImage, stemOf } from "./names.ts";
import { expectPages } from "./parquet_pages.ts";
import { ROW_TEXTS, textsOf } from "./text_files.ts";

/** Names of columns, the first one that is there. */
const IMAGES = ["image", "img", "images", "picture", "photo", "jpg", "png", "bytes"];
const LABELS = ["label", "labels", "class", "fine_label", "target", "cls", "category", "y"];

/** Snappy is hyparquet's own. */
const compressors: Compressors = {
  GZIP: (input, length) => gunzipSync(input, { maxOutputLength: length }),
  ZSTD: (input) => Bun.zstdDecompressSync(input),
};

/** Names of the classes that a label counts, where Hugging Face's description of the columns has them. */
function classNames({ key_value_metadata = [] }: FileMetaData, column: string): readonly string[] | undefined {
  const text = key_value_metadata.find(({ key }) => key === "huggingface")?.value;
  if (!text) return undefined;
  const { info } = JSON.parse(text) as { info?: { features?: Record<string, { names?: string[] }> } };
  return info?.features?.[column]?.names;
}

/** Columns at the top, in order. The first element of a schema is its root, and a group's children follow it. */
function columnsOf({ schema }: FileMetaData): string[] {
  const columns: string[] = [];
  let left = 0;
  for (const { name, num_children = 0 } of schema.slice(1)) {
    if (left === 0) columns.push(name);
    else left--;
    left += num_children;
  }
  return columns;
}

type Cell = Uint8Array | { bytes?: Uint8Array | null; path?: string | null } | null;

/**
 * A tar of its images, each in the folder of its class, with a file of its texts beside it. It fails where there is no column of
 * images, or none of a name in `texts`, and says which there are.
 */
export function tarOfParquet(path: string, texts: readonly string[] = []): Readable {
  const pack = tar.pack();
  fill(pack, path, texts).then(
    () => pack.finalize(),
    (error: Error) => pack.destroy(error),
  );
  return pack as unknown as Readable;
}

async function fill(pack: tar.Pack, path: string, texts: readonly string[]): Promise<void> {
  const file = await asyncBufferFromFile(path);
  const metadata = await parquetMetadataAsync(file);
  const columns = columnsOf(metadata);
  const [image, label] = [IMAGES, LABELS].map((names) => names.find((name) => columns.includes(name)));
  if (!image) throw new Error(`it has the columns ${columns.join(", ")}; none of them is called ${IMAGES.join(", ")}`);
  const classes = label === undefined ? undefined : classNames(metadata, label);
  const unknown = texts.find((name) => !columns.includes(name));
  if (unknown !== undefined) throw new Error(`it has the columns ${columns.join(", ")}; texts names "${unknown}"`);
  const used = [...new Set([image, ...(label === undefined ? [] : [label]), ...texts])];
  const read = { file, metadata, columns: used, utf8: false, compressors };
  await expectPages(file, metadata, used, texts);
  let row = 0;
  for (const { num_rows } of metadata.row_groups) {
    const rows = await parquetReadObjects({ ...read, rowStart: row, rowEnd: row + Number(num_rows) });
    for (const cells of rows) {
      const cell = cells[image] as Cell;
      const bytes = cell instanceof Uint8Array ? cell : cell?.bytes;
      const named = cell instanceof Uint8Array ? undefined : cell?.path;
      if (cell && !bytes) throw new Error(`row ${row} names a file (${named}) and has no bytes of it`);
      if (bytes) {
        const name = nameOf(row, named, label === undefined ? undefined : cells[label], classes);
        await put(pack, name, bytes);
        const own = Object.fromEntries(texts.map((column) => [column, textsIn(cells[column])]));
        if (Object.values(own).some((of) => of.length > 0)) {
          await put(pack, stemOf(name) + ROW_TEXTS, Buffer.from(JSON.stringify(own)));
        }
      }
      row++;
    }
  }
}

/** Columns that say nothing of UTF-8 come as bytes. */
const textsIn = (cell: unknown): string[] =>
  textsOf(
    cell instanceof Uint8Array
      ? Buffer.from(cell).toString("utf8")
      : Array.isArray(cell)
        ? cell.map((of) => (of instanceof Uint8Array ? Buffer.from(of).toString("utf8") : of))
        : cell,
  );

/** Numbered, so that the order is the rows'. */
function nameOf(
  row: number,
  path: string | null | undefined,
  label: unknown,
  classes: readonly string[] | undefined,
): string {
  const extension = path && isImage(path) ? path.slice(path.lastIndexOf(".")) : ".jpg"; // its first bytes say what it is
  const name = `${String(row).padStart(9, "0")}${extension}`;
  if (label === undefined || label === null) return name;
  const className = classes?.[Number(label)] ?? String(label);
  return `${className.replaceAll("/", "-")}/${name}`;
}

const put = (pack: tar.Pack, name: string, bytes: Uint8Array): Promise<void> =>
  new Promise((resolve, reject) => {
    pack.entry({ name, size: bytes.length }, Buffer.from(bytes), (error) => (error ? reject(error) : resolve()));
  });
