/**
 * The cache of a machine: files that can be made again, shared by its processes, and evicted, the least recently used first, where
 * they take more than they may together. What a live process uses stays.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, rmSync, type Stats, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isAlive } from "./machine.ts";

/** What is evicted: copies of stored datasets, what archives are unpacked to, indices of tars, decoded images. Downloads by name stay. */
const KINDS = { stored: ".dataset", unpacked: ".tar", listings: ".index", decoded: ".pixels" } as const;
export type CacheKind = keyof typeof KINDS;

/** `<file>.<pid>.part`: what a process writes. One that is to be continued has no pid. */
const PARTIAL = /\.(\d+)\.part$/;

/** Of this process, removed when it ends; those of a killed one are found by its pid. */
const marks = new Set<string>();

function removeMarks(): void {
  for (const mark of marks) rmSync(mark, { force: true });
}

/** A sparse file takes what is written of it. */
const takenBy = ({ size, blocks }: Stats): number => Math.min(size, 512 * blocks);

/** A name for what is made of something: another one where what it is made of is another. */
export const keyOf = (of: unknown): string =>
  createHash("sha256").update(JSON.stringify(of)).digest("hex").slice(0, 32);

export interface CachePlace {
  readonly cache: string;
  readonly cacheLimit?: number | undefined;
  readonly log: (message: string) => void;
}

interface Cached {
  readonly folder: string;
  readonly name: string;
  readonly size: number;
  /** When it was last used. */
  readonly atimeMs: number;
}

export class CacheFolder {
  /**
   * @param root - The folder that has one for each kind.
   * @param limit - Bytes that all files may take together.
   */
  constructor(
    private readonly root: string,
    private readonly limit: number,
    private readonly log: (message: string) => void,
  ) {}

  /** That of a folder of downloads; unset limit: any number of bytes. */
  static of({ cache, cacheLimit = Number.POSITIVE_INFINITY, log }: CachePlace): CacheFolder {
    return new CacheFolder(cache, cacheLimit, log);
  }

  /** Bytes that may be added to a file of the cache if all others are evicted. */
  roomFor(file: string): number {
    const found = statSync(file, { throwIfNoEntry: false });
    return this.limit - (found ? takenBy(found) : 0);
  }

  /** Whether there is a file for `key`. */
  has(kind: CacheKind, key: string): boolean {
    return existsSync(join(this.root, kind, key + KINDS[kind]));
  }

  /**
   * Names the file of the cache for `key`, whether it is there or not. It is in use by this process until that ends, so that what
   * is there then is not evicted.
   */
  file(kind: CacheKind, key: string): string {
    const folder = join(this.root, kind);
    mkdirSync(folder, { recursive: true });
    const file = join(folder, key + KINDS[kind]);
    const mark = `${file}.use.${process.pid}`;
    if (!existsSync(mark)) writeFileSync(mark, "");
    if (marks.size === 0) process.on("exit", removeMarks);
    marks.add(mark);
    return file;
  }

  /** Notes that a file of the cache is used now, and evicts others where there are too many. */
  used(file: string): void {
    // When it was last used is the time of access; what is made of it knows it by its time of modification.
    utimesSync(file, new Date(), statSync(file).mtime);
    this.evict();
  }

  private evict(): void {
    for (const kind of Object.keys(KINDS) as CacheKind[]) this.removePartial(join(this.root, kind));
    const files = (Object.keys(KINDS) as CacheKind[])
      .flatMap((kind) => this.files(kind))
      .sort((a, b) => a.atimeMs - b.atimeMs);
    let used = files.reduce((sum, { size }) => sum + size, 0);
    for (const { folder, name, size } of files) {
      if (used <= this.limit) return;
      if (isUsed(folder, name)) continue;
      rmSync(join(folder, name), { force: true });
      used -= size;
      this.log(`evicted ${join(folder, name)} (${(size / 1e6).toFixed(0)} MB) from the cache`);
    }
  }

  private files(kind: CacheKind): Cached[] {
    const folder = join(this.root, kind);
    return namesIn(folder)
      .filter((name) => name.endsWith(KINDS[kind]))
      .flatMap((name) => {
        // Another process may have evicted it since.
        const found = statSync(join(folder, name), { throwIfNoEntry: false });
        return found ? [{ folder, name, size: takenBy(found), atimeMs: found.atimeMs }] : [];
      });
  }

  /** Removes what dead processes have left. */
  private removePartial(folder: string): void {
    for (const name of namesIn(folder)) {
      const pid = PARTIAL.exec(name)?.[1];
      if (pid !== undefined && !isAlive(Number(pid))) rmSync(join(folder, name), { force: true });
    }
  }
}

const namesIn = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

/** Whether a live process uses the file; forgets those that have died. */
function isUsed(folder: string, name: string): boolean {
  const all = readdirSync(folder).filter((mark) => mark.startsWith(`${name}.use.`));
  return all.some((mark) => {
    if (isAlive(Number(mark.slice(mark.lastIndexOf(".") + 1)))) return true;
    rmSync(join(folder, mark), { force: true });
    return false;
  });
}
