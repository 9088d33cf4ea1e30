/** Uploaded datasets on this machine: fetched once into its cache, and verified. A fetch that is killed continues where it stopped. */
import { createHash } from "node:crypto";
import {
  appendFileSync,
  closeSync,
  createReadStream,
  existsSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import type { CacheFolder } from "../util/cache_folder.ts";
import { UserError } from "../util/errors.ts";
import { isAlive } from "../util/machine.ts";
import { PART_BYTES, type StoredDataset, type Uploads } from "./uploads.ts";

const POLL_MS = 200;

export interface CacheOptions {
  readonly cache: CacheFolder;
  readonly log: (message: string) => void;
  /** Called after each part. */
  readonly alive?: (() => void) | undefined;
}

/** Finds a dataset's file on this machine, and fetches it first where it is not there. Throws UserError where there is no such dataset. */
export function datasetCache(uploads: Uploads, options: CacheOptions): (id: string) => Promise<string> {
  return async (id) => {
    const record = await uploads.get(id);
    if (record?.status !== "ready" || record.sha256 === null) {
      throw new UserError(
        `dataset ${id}: ${record ? `it is ${record.status}, not complete` : "there is no such dataset"}`,
      );
    }
    const { cache, alive } = options;
    const file = cache.file("stored", record.sha256);
    while (!existsSync(file)) {
      if (!lock(file)) {
        await Bun.sleep(POLL_MS); // another process fetches it
        alive?.();
        continue;
      }
      try {
        if (!existsSync(file)) await fetchAll(uploads, record, file, options);
      } finally {
        rmSync(`${file}.lock`, { force: true });
      }
    }
    cache.used(file);
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
