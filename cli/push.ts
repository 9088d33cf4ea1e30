/** Uploads images to the service: an archive as it is, a folder packed into a tar on its way. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { Presets, SingleBar } from "cli-progress";
import pRetry, { AbortError } from "p-retry";
import tar from "tar-stream";
import { archiveKind } from "../src/data/listing/entries.ts";
import { entriesOfFolder } from "../src/data/listing/folder.ts";
import { isRubbish } from "../src/data/listing/names.ts";
import { UserError } from "../src/util/errors.ts";
import { pieces } from "../src/util/pieces.ts";
import { type Client, RefusedError, type UploadedDataset } from "./client.ts";
import { printJson } from "./json.ts";

/** Attempts of a part, over about a minute. */
const RETRIES = 6;

/** The same bytes for the same folder: sorted, without times and owners. */
function packed(folder: string): { bytes: AsyncIterable<Uint8Array>; size: Promise<number> } {
  const pack = tar.pack();
  const size = Promise.withResolvers<number>();
  const fill = async () => {
    const { entries } = await entriesOfFolder(folder);
    const files = entries.filter(({ name }) => !isRubbish(name)).sort((a, b) => (a.name < b.name ? -1 : 1));
    if (files.length === 0) throw new UserError(`${folder}: holds no files`);
    size.resolve(files.reduce((sum, { name }) => sum + statSync(join(folder, name)).size + 1024, 0));
    for (const file of files) {
      const { name } = file;
      const bytes = await file.read();
      await new Promise<void>((resolve, reject) =>
        pack.entry({ name, mtime: new Date(0), size: bytes.length }, bytes, (error) =>
          error ? reject(error) : resolve(),
        ),
      );
    }
    pack.finalize();
  };
  fill().catch((error: Error) => {
    size.reject(error);
    pack.destroy(error);
  });
  return { bytes: pack as AsyncIterable<Uint8Array>, size: size.promise };
}

/**
 * Uploads a folder or an archive, and prints the id that a spec's `dataset` takes.
 *
 * @param options - `resume`: id of an upload that was interrupted; parts that have arrived are not sent again.
 */
export async function pushDataset(
  client: Client,
  path: string,
  options: { name?: string; resume?: string; json?: boolean },
): Promise<void> {
  if (!existsSync(path)) throw new UserError(`${path}: is not there`);
  const isFolder = statSync(path).isDirectory();
  if (!isFolder) archiveKind(path); // names what is no archive before it is sent
  const source = isFolder
    ? packed(path)
    : { bytes: createReadStream(path) as AsyncIterable<Uint8Array>, size: Promise.resolve(statSync(path).size) };
  const upload: UploadedDataset = options.resume
    ? await client.dataset(options.resume)
    : await client.createDataset(options.name ?? basename(path));
  const arrived = new Set(upload.received);
  const bar = process.stderr.isTTY
    ? new SingleBar({ format: "{bar} {percentage}% {value}/{total} MB {eta_formatted}" }, Presets.shades_classic)
    : undefined;
  bar?.start(Math.ceil((await source.size) / 1e6), 0);
  const whole = createHash("sha256");
  let number = 0;
  let sent = 0;
  try {
    for await (const piece of pieces(source.bytes, upload.partBytes)) {
      number++;
      whole.update(piece);
      if (!arrived.has(number)) {
        const part = number;
        await pRetry(
          () =>
            client.putPart(upload.id, part, piece).catch((error: unknown) => {
              throw error instanceof RefusedError ? new AbortError(error) : error;
            }),
          { retries: RETRIES },
        );
      }
      sent += piece.length;
      bar?.update(Math.ceil(sent / 1e6));
    }
  } catch (error) {
    console.error(`interrupted; to continue: mocod data push ${path} --resume ${upload.id}`);
    throw error;
  } finally {
    bar?.stop();
  }
  const dataset = await client.completeDataset(upload.id, whole.digest("hex"));
  if (options.json) return printJson(dataset);
  const { contents } = dataset;
  if (dataset.id !== upload.id) console.error(`the same file was uploaded before, as ${dataset.name}`);
  if (contents?.error) console.error(`it cannot be read: ${contents.error}`);
  else if (contents)
    console.error(`${contents.train} images, ${contents.classes} classes, ${contents.test ?? "no"} test images`);
  for (const note of contents?.notes ?? []) console.error(note);
  console.log(dataset.id);
}

/** Lists what was uploaded, oldest first. */
export async function listUploaded(client: Client, options: { json?: boolean }): Promise<void> {
  const datasets = await client.datasets();
  if (options.json) return printJson(datasets);
  for (const { id, name, status, bytes, createdAt } of datasets) {
    console.log(
      `${id}  ${createdAt.slice(0, 16)}  ${`${(bytes / 1e6).toFixed(1)} MB`.padStart(12)}  ${status.padEnd(9)}  ${name}`,
    );
  }
}
