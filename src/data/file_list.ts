/** The image files of a folder or a tar, and their classes: the folder that a file lies in. */
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { FileError } from "../util/errors.ts";
import { indexTar } from "./tar_index.ts";

export interface ImageFile {
  readonly name: string;
  readonly read: () => Promise<Buffer>;
}

const isImage = (name: string) => /\.(jpe?g|png|webp|gif|tiff?|avif)$/i.test(name);

async function filesOfFolder(folder: string): Promise<ImageFile[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && isImage(entry.name))
    .map((entry) => {
      const file = join(entry.parentPath, entry.name);
      return { name: relative(folder, file), read: () => readFile(file) };
    });
}

function filesOfTar(file: string): ImageFile[] {
  const { entries } = indexTar(file);
  const blob = Bun.file(file);
  return entries
    .filter(({ name }) => isImage(name))
    .map(({ name, offset, size }) => ({
      name,
      read: async () => Buffer.from(await blob.slice(offset, offset + size).arrayBuffer()),
    }));
}

/** Sorted by name, so that the order does not depend on the disk. Throws FileError for a source without images. */
export async function listImages(kind: "folder" | "tar", path: string): Promise<ImageFile[]> {
  if (!existsSync(path)) throw new FileError(path, "is not there");
  const files = kind === "tar" ? filesOfTar(path) : await filesOfFolder(path);
  if (files.length === 0) throw new FileError(path, "holds no images (JPEG, PNG, WebP, GIF, TIFF or AVIF)");
  return files.sort((a, b) => (a.name < b.name ? -1 : 1));
}

export const classOf = (name: string): string | undefined => name.split("/").at(-2);

/** i32[files], or undefined where a file lies in no folder. Throws FileError for a class that is not in `classes`. */
export function labelsOfFiles(source: string, files: readonly ImageFile[], classes: string[]): Int32Array | undefined {
  const index = new Map(classes.map((name, i) => [name, i]));
  const labels = new Int32Array(files.length);
  for (const [i, { name }] of files.entries()) {
    const folder = classOf(name);
    if (folder === undefined) return undefined;
    const label = index.get(folder);
    if (label === undefined) {
      throw new FileError(join(source, name), `class ${folder} is not among the training classes`);
    }
    labels[i] = label;
  }
  return labels;
}
