/** Brings images to the service: uploads an archive as it is, a folder packed into a tar on its way; or has a URL imported. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { Presets, SingleBar } from "cli-progress";
import pRetry, { AbortError } from "p-retry";
import tar from "tar-stream";
import { archiveKind } from "../src/data/listing/archive_kind.ts";
import { entriesOfFolder } from "../src/data/listing/folder.ts";
import { isRubbish } from "../src/data/listing/names.ts";
import { UserError } from "../src/util/errors.ts";
import { pieces } from "../src/util/pieces.ts";
import { type Client, RefusedError, type UploadedDataset } from "./client.ts";
import { printJson } from "./json.ts";
import { describeReport } from "./report.ts";

/** Attempts of a part, over about a minute. */
const RETRIES = 6;
const POLL_MS = 500;

/** Repeats a request for about a minute, unless the API refuses it. */
const insist = <T>(request: () => Promise<T>): Promise<T> =>
  pRetry(
    () =>
      request().catch((error: unknown) => {
        throw error instanceof RefusedError ? new AbortError(error) : error;
      }),
    { retries: RETRIES },
  );

/** Undefined where nobody watches. */
const megabytesBar = (): SingleBar | undefined =>
  process.stderr.isTTY
    ? new SingleBar({ format: "{bar} {percentage}% {value}/{total} MB {eta_formatted}" }, Presets.shades_classic)
    : undefined;

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

/** Has the service import an archive, and prints the id that a spec's `dataset` takes. */
export async function importDataset(
  client: Client,
  url: string,
  options: { name?: string; sha256?: string; resume?: string; json?: boolean },
): Promise<void> {
  if (options.resume)
    throw new UserError("--resume: got it with a URL, allowed: with a path; the service resumes imports");
  const { name, sha256 } = options;
  const begun = await client.importDataset({ url, ...(name && { name }), ...(sha256 && { sha256 }) });
  console.error(
    `${begun.id} is imported by the service, whether this command runs or not; to stop: mocod data rm ${begun.id}`,
  );
  const bar = megabytesBar();
  bar?.start(0, 0);
  let dataset = begun;
  try {
    while (dataset.status === "importing") {
      await Bun.sleep(POLL_MS);
      dataset = await insist(() => client.dataset(begun.id));
      if (dataset.total !== null) bar?.setTotal(Math.ceil(dataset.total / 1e6));
      bar?.update(Math.ceil(dataset.bytes / 1e6));
    }
  } finally {
    bar?.stop();
  }
  if (dataset.status === "failed") throw new UserError(`${begun.id}: ${dataset.error}`);
  printPushed(dataset, begun.id, options);
}

/**
 * Uploads a folder or an archive, and prints the id that a spec's `dataset` takes.
 *
 * @param options - `resume`: id of an upload that was interrupted; parts that have arrived are not sent again.
 */
export async function pushDataset(
  client: Client,
  path: string,
  options: { name?: string; resume?: string; sha256?: string; json?: boolean },
): Promise<void> {
  if (options.sha256)
    throw new UserError("--sha256: got it with a path, allowed: with a URL; that of an upload is computed");
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
  const bar = megabytesBar();
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
        await insist(() => client.putPart(upload.id, part, piece));
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
  printPushed(dataset, upload.id, options);
}

function printPushed(dataset: UploadedDataset, begun: string, options: { json?: boolean }): void {
  if (options.json) {
    printJson(dataset);
    return;
  }
  const { contents } = dataset;
  if (dataset.id !== begun) console.error(`the same file was there before, as ${dataset.name}`);
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
  for (const { id, name, status, bytes, createdAt, error } of datasets) {
    console.log(
      `${id}  ${createdAt.slice(0, 16)}  ${`${(bytes / 1e6).toFixed(1)} MB`.padStart(12)}  ${status.padEnd(9)}  ${name}${error === null ? "" : `: ${error}`}`,
    );
  }
}

/** Prints what a worker finds in a stored dataset. */
export async function showDataset(client: Client, id: string, options: { json?: boolean }): Promise<void> {
  const report = await client.datasetReport(id);
  if (options.json) printJson(report);
  else console.log(describeReport(report));
}
