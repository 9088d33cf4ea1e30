/** The bytes of an upload: of an archive as they are, of anything else as a zip that is made while it is sent. */
import { Zip, ZipPassThrough } from "fflate";

export interface Dropped {
  /** With the folders that it lay in. */
  readonly path: string;
  readonly file: File;
}

const isArchive = (name: string): boolean => /\.(zip|tar|tgz|tar\.gz|zst)$/i.test(name);

export function streamOf(files: readonly Dropped[]): AsyncIterable<Uint8Array> {
  const [only, ...others] = files;
  if (only && others.length === 0 && isArchive(only.path)) return chunksOf(only.file);
  return zipped(files);
}

async function* chunksOf(file: File): AsyncGenerator<Uint8Array> {
  const reader = file.stream().getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
}

/** Nothing is compressed: images are already. */
async function* zipped(files: readonly Dropped[]): AsyncGenerator<Uint8Array> {
  const ready: Uint8Array[] = [];
  const zip = new Zip((error, chunk) => {
    if (error) throw error;
    ready.push(chunk);
  });
  for (const { path, file } of files) {
    const entry = new ZipPassThrough(path);
    zip.add(entry);
    for await (const chunk of chunksOf(file)) {
      entry.push(chunk);
      yield* ready.splice(0);
    }
    entry.push(new Uint8Array(), true);
    yield* ready.splice(0);
  }
  zip.end();
  yield* ready.splice(0);
}
