/**
 * Decoded images on disk, so that the second epoch of streamed images is not decoded anew: a file of slots, one for each image, and an
 * index beside it. Processes share them without a lock: what is written for an image is the same whoever writes it, an index entry
 * is written after its pixels, and holds a hash of them that is checked when they are read.
 */
import { type FileHandle, open } from "node:fs/promises";
import type { Decoded } from "./types.ts";

/** Of an index entry: u32 height, u32 width, u64 hash of what the image was made from, u64 hash of its pixels. */
const ENTRY = 24;

const hashOf = (of: Uint8Array | string): bigint => Bun.hash.xxHash64(of);

export class DecodedCache {
  /** Bytes of slots that this process has written. */
  private written = 0;
  private full = false;

  private constructor(
    private readonly pixels: FileHandle,
    private readonly index: FileHandle,
    private readonly slotBytes: number,
    private readonly pixelBytes: number,
    private readonly room: number,
    private readonly log: (message: string) => void,
  ) {}

  /**
   * @param file - Of the pixels; the index is beside it. Made where it is not there: a sparse file that grows as it is used.
   * @param room - Bytes that this process may add; what has no room is decoded each time.
   */
  static async open(
    file: string,
    { slotBytes, pixelBytes, room }: { slotBytes: number; pixelBytes: number; room: number },
    log: (message: string) => void,
  ): Promise<DecodedCache> {
    const [pixels, index] = await Promise.all([open(file, "a+"), open(`${file}.index`, "a+")]);
    await Promise.all([pixels.close(), index.close()]); // they exist now; appending ignores positions
    const handles = await Promise.all([open(file, "r+"), open(`${file}.index`, "r+")]);
    return new DecodedCache(...handles, slotBytes, pixelBytes, room, log);
  }

  /** Image `i` as it was put, if it was made from what `stamp` says and is whole. */
  async get(i: number, stamp: string): Promise<Decoded | undefined> {
    const entry = Buffer.alloc(ENTRY);
    const { bytesRead } = await this.index.read(entry, 0, ENTRY, i * ENTRY);
    const [height, width] = [entry.readUInt32LE(0), entry.readUInt32LE(4)];
    if (bytesRead < ENTRY || height === 0 || entry.readBigUInt64LE(8) !== hashOf(stamp)) return undefined;
    const length = height * width * this.pixelBytes;
    if (length > this.slotBytes) return undefined;
    const pixels = Buffer.allocUnsafe(length);
    const read = await this.pixels.read(pixels, 0, length, i * this.slotBytes);
    return read.bytesRead === length && hashOf(pixels) === entry.readBigUInt64LE(16)
      ? { pixels, height, width }
      : undefined;
  }

  async put(i: number, stamp: string, { pixels, height, width }: Decoded): Promise<void> {
    if (this.full) return;
    if (this.written + pixels.length > this.room) {
      this.stop("has no more room (MOCOD_CACHE_LIMIT)");
      return;
    }
    this.written += pixels.length;
    const entry = Buffer.alloc(ENTRY);
    entry.writeUInt32LE(height, 0);
    entry.writeUInt32LE(width, 4);
    entry.writeBigUInt64LE(hashOf(stamp), 8);
    entry.writeBigUInt64LE(hashOf(pixels), 16);
    try {
      await this.pixels.write(pixels, 0, pixels.length, i * this.slotBytes);
      await this.index.write(entry, 0, ENTRY, i * ENTRY);
    } catch (error) {
      // A run goes on without its cache.
      this.stop(`cannot be written: ${(error as Error).message}`);
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.pixels.close(), this.index.close()]);
  }

  private stop(why: string): void {
    if (!this.full) this.log(`the cache of decoded images ${why}; the other images are decoded each time`);
    this.full = true;
  }
}
