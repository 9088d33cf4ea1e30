/**
 * Decoded images on disk, so that the second epoch of streamed images is not decoded anew: a sparse file with an entry for each image,
 * then a slot for each. Processes share it without a lock: what is written for an image is the same whoever writes it, an entry is
 * written after its pixels, and holds a hash of them that is checked when they are read.
 */
import { closeSync, openSync, read as readWithCallback, write as writeWithCallback } from "node:fs";
import { promisify } from "node:util";
import type { Decoded } from "./types.ts";

/** Of an entry: u32 height, u32 width, u64 hash of what the image was made from, u64 hash of its pixels. */
const ENTRY = 24;
/** Slots begin at a page of the disk. */
const PAGE = 4096;

const [read, write] = [promisify(readWithCallback), promisify(writeWithCallback)];
/** A dataset has no end of its own: its file is closed with it. */
const handles = new FinalizationRegistry<number>((handle) => closeSync(handle));

const hashOf = (of: Uint8Array | string): bigint => Bun.hash.xxHash64(of);

export interface Slots {
  readonly count: number;
  /** Of the largest image. */
  readonly slotBytes: number;
  readonly pixelBytes: number;
  /** Bytes that this process may add; what has no room is decoded each time. */
  readonly room: number;
}

export class DecodedCache {
  private written = 0;
  private full = false;

  private constructor(
    private readonly handle: number,
    private readonly slots: Slots,
    private readonly log: (message: string) => void,
  ) {
    handles.register(this, handle);
  }

  /** Made where it is not there; it takes the disk's room as it is used. */
  static open(path: string, slots: Slots, log: (message: string) => void): DecodedCache {
    closeSync(openSync(path, "a")); // a handle for appending ignores positions
    return new DecodedCache(openSync(path, "r+"), slots, log);
  }

  /** Image `i` as it was put, if it was made from `version` and is whole. */
  async get(i: number, version: string): Promise<Decoded | undefined> {
    const { pixelBytes, slotBytes } = this.slots;
    const entry = Buffer.alloc(ENTRY);
    await read(this.handle, entry, 0, ENTRY, i * ENTRY);
    const [height, width] = [entry.readUInt32LE(0), entry.readUInt32LE(4)];
    const length = height * width * pixelBytes;
    if (length === 0 || length > slotBytes || entry.readBigUInt64LE(8) !== hashOf(version)) return undefined;
    const pixels = Buffer.allocUnsafe(length);
    const { bytesRead } = await read(this.handle, pixels, 0, length, this.slotAt(i));
    const isWhole = bytesRead === length && hashOf(pixels) === entry.readBigUInt64LE(16);
    return isWhole ? { pixels, height, width } : undefined;
  }

  async put(i: number, version: string, { pixels, height, width }: Decoded): Promise<void> {
    if (this.full) return;
    if (this.written + pixels.length > this.slots.room) {
      this.stop("has no more room (MOCOD_CACHE_LIMIT)");
      return;
    }
    this.written += pixels.length;
    const entry = Buffer.alloc(ENTRY);
    entry.writeUInt32LE(height, 0);
    entry.writeUInt32LE(width, 4);
    entry.writeBigUInt64LE(hashOf(version), 8);
    entry.writeBigUInt64LE(hashOf(pixels), 16);
    try {
      await write(this.handle, pixels, 0, pixels.length, this.slotAt(i));
      await write(this.handle, entry, 0, ENTRY, i * ENTRY);
    } catch (error) {
      // A full disk ends no run: the images are still there to be decoded.
      this.stop(`cannot be written: ${(error as Error).message}`);
    }
  }

  private slotAt(i: number): number {
    const { count, slotBytes } = this.slots;
    return Math.ceil((count * ENTRY) / PAGE) * PAGE + i * slotBytes;
  }

  private stop(why: string): void {
    if (!this.full) this.log(`the cache of decoded images ${why}; the other images are decoded each time`);
    this.full = true;
  }
}
