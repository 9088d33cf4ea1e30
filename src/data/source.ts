/**
 * Where the pixels of a batch are. Held images are simply there; filed ones are decoded ahead into a ring of batches,
 * in the order of steps, off the threads that train (libvips has its own), in bounded memory.
 */
import { limiter } from "../util/limiter.ts";
import { type FiledImages, type Images, isHeld, pixelBytes, sharedBytes } from "./types.ts";

/** Numbers of one place: byte offset, height, width. */
export const PLACE = 3;

export interface Source {
  readonly pixels: Uint8Array<SharedArrayBuffer>;
  /**
   * Writes the place of every image of batch `step`; resolves when the pixels may be read.
   *
   * @param places - f64[N, PLACE].
   * @param shown - i32[N]: which image is at each place, for what belongs to it, as its texts do. Another one than the batch has
   *   where that one is damaged.
   */
  at(step: number, places: Float64Array, shown?: Int32Array): Promise<void>;
  /** Milliseconds for which `at` had to wait, so far. */
  readonly waitedMs: number;
}

/** Indices of the images of a batch, or undefined behind the last one. */
export type BatchIndices = (step: number) => Int32Array | undefined;

/** A batch is used while `ahead` others are decoded. */
const AHEAD = 2;
const DECODERS = 16;

export function openSource(images: Images, indices: BatchIndices, batchSize: number): Source {
  if (!isHeld(images)) return new FileSource(images, indices, batchSize);
  const { pixels, height, width } = images;
  const bytes = height * width * pixelBytes(images);
  return {
    pixels,
    waitedMs: 0,
    async at(step, places, shown) {
      const batch = existing(indices(step), step);
      batch.forEach((index, i) => {
        places.set([index * bytes, height, width], i * PLACE);
      });
      shown?.set(batch);
    },
  };
}

function existing<T>(batch: T | undefined, step: number): T {
  if (batch === undefined) throw new RangeError(`there is no batch ${step}`);
  return batch;
}

interface Pending {
  readonly slot: number;
  readonly places: Float64Array;
  readonly shown: Int32Array;
  readonly ready: Promise<void>;
}

class FileSource implements Source {
  readonly pixels: Uint8Array<SharedArrayBuffer>;
  waitedMs = 0;
  private readonly pending = new Map<number, Pending>();
  private readonly limit = limiter(DECODERS);

  constructor(
    private readonly images: FiledImages,
    private readonly indices: BatchIndices,
    private readonly batchSize: number,
  ) {
    this.pixels = sharedBytes((AHEAD + 1) * batchSize * images.slotBytes);
  }

  async at(step: number, places: Float64Array, shown?: Int32Array): Promise<void> {
    // What is behind us is not needed any more; after a jump neither is what was ahead.
    for (const [key, { ready }] of this.pending) {
      if (key >= step && key <= step + AHEAD) continue;
      await ready;
      this.pending.delete(key);
    }
    for (let ahead = step; ahead <= step + AHEAD; ahead++) this.begin(ahead);
    const batch = existing(this.pending.get(step), step);
    const before = performance.now();
    await batch.ready;
    this.waitedMs += performance.now() - before;
    places.set(batch.places);
    shown?.set(batch.shown);
  }

  private begin(step: number): void {
    const indices = this.pending.has(step) ? undefined : this.indices(step);
    if (!indices) return;
    const taken = new Set([...this.pending.values()].map(({ slot }) => slot));
    const slot = [...Array(AHEAD + 1).keys()].find((s) => !taken.has(s)) as number;
    const places = new Float64Array(indices.length * PLACE);
    const shown = Int32Array.from(indices);
    const { slotBytes } = this.images;
    const load = async (index: number, i: number) => {
      const { pixels, height, width, standIn = index } = await this.images.decode(index);
      shown[i] = standIn;
      const offset = (slot * this.batchSize + i) * slotBytes;
      this.pixels.set(pixels, offset);
      places.set([offset, height, width], i * PLACE);
    };
    const ready = Promise.all(Array.from(indices, (index, i) => this.limit(() => load(index, i)))).then(
      () => undefined,
    );
    ready.catch(() => undefined); // whoever waits for it hears of it; until then it is not unhandled
    this.pending.set(step, { slot, places, shown, ready });
  }
}
