/** A store in a folder. A file is renamed to its name when its bytes are on the disk. */
import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { isAlive, machineId } from "../util/machine.ts";
import type { Blobs } from "./blobs.ts";
import { StoreError } from "./errors.ts";

/** `.<name>.<machine>.<pid>.<count>.tmp`: says whether the writer is still alive. */
const TEMPORARY = /^\..*\.([0-9a-f]+)\.(\d+)\.\d+\.tmp$/;
/** Temporary files of other machines, whose writers cannot be checked, are deleted after this. */
const ABANDONED_MS = 24 * 3600 * 1000;

/** Bytes of one write: Bun copies them. */
const CHUNK = 8 * 2 ** 20;

let count = 0;

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? "";

/** Errors that an operator can fix. They are StoreErrors, so attempts of jobs are repeated without limit. */
const TRANSIENT = new Set(["ENOSPC", "EDQUOT", "EFBIG", "EIO", "ESTALE", "ETIMEDOUT", "EROFS", "EMFILE", "ENFILE"]);

function rethrow(file: string, error: unknown): never {
  if (TRANSIENT.has(codeOf(error))) throw new StoreError(`${file}: ${(error as Error).message}`, { cause: error });
  throw error;
}

const missing = (error: unknown): boolean => codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR";

export class LocalBlobs implements Blobs {
  readonly url: string;

  constructor(readonly root: string) {
    this.url = pathToFileURL(root).href;
  }

  async read(key: string): Promise<Uint8Array | undefined> {
    try {
      return new Uint8Array(await readFile(join(this.root, key)));
    } catch (error) {
      if (missing(error)) return undefined;
      rethrow(key, error);
    }
  }

  async open(key: string): Promise<{ body: Blob; size: number } | undefined> {
    const body = Bun.file(join(this.root, key));
    return (await body.exists()) ? { body, size: body.size } : undefined;
  }

  async write(key: string, bytes: Uint8Array | string): Promise<void> {
    const file = join(this.root, key);
    const folder = dirname(file);
    const temporary = join(
      folder,
      `.${file.slice(folder.length + 1)}.${machineId()}.${process.pid}.${Bun.isMainThread ? 0 : 1}${count++}.tmp`,
    );
    try {
      await mkdir(folder, { recursive: true });
      const handle = await open(temporary, "w");
      try {
        const all = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
        for (let at = 0; at < all.length; ) {
          at += (await handle.write(all, at, Math.min(CHUNK, all.length - at))).bytesWritten;
        }
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, file);
      const directory = await open(folder, "r");
      try {
        await directory.sync();
      } finally {
        await directory.close();
      }
    } catch (error) {
      await rm(temporary, { force: true });
      rethrow(key, error);
    }
  }

  async list(prefix: string): Promise<string[]> {
    const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
    const keys = (await this.files(folder)).map((file) => relative(this.root, file));
    return keys.filter((key) => key.startsWith(prefix) && !TEMPORARY.test(key.slice(key.lastIndexOf("/") + 1))).sort();
  }

  async sizes(prefix: string): Promise<Map<string, number>> {
    const sizes = await Promise.all(
      (await this.list(prefix)).map(async (key) => [key, await this.sizeOf(key)] as const),
    );
    return new Map(sizes.filter((entry): entry is [string, number] => entry[1] !== undefined));
  }

  async folders(prefix: string): Promise<string[]> {
    try {
      const entries = await readdir(join(this.root, prefix), { withFileTypes: true });
      return entries
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => name)
        .sort();
    } catch (error) {
      if (missing(error)) return [];
      rethrow(prefix, error);
    }
  }

  async remove(key: string): Promise<void> {
    await rm(join(this.root, key), { force: true });
  }

  async sweep(prefix: string): Promise<void> {
    for (const file of await this.files(prefix)) {
      const [, machine, pid] = file.slice(file.lastIndexOf("/") + 1).match(TEMPORARY) ?? [];
      if (machine === undefined) continue;
      const dead = machine === machineId() ? !isAlive(Number(pid)) : Date.now() - (await age(file)) > ABANDONED_MS;
      if (dead) await rm(file, { force: true });
    }
    for (const name of await this.folders(prefix)) {
      try {
        await rmdir(join(this.root, prefix, name));
      } catch (error) {
        if (codeOf(error) !== "ENOTEMPTY") rethrow(prefix + name, error);
      }
    }
  }

  /** Undefined where the file was deleted after it was listed. */
  private async sizeOf(key: string): Promise<number | undefined> {
    try {
      return (await stat(join(this.root, key))).size;
    } catch (error) {
      if (missing(error)) return undefined;
      rethrow(key, error);
    }
  }

  private async files(folder: string): Promise<string[]> {
    try {
      const entries = await readdir(join(this.root, folder), { withFileTypes: true, recursive: true });
      return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    } catch (error) {
      if (missing(error)) return [];
      rethrow(folder, error);
    }
  }
}

async function age(file: string): Promise<number> {
  try {
    return (await stat(file)).mtimeMs;
  } catch (error) {
    if (missing(error)) return Date.now(); // renamed since: its writer was alive
    throw error;
  }
}
