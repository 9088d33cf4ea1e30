/**
 * Uploaded datasets on this machine: fetched once, shared by all processes, verified, and evicted, the least recently used
 * first, where they take more than they may. A fetch that is killed continues where it stopped.
 */
import { createHash } from "node:crypto";
import {
  appendFileSync,
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { UserError } from "../util/errors.ts";
import { isAlive } from "../util/machine.ts";
import { PART_BYTES, type StoredDataset, type Uploads } from "./uploads.ts";

const POLL_MS = 200;
const SUFFIX = ".dataset";

export interface CacheOptions {
  readonly folder: string;
  /** Bytes that the files may take together; those that a process uses stay. */
  readonly limit: number;
  readonly log: (message: string) => void;
  /** Called after each part. */
  readonly alive?: (() => void) | undefined;
}

/** Finds a dataset's file on this machine, and fetches it first where it is not there. Throws UserError where there is no such dataset. */
export function datasetCache(uploads: Uploads, options: CacheOptions): (id: string) => Promise<string> {
  return async (id) => {
    const record = await uploads.get(id);
    if (record?.status !== "ready") {
      throw new UserError(
        `dataset ${id}: ${record ? `it is ${record.status}, not complete` : "there is no such dataset"}`,
      );
    }
    const { folder } = options;
    mkdirSync(folder, { recursive: true });
    const file = join(folder, record.sha256 + SUFFIX);
    // Marked before it is looked for: from here on nobody evicts it.
    markUsed(file);
    while (!existsSync(file)) {
      if (!lock(file)) {
        await Bun.sleep(POLL_MS); // another process fetches it
        options.alive?.();
        continue;
      }
      try {
        if (!existsSync(file)) await fetchAll(uploads, record, file, options);
      } finally {
        rmSync(`${file}.lock`, { force: true });
      }
    }
    // When it was last used is the time of access; what is made of it knows it by its time of modification.
    utimesSync(file, new Date(), statSync(file).mtime);
    evict(options);
    return file;
  };
}

async function fetchAll(uploads: Uploads, record: StoredDataset, file: string, options: CacheOptions): Promise<void> {
  const { log, alive } = options;
  const partial = `${file}.part`;
  const whole = existsSync(partial) ? Math.floor(statSync(partial).size / PART_BYTES) : 0;
  if (whole > 0) truncateSync(partial, whole * PART_BYTES);
  else writeFileSync(partial, "");
  const { id, name, bytes, parts, sha256 } = record;
  log(
    `dataset ${id} (${name}): fetching ${(bytes / 1e6).toFixed(0)} MB${whole > 0 ? `, from part ${whole + 1} on` : ""}`,
  );
  for (let number = whole + 1; number <= parts.length; number++) {
    appendFileSync(partial, await uploads.part(record, number));
    alive?.();
  }
  const digest = createHash("sha256");
  for await (const chunk of createReadStream(partial)) digest.update(chunk as Buffer);
  if (digest.digest("hex") !== sha256) {
    rmSync(partial);
    throw new UserError(`dataset ${id}: what was fetched is not what was uploaded`);
  }
  renameSync(partial, file);
}

/** Whether this process may fetch the file. The lock of a dead process counts for nothing. */
function lock(file: string): boolean {
  const path = `${file}.lock`;
  try {
    const handle = openSync(path, "wx");
    writeSync(handle, String(process.pid));
    closeSync(handle);
    return true;
  } catch {
    // There is a lock: whose?
    const owner = existsSync(path) ? Number(readFileSync(path, "utf8")) : Number.NaN;
    if (owner > 0 && !isAlive(owner)) rmSync(path, { force: true });
    return false;
  }
}

function markUsed(file: string): void {
  const mark = `${file}.use.${process.pid}`;
  if (existsSync(mark)) return;
  writeFileSync(mark, "");
  process.on("exit", () => rmSync(mark, { force: true }));
}

/** Whether a live process uses the file; forgets those that have died. */
function isUsed(folder: string, name: string): boolean {
  const marks = readdirSync(folder).filter((mark) => mark.startsWith(`${name}.use.`));
  return marks.some((mark) => {
    if (isAlive(Number(mark.slice(mark.lastIndexOf(".") + 1)))) return true;
    rmSync(join(folder, mark), { force: true });
    return false;
  });
}

function evict({ folder, limit, log }: CacheOptions): void {
  const files = readdirSync(folder)
    .filter((name) => name.endsWith(SUFFIX))
    .map((name) => ({ name, ...(({ size, atimeMs }) => ({ size, atimeMs }))(statSync(join(folder, name))) }))
    .sort((a, b) => a.atimeMs - b.atimeMs);
  let used = files.reduce((sum, { size }) => sum + size, 0);
  for (const { name, size } of files) {
    if (used <= limit) return;
    if (isUsed(folder, name)) continue;
    rmSync(join(folder, name));
    used -= size;
    log(`evicted the dataset ${name.slice(0, 12)}… (${(size / 1e6).toFixed(0)} MB) from the cache`);
  }
}
